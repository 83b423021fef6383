"""How fast a job fills its disk: measured twice by its launcher, read by the preflight, and judged."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.growth import growth
from ddp_launcher import growth as measure
from preflight_ranks import only, verdict
from waiting import until


class Docker:
    """Stands in for the command: it knows where one volume lies."""

    def __init__(self, path: Path, rc: int = 0) -> None:
        self.path, self.rc = path, rc

    def run(self, *_words: str, **_options: Any) -> Any:
        return SimpleNamespace(rc=self.rc, stdout=f"{self.path}\n")


def wrote(volume: Path, value: Any) -> Path:
    own = volume / ".ddp-launcher"
    own.mkdir(exist_ok=True)
    (own / "growth.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return volume


def test_what_the_launcher_measures_the_preflight_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ddp-launcher").mkdir()
    monkeypatch.setattr(measure, "FIRST", 0.1)
    monkeypatch.setattr(measure, "EVERY", 0.3)
    measure.watch(str(tmp_path), str(tmp_path / ".ddp-launcher"))
    time.sleep(0.2)
    (tmp_path / "saved").write_bytes(os.urandom(2**20))
    os.link(tmp_path / "saved", tmp_path / "again")  # is no second megabyte
    file = tmp_path / ".ddp-launcher/growth.json"
    until(file.exists)
    first, last = (json.loads(file.read_text())[name] for name in ("first", "last"))
    assert 2**20 <= last[1] - first[1] < 2**20 + 2**17
    assert growth(Docker(tmp_path), "v") == {}, "too close together to be a rate"
    wrote(tmp_path, {"first": [first[0] - 3600, first[1]], "last": last})
    found = growth(Docker(tmp_path), "v")
    assert found["per_hour"] == pytest.approx(last[1] - first[1], rel=0.01)
    assert found["hours"] == pytest.approx(1, abs=0.01)
    assert found["free"] > 0


@pytest.mark.parametrize(
    "value",
    [
        "", "{", "[]", "7", {"first": [0, 0]}, {"first": [0, 5], "last": [7200, 5]}, {"first": [0, 9], "last": [7200, 5]},
        {"first": [0, 0], "last": [7200, "nan"]}, {"first": [0, 0], "last": [7200, 1e300]}, {"first": [0], "last": [1]}, "[" * 5000,
        {"first": [7200, 0], "last": [0, 9]},
    ],
)  # fmt: skip
def test_what_is_no_measurement_tells_nothing(tmp_path: Path, value: Any) -> None:
    assert growth(Docker(wrote(tmp_path, value)), "v") == {}


def test_without_a_volume_and_through_a_link_nothing_is_read(tmp_path: Path) -> None:
    assert (
        growth(Docker(tmp_path / "gone"), "v")
        == growth(Docker(tmp_path, rc=1), "v")
        == growth(Docker(tmp_path), "v")
        == {}
    )
    real = wrote(tmp_path, {"first": [0, 0], "last": [7200, 2**30]}) / ".ddp-launcher/growth.json"
    assert growth(Docker(tmp_path), "v") != {}
    moved = real.rename(tmp_path / "elsewhere")
    real.symlink_to(moved)
    assert growth(Docker(tmp_path), "v") == {}
    real.unlink()
    os.mkfifo(real)
    assert growth(Docker(tmp_path), "v") == {}


def test_a_disk_that_the_jobs_own_rate_fills_is_named(pair: Any) -> None:
    pair[1]["host_checks"]["growth"] = {"per_hour": 2e9, "hours": 3.5, "free": 10e9}
    found = only(verdict(pair), 2, "host2")
    assert (found["check"], found["expected"]) == ("disk growth", "room for 24 h")
    assert found["observed"] == (
        "rank 1 has written 2000 MB an hour (measured over 3.5 h), and 10000 MB are free: the disk is full in 5.0 h"
    )
    assert "preflight_min_disk_hours" in found["hint"]
    assert verdict(pair, min_disk_hours=0)["ok"]
    assert verdict(pair, min_disk_hours=5)["ok"]
    pair[1]["host_checks"]["growth"] = {}
    assert verdict(pair)["ok"]
