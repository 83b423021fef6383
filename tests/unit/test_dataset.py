"""Data of two hosts, compared: real directories on this machine, by the module and the filters, to the finding."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.training_data import (
    data_buckets,
    data_refusals,
    data_reports,
    data_sets,
)
from ansible_collections.ddp.swarm.plugins.module_utils import dataset
from ansible_collections.ddp.swarm.plugins.module_utils.text import printable_all
from preflight_ranks import verdict

HOSTS = ["host1", "host2"]
SHOWN = "/srv/images"


@pytest.fixture
def hosts(tmp_path: Path) -> list[Path]:
    """Two hosts' directories with the same 300 files, one of them large."""
    first, second = tmp_path / "first", tmp_path / "second"
    for number in range(300):
        file = first / f"class{number % 3}" / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"image {number}".encode() * 20)
    (first / "large.bin").write_bytes(os.urandom(2_000_000))
    (first / "link").symlink_to("class0")
    shutil.copytree(first, second, symlinks=True)
    return [first, second]


def asked(hosts: list[Path], mb: float = 256, buckets: dict[str, list[int]] | None = None) -> list[dict[str, Any]]:
    """As a loop over the hosts returns it, of directories that have one name there."""
    results = []
    for host, path in zip(HOSTS, hosts, strict=True):
        seen = dataset.looked_at(str(path), int(mb * 1e6), (buckets or {}).get(SHOWN))
        results.append({"item": host, "sets": printable_all([{**seen, "path": SHOWN}])})
    return results


def compared(hosts: list[Path], mb: float = 256) -> list[dict[str, Any]]:
    looks = asked(hosts, mb)
    buckets = data_buckets(looks, HOSTS)
    reports = data_reports(looks, asked(hosts, mb, buckets) if buckets else [], HOSTS)
    return [found for report in reports for found in report["host_checks"]["datasets"]]


def test_the_same_data(hosts: list[Path]) -> None:
    assert compared(hosts) == compared(hosts, 0.001) == []
    (look, _) = asked(hosts)
    assert (look["sets"][0]["files"], look["sets"][0]["missing"]) == (302, False)
    # When a file was written does not count, nor does whose it is.
    os.utime(hosts[1] / "class0/000.png", (0, 0))
    assert compared(hosts) == []


def test_a_file_that_is_missing_another_size_and_a_link(hosts: list[Path]) -> None:
    (hosts[1] / "class0/000.png").unlink()
    (found,) = compared(hosts)
    assert (found["lack"], found["first"], found["has"][:9], found["there"][:9]) == (
        "other",
        "host1",
        "301 files",
        "302 files",
    )
    assert found["files"] == ["class0/000.png (not there, there 140 bytes)"]
    (hosts[1] / "class0/000.png").write_bytes(b"x")
    assert compared(hosts)[0]["files"] == ["class0/000.png (1 bytes, there 140 bytes)"]
    shutil.copy(hosts[0] / "class0/000.png", hosts[1] / "class0/000.png")
    (hosts[1] / "link").unlink()
    (hosts[1] / "link").symlink_to("class1")
    assert compared(hosts)[0]["files"] == ["link (link to class1, there link to class0)"]
    (hosts[1] / "more.png").write_bytes(b"y")
    assert "more.png (1 bytes, there not there)" in compared(hosts)[0]["files"]


def test_other_bytes(hosts: list[Path]) -> None:
    file = hosts[1] / "class2/002.png"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert compared(hosts)[0]["files"] == ["class2/002.png (other content)"]


@pytest.mark.parametrize(("where", "seen"), [(0, True), (1_000_000, True), (1_999_999, True), (300_000, False)])
def test_of_a_large_file_three_pieces_count(hosts: list[Path], where: int, seen: bool) -> None:
    with open(hosts[1] / "large.bin", "r+b") as stream:
        stream.seek(where)
        byte = stream.read(1)
        stream.seek(where)
        stream.write(bytes([byte[0] ^ 255]))
    assert [one["files"] for one in compared(hosts)] == ([["large.bin (other content)"]] if seen else [])


def test_a_sample_is_bounded_and_the_same_on_each_host(hosts: list[Path]) -> None:
    one, two = ({**look["sets"][0]} for look in asked(hosts, 0.005))
    assert one == two
    assert 4000 < one["read"] <= 5000
    # Sizes and names of what is not read count all the same.
    (hosts[1] / "large.bin").write_bytes(b"")
    assert compared(hosts, 0.005)[0]["files"] == ["large.bin (0 bytes, there 2000000 bytes)"]


def test_odd_things_in_a_directory(hosts: list[Path]) -> None:
    for host in hosts:
        os.mkfifo(host / "pipe")
        (host / "a\nb\x1b[31m").write_bytes(b"x")
        (Path(os.fsdecode(bytes(host) + b"/\xff\xfe"))).write_bytes(b"y")
    assert compared(hosts) == []
    (hosts[1] / "a\nb\x1b[31m").write_bytes(b"zz")
    (said,) = compared(hosts)[0]["files"]
    assert "\x1b" not in said


def test_what_is_missing_on_a_host(hosts: list[Path]) -> None:
    shutil.rmtree(hosts[1])
    assert compared(hosts) == [{"path": SHOWN, "lack": "missing"}]


def test_a_file_as_data(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x")
    two.write_bytes(b"y")
    assert compared([one, two])[0]["files"] == ["it (other content)"]
    assert compared([one, one]) == []


def test_the_sentences(pair: Any, hosts: list[Path]) -> None:
    (hosts[1] / "class0/000.png").unlink()
    looks = asked(hosts)
    reports = data_reports(looks, asked(hosts, buckets=data_buckets(looks, HOSTS)), HOSTS)
    (found,) = verdict([*pair, *reports], size=2)["findings"]
    assert (found["layer"], found["host"], found["check"]) == (2, "host2", "data")
    assert found["observed"].startswith("/srv/images has 301 files of ")
    assert found["observed"].endswith("class0/000.png (not there, there 140 bytes)")
    assert "set training_data_from to host1 and run playbooks/preflight.yml" in found["hint"]


def test_the_sentence_of_missing_data(pair: Any) -> None:
    pair[0]["host_checks"]["datasets"] = [{"path": SHOWN, "lack": "missing"}]
    pair[1]["host_checks"]["datasets"] = [{"path": SHOWN, "lack": "missing"}]
    first, second = verdict(pair)["findings"]
    assert "set training_data_from to controller and" in first["hint"]
    assert "set training_data_from to host1 and" in second["hint"]
    for report in pair:
        report["host_checks"]["bind_mounts"] = [{"path": SHOWN, "lack": "missing"}]
    assert [one["check"] for one in verdict(pair)["findings"]] == ["bind mount", "bind mount"]


def test_settings() -> None:
    both = data_sets(["/srv/a", {"path": "/srv/b", "controller": "b"}])
    assert both == [{"path": "/srv/a", "controller": "/srv/a"}, {"path": "/srv/b", "controller": "b"}]
    assert data_sets(None) == data_sets([]) == []
    given = {"training_data": ["/srv/a"], "training_data_from": "", "training_hosts": HOSTS}
    assert data_refusals(given, []) == data_refusals({**given, "training_data_from": "host2"}, []) == ""
    assert data_refusals({**given, "training_data_from": "controller"}, []) == ""
    assert "is 'host3'" in data_refusals({**given, "training_data_from": "host3"}, [])
    for bad in ("a", "/", "", {"controller": "x"}):
        assert "an absolute path" in data_refusals({**given, "training_data": [bad]}, [])
