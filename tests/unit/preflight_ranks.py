"""Ranks of the probe on loopback addresses, in this process, and the way from their reports to the verdict.

Each rank has a copy of the probe to itself, so that a fault can be planted in one of them alone.
"""

from __future__ import annotations

import copy
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.contract import LAYERS
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.verdict import judge
from ansible_collections.ddp.swarm.plugins.modules import nccl_check
from ports import free_port
from probe_files import files_of, own_probe

Json = dict[str, Any]

SPEC: Json = nccl_check.argument_spec()
LIMITS: Json = {name: SPEC[name].get("default") for name in nccl_check.LIMITS}
# What is asked of links is for test_judge_links.py; rates of ranks that share a process say nothing.
ANY_SPEED: Json = {"min_pair_bandwidth": 0, "min_speed_fraction": 0}


def record(
    layer: int,
    rank: int,
    ok: bool | None = True,
    peer: int | None = None,
    name: str = "check",
    observed: Any = "seen",
    expected: Any = "wanted",
    detail: str = "",
    code: str | None = None,
    value: str | None = None,
) -> Json:
    """What a probe says about one check."""
    return {
        "layer": layer, "name": name, "rank": rank, "peer": peer, "ok": ok, "observed": observed,
        "expected": expected, "detail": detail, "seconds": 0.1, "code": code, "value": value,
    }  # fmt: skip


def healthy_report(rank: int, size: int) -> Json:
    others = [other for other in range(size) if other != rank]
    return {
        "rank": rank,
        "host": f"host{rank + 1}",
        "host_checks": {
            "engine": {"ok": True, "error": "", "version": "26.1.5", "root": "/var/lib/docker",
                       "swarm_state": "active", "swarm_error": "", "manager": rank == 0},
            "kernel": "6.1", "vxlan": True, "clock": {"epoch": 1000.0 + rank, "sent_at": 999.0},
            "disk_free_bytes": 10**11, "ports": [], "service": f"t-preflight_node{rank}",
            "container": {"id": "0123456789abcdef", "state": "exited", "exit_code": 0}, "log_tail": [],
            "error": "", "tasks": [], "waited_s": 5.0,
        },
        "probe": {
            "rank": rank, "world_size": size, "peers": [f"node{r}" for r in range(size)], "interface": "eth0",
            "mtu": 1450, "shm_bytes": 67108864, "gpus": 0, "backend": "gloo",
            "backend_reason": {"code": "no_gpu", "ranks": list(range(size))},
            "identity": {"python": "3.11.2", "torch": "2.13.0", "cuda": None, "nccl": None,
                         "files_hash": "aa", "files": {"training_code.py": "a", "util.py": "b"}},
            "clock": {str(o): {"offset_s": 0.001, "round_trip_s": 0.0002} for o in others},
            "heard": {str(o): 3 for o in others},
            "pairs": {str(o): {"latency_us": 80.0, "bandwidth_mb_s": 410.0, "path_mtu": 1450} for o in others},
            "allreduce": {"bus_bandwidth_mb_s": 400.0 + rank, "latency_us": 300.0},
            "compute": {"seconds": 0.002, "load": 0.5},
            "records": [record(layer, rank) for layer in range(4, 15)],
        },
    }  # fmt: skip


def fail(report: Json, layer: int, peer: int | None = None, **facts: Any) -> Json:
    """Let the probe of a report fail at a layer and reach none after it."""
    records = report["probe"]["records"]
    report["probe"]["records"] = [r for r in records if r["layer"] < layer] + [
        record(layer, report["rank"], False, peer, **facts),
        *(record(later, report["rank"], None, detail="not reached") for later in range(layer + 1, 15)),
    ]
    return report


def node(number: int, rank: str | None = "", manager: bool | None = None, **changes: Any) -> Json:
    """One node of the swarm, as a manager reports it."""
    labels = {} if rank is None else {"ddp_rank": rank or str(number)}
    manages = number == 0 if manager is None else manager
    return {"id": f"id{number}", "hostname": f"h{number}", "status": "ready", "message": "", "availability": "active",
            "labels": labels, "reachability": "reachable" if manages else "", "address": f"192.0.2.{number + 1}", **changes}  # fmt: skip


def with_nodes(reports: list[Json], *nodes: Json) -> list[Json]:
    for report in reports:
        report["host_checks"]["engine"]["node"] = f"id{report['rank']}"
    reports[0]["host_checks"].update(nodes=list(nodes), network={"subnet": "10.0.1.0/24", "mtu": 0, "encrypted": False})
    return reports


def verdict(
    reports: list[Json], size: int | None = None, unreachable: Json | None = None, probed: bool = True, **limits: Any
) -> Json:
    """What the judge says, without the module around it."""
    size = len(reports) if size is None else size
    ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(size)]
    before = copy.deepcopy(reports)
    result: Json = judge(reports, ranks, {**LIMITS, **ANY_SPEED, **limits}, unreachable, probed)
    assert reports == before, "judging must not change what was observed"
    assert set(result) >= {"ok", "findings", "layers", "table", "backend", "backend_reason", "message"}
    for one in result["findings"]:
        assert set(one) == {
            "layer", "layer_name", "rank", "host", "peer", "check", "observed", "expected", "hint",
        }  # fmt: skip
        assert one["hint"]
    json.dumps(result)
    return result


def only(result: Json, layer: int, host: str, peer: str | None = None) -> Json:
    """All findings are of one layer; return the one of this host."""
    assert not result["ok"]
    assert {one["layer"] for one in result["findings"]} == {layer}, result["message"]
    for row in result["layers"]:
        if row["layer"] > layer and result["findings"][0]["check"] != "not reached":
            assert set(row["ranks"].values()) == {"not reached"}
    mine = (one for one in result["findings"] if one["host"] == host and (peer is None or one["peer"] == peer))
    found: Json | None = next(mine, None)
    assert found is not None, result["findings"]
    assert f"Layer {layer} " in result["message"]
    return found


def told(result: Json, *facts: str) -> list[tuple[Any, ...]]:
    """These facts of all findings, in their order."""
    return [tuple(one[fact] for fact in facts) for one in result["findings"]]


def torch_says(rank: int, address: str) -> dict[str, Json]:
    """What the child with torch says when all is well. test_probe_collectives.py holds a real one against this."""
    sizes = (4, 64 * 1024, 16 * 1024 * 1024)
    return {
        "versions": {"torch": "2.13.0", "cuda": None, "gpus": 0, "nccl": None, "gpu_names": [], "import_seconds": 1.0},
        "store": {},
        "group": {"backend": "gloo", "seconds": 0.1, "connections": [address]},
        **{
            f"reduce {size}": {"bytes": size, "right": True, "observed": "sum 6 at element 0", "expected": "6", "seconds": 0.1}
            for size in sizes
        },
        "bandwidth": {
            "bytes": sizes[-1], "repeats": 8, "seconds": 0.02, "best_seconds": 0.01, "latency_us": 300.0,
            "bus_bandwidth_mb_s": 1000.0 + rank, "best_bus_bandwidth_mb_s": 2000.0 + rank,
        },
        "compute": {"seconds": 0.002, "best_seconds": 0.002, "rounds": 200, "device": "cpu"},
        "end": {},
    }  # fmt: skip


class Rank:
    """A rank that has not started yet: `package`, `env` and `torch` may be tampered with until `Ranks.run`."""

    def __init__(self, rank: int, address: str, env: dict[str, str], group: threading.Barrier) -> None:
        self.rank = rank
        self.address = address
        self.env = env
        self.package: Any = own_probe()
        self.torch = torch_says(rank, address)
        self.state: Any = None
        outer = self

        class Replayed(self.package.state.Child):  # type: ignore[name-defined, misc]
            """Stands in for the process with torch, which takes seconds to start."""

            def start(self) -> None:
                self.hear("versions")

            def tell(self, order: Json) -> None:
                alone = [event for event in ("store", "failed") if event in outer.torch]
                self.hear(*alone)
                if "failed" not in alone:
                    threading.Thread(target=self.take_part, daemon=True).start()

            def take_part(self) -> None:
                """A real group forms when all have come, and not before."""
                group.wait(20)
                self.hear(*outer.torch)

            def hear(self, *events: str) -> None:
                with self.changed:
                    self.events.update({event: outer.torch[event] for event in events})
                    self.facts.update(self.events["versions"])
                    self.changed.notify_all()

        self.package.state.Child = Replayed

    def plant(self, where: Any, name: str, value: Any) -> None:
        """Put `value` in the place of what has a rank's state first; it is given the real one, as it was called, and the state."""
        real = getattr(where, name)
        setattr(where, name, lambda state, *args, **more: value(lambda: real(state, *args, **more), state))

    def everywhere(self, name: str, value: Any) -> None:
        """Put something in the place of a module, in each file of this rank's probe that uses it."""
        for module in files_of(self.package):
            if hasattr(module, name):
                setattr(module, name, value)

    def start(self) -> None:
        self.state = self.package.state.State(self.package.settings.Settings(self.env))
        threading.Thread(target=self.package.worker.run, args=(self.state,), daemon=True).start()

    def report(self) -> Json:
        assert self.state.finished.wait(20)
        made = self.package.main.finish(self.state, self.state.blocked_by or "an earlier layer failed")
        report: Json = json.loads(json.dumps(made))
        assert "error" not in report, report["error"]
        return report

    def stop(self) -> None:
        if self.state is not None:
            self.package.checks.master_port.close_master_port(self.state)
            if self.state.listener is not None:
                self.state.listener.tcp.close()
                self.state.listener.udp.close()


class Ranks(list[Rank]):
    def __init__(self, work: Path, size: int = 3, addresses: list[str] | None = None, **env: str) -> None:
        addresses = addresses or [f"127.0.0.{rank + 1}" for rank in range(size)]
        self.master_port, port = free_port(), free_port()
        files = work / "files"
        files.mkdir(exist_ok=True)
        (files / "training_code.py").write_text("print('one')\n")
        common = {
            "PROBE_WORLD_SIZE": str(size),
            "PROBE_PEERS": ",".join(addresses),
            "PROBE_MASTER_PORT": str(self.master_port),
            "PROBE_PORT": str(port),
            "PROBE_SUBNET": "127.0.0.0/8",
            "PROBE_TIMEOUT": "20",
            "PROBE_APPEAR_TIMEOUT": "1.5",
            "PROBE_FILES": str(files),
            "NCCL_SOCKET_IFNAME": "lo",
            "GLOO_SOCKET_IFNAME": "lo",
            **env,
        }
        group = threading.Barrier(size)
        super().__init__(
            Rank(rank, address, {**common, "PROBE_RANK": str(rank), "PROBE_HOST": f"host{rank + 1}"}, group)
            for rank, address in enumerate(addresses)
        )

    def run(self) -> list[Json]:
        """The reports as nccl_check hands them on, of hosts that are well."""
        for rank in self:
            rank.start()
        probes = [rank.report() for rank in self]
        return [
            {**healthy_report(rank.rank, len(self)), "probe": probe} for rank, probe in zip(self, probes, strict=True)
        ]

    def stop(self) -> None:
        for rank in self:
            rank.stop()


class Verdict:
    """What the module returns, and what it writes: they must agree."""

    def __init__(self, capsys: pytest.CaptureFixture[str], path: Path, reports: list[Json], **arguments: Any) -> None:
        self.size = len(reports)
        ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(self.size)]
        arguments = {"reports": reports, "ranks": ranks, "path": str(path), **ANY_SPEED, **arguments}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            nccl_check.main()
        self.out: Json = json.loads(capsys.readouterr().out)
        self.file: Json = json.loads(path.read_text())
        assert {key: self.out[key] for key in self.file} == self.file
        assert set(self.file) >= {"ok", "findings", "layers", "message"}

    def shown(self) -> dict[int, list[str]]:
        """The marks of the table: by layer, in the order of the ranks."""
        rows = [line.split() for line in self.out["table"].splitlines()]
        heads = [f"{rank} host{rank + 1}" for rank in range(self.size)]
        assert rows[0] == " ".join(["layer", *heads]).split()
        found = {int(row[0]): row for row in rows[1:15]}
        for number, row in found.items():
            assert " ".join(row[1 : -self.size]) == LAYERS[number]
        return {number: row[-self.size :] for number, row in found.items()}

    def written(self) -> dict[int, list[str]]:
        """The same out of the file."""
        marks = {"ok": "ok", "fail": "FAIL", "not reached": "-"}
        assert [row["name"] for row in self.file["layers"]] == list(LAYERS.values())
        return {
            row["layer"]: [marks[row["ranks"][str(rank)]] for rank in range(self.size)] for row in self.file["layers"]
        }

    def passes(self) -> Verdict:
        assert self.file["ok"] is True, self.file["message"]
        assert self.file["findings"] == []
        assert self.shown() == self.written() == {layer: ["ok"] * self.size for layer in LAYERS}
        return self

    def fails(
        self, layer: int, *where: tuple[int, int | None], check: str, unreached: tuple[int, ...] = ()
    ) -> list[Json]:
        """Just this layer fails, on these ranks and towards these peers, in what is returned, shown and written.

        All before it passed everywhere, and nothing after it was reached. `unreached`: ranks that did not come so far.
        """
        assert self.file["ok"] is False
        findings: list[Json] = self.file["findings"]
        seen = [(one["layer"], one["check"], one["rank"], one["host"], one["peer"]) for one in findings]
        assert seen == [
            (layer, check, rank, f"host{rank + 1}", None if peer is None else f"host{peer + 1}") for rank, peer in where
        ], self.out["message"]
        own = ["FAIL" if rank in dict(where) else "-" if rank in unreached else "ok" for rank in range(self.size)]
        wanted = {
            number: ["ok"] * self.size if number < layer else own if number == layer else ["-"] * self.size
            for number in LAYERS
        }
        assert self.written() == wanted
        assert self.shown() == wanted
        rank, peer = where[0]
        towards = "" if peer is None else f" towards host{peer + 1}"
        start = f"Layer {layer} ({LAYERS[layer]}) fails on host{rank + 1} (rank {rank}){towards}, {check}: "
        assert self.file["message"].startswith(start)
        assert all(one["layer_name"] == LAYERS[layer] for one in findings)
        return findings


@contextmanager
def program(address: str, port: int, words: bytes) -> Iterator[None]:
    """A foreign program that listens there, and greets with these words."""
    with socket.create_server((address, port)) as listener:

        def serve() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    caller.sendall(words)
                    if not words:
                        time.sleep(0.3)

        threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def clock_that_is(ahead: float) -> SimpleNamespace:
    """Stands in for the module `time` on a host whose clock is wrong by so many seconds."""
    return SimpleNamespace(
        time=lambda: time.time() + ahead, monotonic=time.monotonic, sleep=time.sleep, perf_counter=time.perf_counter
    )


@pytest.fixture
def pair() -> list[Json]:
    return [healthy_report(rank, 2) for rank in range(2)]


@pytest.fixture
def trio() -> list[Json]:
    return [healthy_report(rank, 3) for rank in range(3)]


@pytest.fixture
def judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """The verdict of the whole module, held against what it shows and writes."""
    return lambda reports, **limits: Verdict(capsys, tmp_path / "preflight.json", reports, **limits)
