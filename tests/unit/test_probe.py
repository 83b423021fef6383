"""The probe itself: real processes on loopback addresses, a real gloo group, and faults planted in them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ddp_probe import checks, child, main
from ddp_probe.contract import MARKER
from ddp_probe.torch_process import child_main
from ports import free_ports
from preflight_ranks import healthy_report
from probe_alone import Instead
from probe_files import delivered_probe
from waiting import until

pytest.importorskip("torch")

import forked
import torch.distributed as dist
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.verdict import judge
from ansible_collections.ddp.swarm.plugins.modules import nccl_check


class Swarm:
    """Probe processes under the addresses 127.0.0.1, 127.0.0.2, ..."""

    def __init__(self, work: Path, size: int, **common: str) -> None:
        self.master_port, port = free_ports(2)
        # Alone in its folder: what is written elsewhere meanwhile, as a log, is no part of what is compared.
        self.code = work / "code"
        self.code.mkdir()
        (self.code / "training_code.py").write_text("print('one')\n")
        (work / "delivered").mkdir()
        self.probe = delivered_probe(work / "delivered")
        self.size = size
        self.processes: dict[int, subprocess.Popen[str]] = {}
        self.common = {
            "PROBE_WORLD_SIZE": str(size),
            "PROBE_PEERS": ",".join(f"127.0.0.{rank + 1}" for rank in range(size)),
            "PROBE_MASTER_PORT": str(self.master_port),
            "PROBE_PORT": str(port),
            "PROBE_SUBNET": "127.0.0.0/8",
            "PROBE_TIMEOUT": "40",
            "NCCL_SOCKET_IFNAME": "lo",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
            **common,
        }

    def start(self, rank: int, **special: str) -> subprocess.Popen[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PROBE_", "NCCL_", "GLOO_"))}
        env.update(self.common, PROBE_RANK=str(rank), PROBE_HOST=f"host{rank + 1}", **special)
        self.processes[rank] = subprocess.Popen(
            [sys.executable, str(self.probe)], env=env, cwd=self.code, text=True, stdout=subprocess.PIPE
        )
        return self.processes[rank]

    def report(self, rank: int, timeout: float = 50) -> dict:
        out, _ = self.processes[rank].communicate(timeout=timeout)
        assert self.processes[rank].returncode == 0
        lines = out.splitlines()
        assert len(lines) == 1 and lines[0].startswith(MARKER)
        return json.loads(lines[0][len(MARKER) :])

    def run(self, **special: str) -> list[dict]:
        for rank in range(self.size):
            self.start(rank, **special)
        return [self.report(rank) for rank in range(self.size)]

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def swarm(tmp_path):
    made = []

    def make(size: int, **common: str) -> Swarm:
        made.append(Swarm(tmp_path, size, **common))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def failures(report: dict) -> list[dict]:
    return [record for record in report["records"] if record["ok"] is False]


def unreached(report: dict) -> set[int]:
    return {record["layer"] for record in report["records"] if record["ok"] is None}


def test_two_ranks_pass_every_layer(swarm):
    began = time.monotonic()
    reports = swarm(2).run()
    assert time.monotonic() - began < 30
    for report in reports:
        assert [record for record in report["records"] if record["ok"] is not True] == []
        assert {record["layer"] for record in report["records"]} == set(range(4, 15))
        assert report["backend"] == "gloo" and report["backend_reason"] == {"code": "no_gpu", "ranks": [0, 1]}
        assert report["allreduce"]["bus_bandwidth_mb_s"] > 1
        peer = str(1 - report["rank"])
        # One machine, one clock: what is left is the doubt that a round trip leaves.
        clock = report["clock"][peer]
        assert 0 < clock["round_trip_s"] < 1
        assert abs(clock["offset_s"]) <= clock["round_trip_s"] / 2 + 0.001
        assert report["pairs"][peer]["bandwidth_mb_s"] > 1 and report["pairs"][peer]["latency_us"] > 0
        assert report["heard"][peer] >= 1
    assert reports[0]["identity"]["files_hash"] == reports[1]["identity"]["files_hash"]
    assert "training_code.py" in reports[0]["identity"]["files"]
    # What the real probe says, the real judge accepts.
    healthy = {"engine": {"ok": True, "swarm_state": "active", "manager": False}, "vxlan": True}
    seen = [{"rank": r["rank"], "host": r["host"], "probe": r, "host_checks": healthy} for r in reports]
    limits = {name: nccl_check.argument_spec()[name].get("default") for name in nccl_check.LIMITS}
    verdict = judge(seen, [{"rank": r["rank"], "host": r["host"]} for r in reports], limits)
    assert verdict["ok"], verdict["table"]
    assert "no GPU on host1, host2" in verdict["message"]


@pytest.fixture
def quick(swarm, tmp_path):
    """A swarm for what needs no collective: a torch stands in that says its version and is imported at once."""
    torch = tmp_path / "stands_in_for_torch" / "torch"
    torch.mkdir(parents=True)
    (torch / "__init__.py").write_text(
        "from types import SimpleNamespace as N\n__version__ = '2.13.0'\nversion = N(cuda=None)\n"
        "cuda = N(is_available=lambda: False)\n"
    )
    (torch / "distributed.py").write_text("def is_available():\n    return False\n")
    return lambda size, **common: swarm(size, PYTHONPATH=str(torch.parent), **common)


def test_three_ranks_of_which_one_never_appears(quick):
    trio = quick(3, PROBE_APPEAR_TIMEOUT="3")
    trio.start(0)
    trio.start(1)
    for rank in (0, 1):
        report = trio.report(rank)
        assert [(record["layer"], record["peer"]) for record in failures(report)] == [(8, 2)]
        assert unreached(report) >= {11, 12, 13, 14}
        assert [r["ok"] for r in report["records"] if r["layer"] == 8 and r["peer"] == 1 - rank] == [True]


def test_a_name_that_does_not_resolve_is_layer_7(quick):
    pair = quick(2, PROBE_PEERS="127.0.0.1,node1.invalid", PROBE_APPEAR_TIMEOUT="0.5")
    pair.start(0)
    record = failures(pair.report(0))[0]
    assert (record["layer"], record["peer"]) == (7, 1)
    assert "does not resolve" in record["observed"]


def test_a_wrong_interface_is_named_and_the_other_rank_does_not_hang(quick):
    pair = quick(2)
    pair.start(0)
    pair.start(1, NCCL_SOCKET_IFNAME="wlan9")
    began = time.monotonic()
    right, wrong = pair.report(0), pair.report(1)
    assert time.monotonic() - began < 30
    assert [(record["layer"], record["name"]) for record in failures(wrong)] == [(6, "NCCL_SOCKET_IFNAME")]
    assert failures(right) == []
    assert unreached(right) >= {11, 12, 13, 14}
    (left,) = [record for record in right["records"] if record["layer"] == 11]
    assert left["detail"] == "not reached: rank 1 (127.0.0.2) failed at layer 6 (interface)"


def test_no_address_in_the_subnet(quick):
    report = quick(1, PROBE_SUBNET="198.51.100.0/24").run()[0]
    record = failures(report)[0]
    assert (record["layer"], record["name"]) == (6, "interface")
    assert "198.51.100.0/24" in record["expected"]


def test_a_taken_master_port(quick):
    pair = quick(2)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", pair.master_port))
        taken.listen()
        reports = pair.run()
    assert [(record["layer"], record["name"], record["peer"]) for record in failures(reports[0])] == [
        (10, "master port free", None)
    ]
    (record,) = failures(reports[1])
    assert (record["layer"], record["name"], record["peer"]) == (10, "master port reachable", 0)
    assert record["observed"].endswith("; rank 0 failed at layer 10 (master port)")
    for report in reports:
        assert {record["layer"] for record in report["records"] if record["ok"]} >= {4, 5, 6, 7, 8, 9}
        assert unreached(report) == {11, 12, 13, 14}


def in_place_of_all_reduce(then: Callable[[Any], object]) -> None:
    """A fault in torch: `then` is done with the tensor of 64 KiB when it has been reduced."""
    real = dist.all_reduce

    def all_reduce(tensor: Any, *args: Any, **more: Any) -> Any:
        done = real(tensor, *args, **more)
        if tensor.numel() * 4 == 65536:
            then(tensor)
        return done

    dist.all_reduce = all_reduce


class Fork:
    """Stands in for Popen in a forked rank: its child is a fork as well, and has imported torch already."""

    fault: Callable[[], None]

    def __init__(self, command: list[str], pass_fds: tuple[int], env: dict[str, str], **_: Any) -> None:
        orders, say = os.pipe()
        hear, log = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(say)
            for number, file in enumerate((orders, log, log)):
                os.dup2(file, number)
            sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
            os.environ.update(env)
            self.fault()
            child_main(pass_fds[0])
        os.close(orders)
        os.close(log)
        self.stdin, self.stdout = os.fdopen(say, "wb"), os.fdopen(hear, "rb")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    @cache  # noqa: B019 - a process is waited for once
    def wait(self, seconds: float) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def forked_ranks(
    folder: Path, size: int, faults: dict[int, Callable[[], None]] | None = None, **common: str
) -> tuple[list[int | None], list[dict]]:
    """The exit codes and the reports of ranks that are forks of this process: importing torch takes each child seconds."""
    pair = Swarm(folder, size, **common)

    def work(rank: int) -> None:
        fault = (faults or {}).get(rank, lambda: None)
        planted = type("Planted", (Fork,), {"fault": staticmethod(fault)})
        child.subprocess = Instead(subprocess, Popen=planted)  # type: ignore[assignment]
        os.environ.update(pair.common, PROBE_RANK=str(rank), PROBE_HOST=f"host{rank + 1}", PROBE_FILES=str(pair.code))
        sys.argv = ["/probe"]
        main.main()

    ended = forked.run(size, work, folder / "logs", group=False)
    lines = [[line for line in one.output.splitlines() if line.startswith(MARKER)] for one in ended]
    assert all(len(found) <= 1 for found in lines)
    return [one.code for one in ended], [json.loads(line[len(MARKER) :]) for found in lines for line in found]


def test_a_single_rank_passes(tmp_path):
    codes, (report,) = forked_ranks(tmp_path, 1)
    assert codes == [0]
    assert [record for record in report["records"] if record["ok"] is not True] == []


def test_a_rank_that_hangs_is_named_by_the_other(tmp_path):
    """Rank 1 stops in the middle of a collective, and answers nothing any more."""
    state = tmp_path / "state"

    def stop(_: Any) -> None:
        rank = os.getppid()
        os.kill(rank, signal.SIGSTOP)
        until(lambda: MARKER in (tmp_path / "logs" / "rank0.log").read_text(), 35)
        state.write_text(Path(f"/proc/{rank}/stat").read_text().rpartition(")")[2].split()[0])
        os.kill(rank, signal.SIGKILL)

    codes, (report,) = forked_ranks(tmp_path, 2, {1: lambda: in_place_of_all_reduce(stop)}, PROBE_GROUP_TIMEOUT="3")
    assert (codes, state.read_text()) == ([0, -signal.SIGKILL], "T")
    (record,) = failures(report)
    # It may have had its share of the all-reduce of 64 KiB before.
    assert (record["layer"], record["peer"]) == (12, 1)
    assert record["name"] in ("reduce 65536", "reduce 16777216")
    assert record["observed"] == "silent (timed out)"
    assert unreached(report) == {13, 14}


def test_a_sum_that_is_wrong_on_one_rank(tmp_path, judged):
    """Through the real child, the judge and the file. The other rank is not blamed for what it sees of it."""

    def add(tensor: Any) -> None:
        tensor[5] += 1

    codes, probes = forked_ranks(tmp_path, 2, {1: lambda: in_place_of_all_reduce(add)})
    assert codes == [0, 0]
    assert failures(probes[0]) == []
    reports = [{**healthy_report(rank, 2), "probe": probes[rank]} for rank in range(2)]
    found = judged(reports).fails(12, (1, None), check="all-reduce 65536 B")
    assert (found[0]["observed"], found[0]["expected"]) == ("sum 4 at element 0, 1 elements wrong", "4")
    assert "the sum is wrong on host2: do not train on it" in found[0]["hint"]


def test_a_torch_that_cannot_be_imported(swarm, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('libcudart.so is missing')\n")
    record = failures(swarm(1, PYTHONPATH=str(broken)).run()[0])[0]
    assert record["layer"] == 4
    assert "libcudart" in record["detail"]


def test_bad_settings_still_give_a_report(swarm):
    report = swarm(1, PROBE_MASTER_PORT="many").run()[0]
    assert "PROBE_MASTER_PORT" in report["error"]
    assert unreached(report) == set(range(4, 15))


def catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)


def test_told_to_stop_it_reports_at_once(quick):
    pair = quick(2)
    process = pair.start(0)
    until(lambda: catches(process.pid, signal.SIGTERM))
    process.send_signal(signal.SIGTERM)
    report = pair.report(0, timeout=20)
    assert 11 in unreached(report)


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        ("eth0", ["eth0"]),
        ("eth", ["eth0", "eth1"]),
        ("=eth", []),
        ("=eth1", ["eth1"]),
        ("^lo,eth1", ["eth0"]),
        ("^=eth0", ["eth1", "lo"]),
        ("ib0,eth1", ["eth1"]),
    ],
)
def test_interface_variable_of_nccl(value, chosen):
    assert checks.interface.nccl_selects(value, ["eth0", "eth1", "lo"]) == chosen


def test_identity_tells_content_and_leaves_caches_out(tmp_path):
    (tmp_path / "a.py").write_text("1")
    first = checks.identity.file_identity(str(tmp_path))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert checks.identity.file_identity(str(tmp_path))["hash"] == first["hash"]
    (tmp_path / "a.py").write_text("2")
    assert checks.identity.file_identity(str(tmp_path))["hash"] != first["hash"]
    assert checks.identity.file_identity(str(tmp_path / "none"))["files"] == {str(tmp_path / "none"): "missing"}
