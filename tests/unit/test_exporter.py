"""The exporter of rank metrics: what it makes of what ranks write, also of what they should not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.zipapp import archive
from by_path import ROOT
from ddp_exporter import records
from ddp_exporter.launcher import container
from ddp_exporter.main import metrics, options
from ddp_exporter.records import Rank, last_values, read
from ddp_exporter.text import of_ranks, render
from ports import free_port
from waiting import until

EXPORTER = ROOT / "roles/monitoring/files/exporter"
CONTAINER = "0123456789abcdef" * 4


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def trained(rank: int = 0, world_size: int = 2, **more: Any) -> bytes:
    """As the project's trainer writes it."""
    common = {"rank": rank, "world_size": world_size, "run": "20250101T000000Z", "restarts": 1}
    return lines(
        {"event": "start", "time": 1.5, **common, "epoch": 0, "step": 0},
        {"event": "epoch", "time": 2.5, **common, "epoch": 0, "step": 64, "loss": 0.5, "samples_per_s": 412.5},
        {"event": "step", "time": 3.5, **common, "epoch": 1, "step": 65, "loss": 0.25, **more},
    )


def samples(results: Path, node_rank: int = 0, hosts: int = 2) -> dict[str, float]:
    words = ["--stack=job", f"--host=host{node_rank + 1}", f"--node_rank={node_rank}", f"--hosts={hosts}"]
    text = metrics(options([*words, f"--results={results}", "--port=1"]))
    return {
        sample.rpartition(" ")[0]: float(sample.rpartition(" ")[2])
        for sample in text.splitlines()
        if not sample.startswith("#")
    }


def test_what_the_trainer_writes(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(trained())
    said = samples(tmp_path)
    labels = '{stack="job",host="host1",rank="0"}'
    assert said[f"ddp_train_loss{labels}"] == 0.25
    assert said[f"ddp_train_step{labels}"] == 65
    assert said[f"ddp_epoch{labels}"] == 1
    assert said[f"ddp_samples_per_second{labels}"] == 412.5
    assert said[f"ddp_restarts_total{labels}"] == 1
    assert said[f"ddp_last_record_timestamp_seconds{labels}"] == 3.5
    disk = '{stack="job",host="host1",node_rank="0"}'
    assert 0 < said[f"ddp_results_free_bytes{disk}"] <= said[f"ddp_results_size_bytes{disk}"]


def test_the_format() -> None:
    text = render(
        of_ranks([Rank(0, {"loss": float("nan"), "step": 3.0}), Rank(1, {"loss": float("inf")})], {"stack": 'a"b\\c'})
    )
    assert text == (
        "# HELP ddp_train_loss The last loss that the rank has written.\n"
        "# TYPE ddp_train_loss gauge\n"
        'ddp_train_loss{stack="a\\"b\\\\c",rank="0"} NaN\n'
        'ddp_train_loss{stack="a\\"b\\\\c",rank="1"} +Inf\n'
        "# HELP ddp_train_step The optimizer step of the last record.\n"
        "# TYPE ddp_train_step gauge\n"
        'ddp_train_step{stack="a\\"b\\\\c",rank="0"} 3\n'
    )


def test_a_script_of_ones_own_needs_only_what_it_has() -> None:
    assert last_values(lines({"global_step": 5, "train_loss": 2}, {"global_step": 6})) == {"step": 6, "loss": 2}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"nothing",
        b"[" * 100_000,
        b'{"loss": "0.5\\" secret"}',
        b'{"loss": true}',
        b'{"loss": [0.1]}',
        b'{"loss": 1' + b"0" * 400 + b"}",
        b'{"loss": 1' + b"0" * 5000 + b"}",
        b"\xff\xfe",
        b'{"event": "step", "password": "hunter2"}',
    ],
)
def test_of_what_is_no_number_nothing_is_told(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(lines({"loss": 0.5}) + line + b"\n" + b'{"loss": 0.7')
    said = samples(tmp_path)
    assert said['ddp_train_loss{stack="job",host="host1",rank="0"}'] == 0.5
    assert "hunter2" not in str(said)


def test_the_files_of_another_hosts_ranks_are_passed_over(tmp_path: Path) -> None:
    """The launcher brings what rank 0's host has saved to the others."""
    (tmp_path / "metrics.jsonl").write_bytes(trained(0, 4))
    for rank in (1, 2, 3):
        (tmp_path / f"metrics-rank{rank}.jsonl").write_bytes(trained(rank, 4))
    assert [rank.number for rank in read(str(tmp_path), 0, 2)] == [0, 1]
    assert [rank.number for rank in read(str(tmp_path), 1, 2)] == [2, 3]
    # Four processes on three hosts: nobody knows which has two, and only rank 0's place is sure.
    assert [rank.number for rank in read(str(tmp_path), 1, 3)] == [1, 2, 3]


def test_links_pipes_and_strange_names_are_passed_over(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (tmp_path / "outside").write_bytes(trained(0, 1))
    (results / "metrics.jsonl").symlink_to(tmp_path / "outside")
    os.mkfifo(results / "metrics-rank1.jsonl")
    (results / "metrics-rank2.jsonl").mkdir()
    for name in ("metrics-rank99999.jsonl", "metrics-rank1.jsonl.old", "metrics-rank\n3.jsonl", "metrics-ranké.jsonl"):
        (results / name).write_bytes(trained(3, 1))
    assert read(str(results), 0, 1) == []
    assert read(str(tmp_path / "gone"), 0, 1) == []


def test_a_large_file_is_read_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "READ", 4096)
    with (tmp_path / "metrics.jsonl").open("wb") as file:
        for step in range(5000):
            file.write(lines({"step": step, "loss": step / 10, "world_size": 1}))
    (rank,) = read(str(tmp_path), 0, 1)
    assert rank.values == {"step": 4999, "loss": 499.9, "world_size": 1}


def test_the_container_of_the_newest_start(tmp_path: Path) -> None:
    assert container(str(tmp_path)) == ""
    for name, said in (("20250101T000000Z-0a0a0a", "f" * 64), ("20250102T000000Z-0b0b0b", CONTAINER)):
        folder = tmp_path / ".ddp-launcher" / "logs" / name
        folder.mkdir(parents=True)
        (folder / "about.json").write_text(json.dumps({"container": said, "deployed": "x"}))
    assert container(str(tmp_path)) == CONTAINER
    assert (
        samples(tmp_path)[f'ddp_container_info{{stack="job",host="host1",node_rank="0",container="{CONTAINER}"}}'] == 1
    )
    for wrong in ('{"container": "x\\"} 1"}', "[]", "{"):
        (folder / "about.json").write_text(wrong)
        assert container(str(tmp_path)) == ""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An exporter as it runs in a container: its archive, and nothing else of this project."""
    program, port = tmp_path / "exporter", free_port()
    program.write_bytes(archive(str(EXPORTER)))
    results = tmp_path / "results"
    results.mkdir()
    (results / "metrics.jsonl").write_bytes(trained(0, 1))
    words = [sys.executable, "-I", program, "--stack=job", "--host=h", "--node_rank=0", "--hosts=1"]
    process = subprocess.Popen([*words, f"--results={results}", "--listen=127.0.0.1", f"--port={port}"])

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)
        except OSError:
            return False
        return True

    try:
        until(answers)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def test_it_answers_a_scrape_and_ends_at_once(address: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = address
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b'ddp_train_loss{stack="job",host="h",rank="0"} 0.25\n' in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/results/metrics.jsonl", timeout=5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
