"""The second copy beside a rank's results, as the module training_results tells of it and lays it out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.kept_copy import copy_is_newer
from results_host import AGE, Host, host_in, nothing_stays_open


@pytest.fixture(autouse=True)
def all_is_closed() -> Iterator[None]:
    yield from nothing_stays_open()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return host_in(tmp_path, monkeypatch, capsys)


def book(host: Host, **changes: Any) -> None:
    told = {
        "source": True,
        "manifest": {"lineage": "0a-1", "counter": 7, "saves": 3, "files": {}},
        "seen": {},
    } | changes
    (host.results / ".ddp-launcher").mkdir(exist_ok=True)
    (host.results / ".ddp-launcher/book.json").write_text(json.dumps(told))


def copy(host: Host, name: str, **files: str) -> Path:
    place = host.results / ".ddp-launcher/copy" / name / "files"
    place.mkdir(parents=True)
    for file, content in files.items():
        (place / file).write_text(content)
    return place


def test_what_was_counted_and_what_was_copied(host: Host) -> None:
    book(host)
    copy(host, "0a-1:9", **{"metrics.jsonl": '{"run": "copied"}\n'})
    copy(host, "0a-1:10", **{"metrics.jsonl": '{"run": "newest"}\n'})
    copy(host, "building")
    told = host.call("named")
    assert told == {
        "changed": False,
        "run": "newest",
        "empty": True,
        "saved": {"lineage": "0a-1", "counter": 7},
        "copied": {"lineage": "0a-1", "counter": 10},
    }
    host.put(x="x")
    assert not host.call("named")["empty"]
    book(host, source=False)
    assert host.call("named")["saved"] == AGE


@pytest.mark.parametrize(
    "told", [{}, {"source": "yes"}, {"manifest": []}, {"manifest": {"lineage": "../x", "counter": 1}}]
)
def test_a_book_that_cannot_be_read_counts_nothing(host: Host, told: dict[str, Any]) -> None:
    book(host, **(told or {"manifest": None}))
    assert host.call("named")["saved"] == AGE


def test_files_of_the_copy_are_laid_out_beside_a_ranks_own(host: Host) -> None:
    host.put(**{"metrics-rank1.jsonl": "own"})
    copy(host, "0a-1:9", **{"snapshot.pt": "weights", "other": "x"})
    laid = host.call("laid_out", patterns=["metrics-rank*.jsonl", "snapshot.pt"], copy_patterns=["snapshot.pt"])
    assert [(file["name"], file["file"]) for file in laid["files"]] == [
        ("metrics-rank1.jsonl", "00000"),
        ("snapshot.pt", "00001"),
    ]
    assert host.staged()["00001"] == "weights"
    assert host.call("laid_out", patterns=[".ddp-launcher", ".ddp-launcher/*/*/*/*"])["files"] == []


@pytest.mark.parametrize("part", ["", "copy", "copy/0a-1:9", "copy/0a-1:9/files"])
def test_no_link_leads_to_a_copy(host: Host, tmp_path: Path, part: str) -> None:
    copy(host, "0a-1:9", **{"snapshot.pt": "secret"})
    there = host.results / ".ddp-launcher" / part
    there.rename(tmp_path / "outside")
    there.symlink_to(tmp_path / "outside")
    assert host.call("laid_out", copy_patterns=["*"])["files"] == []


def test_what_a_launcher_keeps_of_stalls_is_laid_out_with_the_logs(host: Host, tmp_path: Path) -> None:
    host.docker.answer({"ps": ""})
    host.put(**{"snapshot.pt": "weights"})
    own = host.results / ".ddp-launcher"
    for name in ("stalls", "dumps", "logs"):
        (own / name).mkdir(parents=True)
        (own / name / "one").write_text(name)
    (tmp_path / "outside").write_text("secret")
    (own / "stalls/link").symlink_to(tmp_path / "outside")
    laid = host.call("laid_out", patterns=["snapshot.pt"], service="job_node0")
    assert [(file["name"], file["file"]) for file in laid["files"]] == [
        ("snapshot.pt", "00000"),
        ("diagnosis/stalls/one", "00001"),
        ("diagnosis/dumps/one", "00002"),
    ]
    assert host.staged() == {"00000": "weights", "00001": "stalls", "00002": "dumps"}
    assert laid["left_out"] == [{"name": "stalls/link", "why": "it is a symbolic link"}]
    assert len(host.call("laid_out", patterns=["snapshot.pt"])["files"]) == 1


def test_whose_results_are_collected() -> None:
    def rank(
        saved: tuple[str, int] = ("", 0), copied: tuple[str, int] = ("", 0), empty: bool = False
    ) -> dict[str, Any]:
        ages = {"saved": saved, "copied": copied}
        return {"empty": empty, **{key: dict(zip(("lineage", "counter"), age)) for key, age in ages.items()}}

    second = rank(copied=("b", 5))
    assert copy_is_newer([rank(empty=True), second])
    assert copy_is_newer([{"unreachable": True}, second])
    assert copy_is_newer([rank(("b", 4)), second])
    assert copy_is_newer([rank(("a", 9)), second])
    assert not copy_is_newer([rank(("b", 5)), second])
    assert not copy_is_newer([rank(), second]), "never counted, but there"
    assert not copy_is_newer([rank(empty=True), {"failed": True}])
    assert not copy_is_newer([rank(empty=True)])
