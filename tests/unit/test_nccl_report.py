"""What NCCL says of itself. The reports are those of NVIDIA's documentation, and a port stands in for NCCL's: none was run."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose.nccl import blocks, told
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose.verdict import judge
from ddp_launcher import ras
from ddp_launcher.stacks import Process, nccl_report

HEAD = """Job summary
===========

  Nodes  Processes         GPUs  Processes     GPUs
(total)   per node  per process    (total)  (total)
      4          8            1         32       32

Communicators... (2.05s)
=============

Group     Comms     Nodes     Ranks     Ranks     Ranks    Status  Errors
    #  in group  per comm  per node  per comm  in group
"""
WELL = HEAD + "    0         8         4         1         4        32   RUNNING      OK\n"
DEAD = (
    HEAD
    + """    0         1         4       7-8        32        32   RUNNING  INCOMPLETE

Errors
======

DEAD
  1 job process is considered dead (unreachable via the RAS network)
  Process 3487984 on node 172.16.64.213 managing GPU 5

#0-0 (cf264af53edbe986) INCOMPLETE
  Missing communicator data from 1 rank
  The missing rank: 21

Warnings
========

TIMEOUT
  Encountered 2 communication timeouts while gathering communicator data
"""
)
BEHIND = (
    HEAD
    + """    0         1         4         8        32        32   RUNNING  MISMATCH

Warnings
========

#0-0 (27a079b828ff1a75) MISMATCH
  Communicator ranks have different collective operation counts
  26 ranks have launched up to operation 6650
  6 ranks have launched up to operation 6649
  Rank 0 -- GPU 0 managed by process 483072 on node 172.16.64.210
  Rank 2 -- GPU 2 managed by process 483074 on node 172.16.64.210
"""
)


def test_what_is_wrong_is_told_the_worst_first() -> None:
    assert told([{"nccl": ""}, "x", {"nccl": DEAD}]) == (
        "NCCL's own report says DEAD: 1 job process is considered dead (unreachable via the RAS network); "
        "Process 3487984 on node 172.16.64.213 managing GPU 5. INCOMPLETE: Missing communicator data from 1 rank; The missing rank: 21. "
        "TIMEOUT: Encountered 2 communication timeouts while gathering communicator data."
    )
    assert told([{"nccl": BEHIND}]) == (
        "NCCL's own report says MISMATCH: Communicator ranks have different collective operation counts; "
        "26 ranks have launched up to operation 6650; 6 ranks have launched up to operation 6649 (rank 0, 2)."
    )


@pytest.mark.parametrize(
    "text", ["", WELL, "HTTP/1.1 400 Bad Request\n\nDEAD\n  you\n", "DEAD\n", 5, None, HEAD + "DEAD\n"]
)
def test_nothing_is_made_of_the_rest(text: Any) -> None:
    assert told([{"nccl": text}]) == ""
    assert told([None, {}]) == ""


def test_what_is_made_up_is_cut() -> None:
    many = HEAD + "\n".join(f"DEAD\n  {'x' * 999}\x1b[2J" for _ in range(999))
    assert len(told([{"nccl": many}])) < 800
    assert "\x1b" not in told([{"nccl": many}])
    ranks = HEAD + "DEAD\n" + "\n".join(f"  Rank {rank} -- GPU 0" for rank in range(20))
    assert told([{"nccl": ranks}]).endswith("DEAD: ranks (rank 0, 1, 2, 3, 4, 5, 6, 7 and 12 more).")
    assert len(blocks(many)) < 999


def test_it_stands_behind_the_verdict() -> None:
    given = [
        {"host": f"host{number}", "record": {"processes": [{"pid": 1, "rank": number - 1}], "nccl": DEAD}}
        for number in (1, 2)
    ]
    assert judge(given).sentence.count("NCCL's own report says DEAD") == 1


# --- asking -----------------------------------------------------------------------------------------------


@pytest.fixture
def answers() -> Iterator[Any]:
    """A port that stands in for NCCL's, and what it was asked."""
    made = []

    def begin(text: bytes, ends: bool = True) -> tuple[int, list[bytes]]:
        server, asked = socket.create_server(("127.0.0.1", 0)), []
        made.append(server)

        def serve() -> None:
            sock, _address = server.accept()
            made.append(sock)
            asked.append(sock.recv(1000))
            sock.sendall(text)
            if ends:
                sock.close()

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1], asked

    yield begin
    for one in made:
        one.close()


def test_nccl_is_asked_over_its_port(answers: Any) -> None:
    port, asked = answers(b"OK\n" + DEAD.encode())
    assert ras.report(("127.0.0.1", port)) == "OK\n" + DEAD
    assert asked == [b"timeout 4\nverbose status\n"]


@pytest.mark.parametrize(("text", "ends"), [(b"SSH-2.0", True), (b"SSH-2.0", False), (b"x" * 2**20, True), (b"", True)])
def test_somebody_else_who_listens_there_is_no_nccl(answers: Any, text: bytes, ends: bool) -> None:
    port, _asked = answers(text, ends)
    assert ras.report(("127.0.0.1", port), 0.5) == ""


def test_nobody_listens() -> None:
    assert ras.report(("127.0.0.1", 1), 0.5) == ""


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ("A=1\0B=2", ("localhost", 28028)),
        ("A=1\0NCCL_RAS_ADDR=10.0.0.1:5\0B=2", ("10.0.0.1", 5)),
        ("NCCL_RAS_ADDR=[::1]:28029", ("::1", 28029)),
        ("NCCL_RAS_ADDR=nonsense", None),
        ("NCCL_RAS_ADDR=a:99999", None),
        ("A=1\0NCCL_RAS_ENABLE=0\0", None),
        ("NCCL_RAS_ENABLE=01", ("localhost", 28028)),
    ],
)
def test_where_it_listens(environment: str, address: Any) -> None:
    assert ras.address_of(environment) == address


def test_only_where_nccl_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("ddp_launcher.stacks.report", lambda home: asked.append(home) or "said")
    process = Process(1, "1 (python) S 0 " + "0 " * 20)
    process.pid = 2**22 + 1  # none
    entries = {"groups": {"0": {"entries": [{"op": "gloo:all_reduce"}]}}}
    assert nccl_report([process], {process.pid: entries}) == ""
    entries["groups"]["0"]["entries"][0]["op"] = "nccl:all_reduce"
    assert nccl_report([process], {process.pid: entries}) == "said"
    assert asked == [("localhost", 28028)]
