"""What the ranks on a host tell, and what comes of it. Docker is a command that stands in for it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.diagnosis import diagnosis, event_words, host_events
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose import ask
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerCli, DockerError

ONE, TWO = "a" * 64, "b" * 64


class Module:
    def __init__(self, path: Path) -> None:
        self.params = {"docker_cli": str(path)}


def docker(tmp_path: Path, script: str) -> DockerCli:
    path = tmp_path / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return DockerCli(Module(path))


def listing(*rows: tuple[str, str, str]) -> str:
    return "if [ $1 = ps ]; then printf '" + "".join("\\t".join(row) + "\\n" for row in rows) + "'; exit; fi\n"


def test_a_rank_that_runs_is_asked_and_its_former_container_is_not(tmp_path: Path) -> None:
    rows = listing((ONE, "exited", "job_node1"), (TWO, "running", "job_node1"), (ONE, "running", "job_other"))
    told = ask.read_ranks(docker(tmp_path, rows + f"[ $1$2 = exec{TWO} ] && echo '{{\"processes\": []}}'"), "job")
    assert told == [{"rank": 1, "record": {"processes": []}}]


@pytest.mark.parametrize(
    ("state", "script", "why"),
    [
        ("paused", "", f"its container is paused: docker unpause {ONE[:12]} lets it go on"),
        ("exited", 'echo \'{"FinishedAt": "2026-01-02T03:04:05.678Z", "ExitCode": 0}\'', "its container ended at 2026-01-02T03:04:05Z with exit code 0"),
        ("exited", 'echo \'{"FinishedAt": "2026-01-02T03:04:05Z", "ExitCode": 137, "OOMKilled": true}\'', "its container ended at 2026-01-02T03:04:05Z with exit code 137, killed by the kernel for its memory"),
        ("exited", "exit 1", "its container has ended"),
        ("running", "echo \"python3: can't open file '/ddp-launcher'\" >&2; exit 2", "it runs without a launcher (training_snapshots=none), and nobody there can be asked"),
        ("running", "echo no such >&2; exit 1", "docker exec ended with exit code 1: no such"),
        ("running", "echo '[1, 2]'", "docker exec ended with exit code 0: "),
    ],
)  # fmt: skip
def test_why_a_rank_tells_nothing(tmp_path: Path, state: str, script: str, why: str) -> None:
    told = ask.read_ranks(docker(tmp_path, listing((ONE, state, "job_node0")) + script), "job")
    assert told == [{"rank": 0, "why": why}]


def test_one_that_writes_without_an_end_is_cut_off(tmp_path: Path) -> None:
    began = time.monotonic()
    told = ask.read_ranks(docker(tmp_path, listing((ONE, "running", "job_node0")) + "exec yes"), "job")
    assert told == [{"rank": 0, "why": "its launcher says more than 8 MiB"}]
    assert time.monotonic() < began + 20


def test_one_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "RECORD_TIMEOUT", 0.5)
    told = ask.read_ranks(docker(tmp_path, listing((ONE, "running", "job_node0")) + "exec sleep 600"), "job")
    assert told[0]["why"].endswith("no answer within 0.5 s")


def test_a_docker_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DockerError):
        DockerCli(Module(tmp_path / "none")).limited("exec", limit=10, timeout=1)


def test_what_a_container_says_is_cut_to_size() -> None:
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    said = ask.bounded({"a" * 999: "\x1b[2Jx" * 999, "deep": deep, "big": 2**80, "nan": float("nan"), "ok": True})
    assert set(said) == {"a" * 200, "deep", "big", "nan", "ok"}
    assert "\x1b" not in json.dumps(said)
    assert (said["big"], said["nan"], said["ok"]) == (None, None, True)
    assert json.dumps(said["deep"]).count("[") < 12


# --- put together -----------------------------------------------------------------------------------------

JOB = {
    "name": "job",
    "ranks": [
        {"rank": 0, "host": "host1", "state": "running", "exit_code": None},
        {"rank": 1, "host": "host2", "state": "complete", "exit_code": 0},
    ],
}


def waits(line: int) -> dict[str, Any]:
    frames = [["/x/site-packages/torch/distributed/distributed_c10d.py", 3, "barrier"], ["/app/train.py", line, "main"]]
    return {"processes": [{"pid": 9, "rank": 0, "threads": [{"frames": frames}], "state": "S"}]}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"unreachable": True, "msg": "no route to host\nmore"}, "host2 does not answer: no route to host"),
        ({"failed": True, "msg": "docker is gone"}, "host2 does not answer: docker is gone"),
        ({}, "host2 does not answer: it takes no part in this run"),
        ({"ranks": []}, "there is no container of it on host2; swarm calls it complete with exit code 0"),
    ],
)
def test_a_rank_of_which_nobody_tells(answer: dict[str, Any], why: str) -> None:
    made = diagnosis(JOB, {"host1": {"ranks": [{"rank": 0, "record": waits(7)}]}, "host2": answer}, "now")
    assert (
        made["sentence"] == f"rank 1 on host2 cannot be asked: {why}. Rank 0 on host1 waits for it (train.py:7 main())."
    )
    assert (made["ranks"], made["hosts"], made["kind"]) == ([1], ["host2"], "absent")
    assert made["given"][0]["record"] == waits(7)


def test_what_hosts_say_of_themselves() -> None:
    event = {"time": "T", "what": "a disk failed", "line": "sda\x1b[2J", "more": 1}
    told = host_events(
        ["host1", "host2", "host3"], {"host1": {}, "host2": {"events": [event]}, "host3": {"unreachable": True}}
    )
    assert [event_words(one) for one in told] == ["host2 says of itself, at T: a disk failed (sda)"]
