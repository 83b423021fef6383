"""What collect.yml says of the results that it fetched, and of those that it did not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.filter.collected import BY_DEFAULT, collected_lines, in_words
from by_path import ROOT


def lines(**laid_out: Any) -> list[str]:
    nothing = {"files": [], "missing": [], "unnamed": [], "instead": False}
    return collected_lines({**nothing, **laid_out}, "host1", "/snapshots", 1000)


def file(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "file": "00000", "public": True, "size": size}


def test_what_was_fetched() -> None:
    files = [file("last.ckpt", 3_200_000), file("out/a", 5), file("out/b/c", 2_000)]
    assert lines(files=files) == ["Fetched from host1: last.ckpt (3.2 MB), out/ (2 files, 2.0 kB)."]
    many = [file(f"f{number}", 1) for number in range(12)]
    assert lines(files=many)[0].endswith("f9 (1 B), and 2 more.")


def test_what_is_named_and_not_there() -> None:
    """The default names what a script of one's own need not have."""
    found = lines(
        files=[file("snapshot.pt", 7)], missing=["best.pt", "metrics.jsonl", "tensorboard", "metrics-rank*.jsonl"]
    )
    assert found == [
        "Not there: training_collect names best.pt, which /snapshots on host1 does not have.",
        "Fetched from host1: snapshot.pt (7 B).",
    ]


def test_what_is_there_and_not_named() -> None:
    unnamed = [{"name": "data.bin", "files": 1, "size": 1_234_000_000}, {"name": "logs", "files": 3, "size": 12_000}]
    assert lines(unnamed=unnamed) == [
        "Not fetched, as training_collect does not name it: data.bin (1.2 GB), logs (3 files, 12 kB), in /snapshots on host1."
    ]


def test_the_one_before_of_a_file_that_is_fetched_is_not_missed() -> None:
    before = [{"name": "snapshot.pt.1", "files": 1, "size": 7}]
    assert lines(files=[file("snapshot.pt", 7)], unnamed=before) == ["Fetched from host1: snapshot.pt (7 B)."]
    assert "snapshot.pt.1 (7 B)" in lines(unnamed=before)[0]


def test_all_in_place_of_what_was_named() -> None:
    found = lines(files=[file("last.ckpt", 7)], missing=["snapshot.pt", "tensorboard"], instead=True)
    assert found == [
        (
            "Nothing in /snapshots on host1 is named in training_collect (snapshot.pt, tensorboard): "
            "all of it is fetched, up to 1000 MB (training_collect_max_mb)."
        ),
        "Fetched from host1: last.ckpt (7 B).",
    ]


def test_nothing_to_say() -> None:
    assert lines(missing=["snapshot.pt"]) == []


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_940, "9.9 kB"),
        (12_345, "12 kB"),
        (1e6, "1.0 MB"),
        (5e12, "5000 GB"),
    ],
)
def test_sizes(size: float, words: str) -> None:
    assert in_words(size) == words


def test_what_is_fetched_by_default_is_that_of_the_role() -> None:
    defaults = yaml.safe_load((ROOT / "roles/training/defaults/main.yml").read_text())
    assert {*defaults["training_collect"], *defaults["training_collect_from_each"]} == {*BY_DEFAULT}
