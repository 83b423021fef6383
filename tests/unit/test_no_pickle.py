"""Whoever reaches the port of a training is taken for a rank: what the ranks send each other must be data, never code."""

import ast
import os
import pickle
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
import torch.distributed as dist
from by_path import ROOT

import training_code as trainer
from ddp_trainer import ranks, snapshots

FOLDERS = ("training", "roles", "library", "module_utils", "plugins", "examples", "tests/scripts")
SERIALIZERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
COLLECTIVES = {"all_gather_object", "gather_object", "broadcast_object_list", "scatter_object_list"}
COLLECTIVES |= {"send_object_list", "recv_object_list"}


class Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


# --- by reading the code ----------------------------------------------------------------------------------


def unpickling(source: str) -> list[str]:
    """What in this source unpickles, or could: imports, collectives of objects, torch.load of anything but weights."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in SERIALIZERS]
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0], *(alias.name for alias in node.names)}
            found += sorted(names & (SERIALIZERS | COLLECTIVES))
        elif isinstance(node, ast.Attribute) and node.attr in COLLECTIVES:
            found.append(node.attr)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") == "load"
            and ast.unparse(node.func) == "torch.load"
        ):
            if not any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords):
                found.append("torch.load")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append("allow_pickle")
    return found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import pickle", ["pickle"]),
        ("import os, cloudpickle.cloudpickle", ["cloudpickle.cloudpickle"]),
        ("from pickle import loads", ["pickle"]),
        ("from torch.distributed import all_gather_object", ["all_gather_object"]),
        ("dist.all_gather_object(a, b)", ["all_gather_object"]),
        ("torch.distributed.broadcast_object_list(a)", ["broadcast_object_list"]),
        ("torch.load(path)", ["torch.load"]),
        ("torch.load(path, weights_only=False)", ["torch.load"]),
        ("torch.load(path, weights_only=True)", []),
        ("numpy.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("dist.all_gather(a, b); json.loads(c)", []),
    ],
)
def test_the_search_finds_what_it_looks_for(source: str, names: list[str]) -> None:
    assert unpickling(source) == names


def test_nothing_that_runs_on_a_host_or_in_a_container_unpickles() -> None:
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    names = {path.name for path in files}
    assert {"training_code.py", "snapshots.py", "collectives.py", "swarm_stack.py", "kmeans.py"} <= names, (
        "the search misses files"
    )
    found = {str(path.relative_to(ROOT)): unpickling(path.read_text()) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


def test_torchrun_meets_statically() -> None:
    """Its c10d rendezvous keeps a pickled state in a store that anyone may write to; the static one does not."""
    command = (ROOT / "plugins/filter/training_command.py").read_text()
    assert '"torchrun",' in command
    assert 'f"--master_addr={master}"' in command
    assert not any(word in command for word in ("rdzv_backend", "rdzv-backend", "rdzv_endpoint", "rdzv-endpoint"))


# --- by sending it ----------------------------------------------------------------------------------------


def send(data: bytes, length: int | None = None) -> None:
    """Takes part in gathering bytes as the other ranks do, with `data` for its own, said to be `length` bytes long."""
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
    dist.all_gather(sizes, torch.tensor([len(data) if length is None else length]))
    own = torch.zeros(max(int(size) for size in sizes), dtype=torch.uint8)
    own[: len(data)] = torch.tensor(list(data), dtype=torch.uint8)
    dist.all_gather([torch.zeros_like(own) for _ in range(2)], own)


def test_what_is_sent_as_it_should_be_arrives(tmp_path: Path) -> None:
    """The forged rank of the next tests speaks the trainer's protocol: honest bytes of it are understood."""

    def work(rank: int) -> None:
        if rank == 1:
            send(b'{"lr": 0.1, "name": "\xc3\xa9"}')
        else:
            print(ranks.gather(("first", 1, None, True)))

    honest = forked.run(2, work, tmp_path)
    assert [rank.code for rank in honest] == [0, 0], honest
    assert last_line(honest[0].output) == "[['first', 1, None, True], {'lr': 0.1, 'name': 'é'}]"


def test_a_pickle_from_a_peer_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    payload = pickle.dumps(Planted(marker))

    def work(rank: int) -> None:
        if rank == 1:
            send(payload)
        else:
            ranks.require_same("the weights", "abc")

    victim = forked.run(2, work, tmp_path)[0]
    assert not marker.exists(), "the peer's code was run"
    assert victim.code == 1
    assert last_line(victim.output) == (
        "RuntimeError: what rank 1 sent cannot be read: does it run the same training_code.py?"
    )
    pickle.loads(payload)
    assert marker.exists(), "the payload does nothing: the test would not notice that it is run"


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\xff", b"[" * 200_000, b"", b"{'a': 1}"], ids=["no text", "deep", "nothing", "no JSON"]
)
def test_other_malformed_bytes_give_the_same_sentence(data: bytes, tmp_path: Path) -> None:
    victim = forked.run(2, lambda rank: send(data) if rank == 1 else ranks.gather(1), tmp_path)[0]
    assert victim.code == 1
    assert last_line(victim.output).startswith("RuntimeError: what rank 1 sent cannot be read")
    assert "JSONDecodeError" not in victim.output
    assert "RecursionError" not in victim.output


@pytest.mark.parametrize("length", [-1, 2**40, 2**63 - 1])
def test_an_impossible_length_is_refused(length: int, tmp_path: Path) -> None:
    def work(rank: int) -> None:
        if rank == 1:
            sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
            dist.all_gather(sizes, torch.tensor([length]))
        else:
            ranks.gather("abc")

    victim = forked.run(2, work, tmp_path)[0]
    assert victim.code == 1
    assert last_line(victim.output).startswith(f"RuntimeError: rank 1 wants to send {length} bytes")


def test_a_snapshot_from_rank_0_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 of this group is the peer: what it hands over carries code beside the weights."""
    marker = tmp_path / "marker"
    (tmp_path / "0").mkdir()

    def forged(path: Path) -> dict[str, Any]:
        model = {
            name: tensor.clone() for name, tensor in trainer.build_task("regression", 0, 1).model.state_dict().items()
        }
        return {"format": snapshots.SNAPSHOT_FORMAT, "model": model, "run": Planted(marker)}

    def work(rank: int) -> None:
        monkeypatch.setattr(snapshots, "find_snapshot", forged)
        args = trainer.parse_args(["1", "1", "--snapshot_path", str(tmp_path / str(rank) / "snapshot.pt")])
        trainer.Trainer(args, torch.device("cpu"), None)

    victim = forked.run(2, work, tmp_path, optimizer=True)[1]
    assert not marker.exists(), "rank 0's code was run"
    assert victim.code == 1
    assert last_line(victim.output) == (
        "RuntimeError: the snapshot that rank 0 sent cannot be used: Weights only load failed"
    )
    assert "UnpicklingError" not in victim.output
