"""./ddp board and playbooks/board.yml, run for real with the real TensorBoard; only the docker command is a stand-in."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT
from ports import free_port
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar
from test_hostile_results import Host


def listeners(port: int) -> set[str]:
    """Addresses, as the kernel has them, on which somebody listens at this port."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            address, at = line.split()[1].split(":")
            if int(at, 16) == port and line.split()[3] == "0A":
                found.add(address)
    return found


class Curve:
    """A file of TensorBoard's that grows."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.writer = EventsWriter(str(folder / "events"))

    def add(self, step: int, loss: float) -> None:
        self.writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar("loss", loss)))
        self.writer.flush()


class Board:
    """The console's command, with what it prints, and what its page says."""

    def __init__(self, host: Host, port: int, *options: str, **variables: Any) -> None:
        self.port = port
        python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
        swarm = {"managers": {"hosts": {"host1": python}}, "workers": {}}
        inventory = host.directory / "hosts.json"
        inventory.write_text(json.dumps({"swarm": {"children": swarm}}))
        settings = {
            "training_artifacts_dir": str(host.artifacts),
            "_training_stage": str(host.stage),
            "ansible_become": False,
        }
        self.output = host.directory / "output"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [
                    ROOT / "ddp",
                    "board",
                    "job",
                    "--port",
                    str(port),
                    "-i",
                    inventory,
                    "-e",
                    json.dumps(settings),
                    *options,
                ],
                cwd=ROOT,
                env={**kept, "PATH": f"{host.directory / 'bin'}:{os.environ['PATH']}", "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def says(self, words: str, seconds: float = 150) -> None:
        end = time.monotonic() + seconds
        while words not in self.said:
            assert time.monotonic() < end and self.process.poll() is None, self.said
            time.sleep(0.2)

    def points(self) -> list[list[float]]:
        address = f"http://127.0.0.1:{self.port}/data/plugin/scalars/scalars?run=tensorboard/first&tag=loss"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return list(json.load(answer))

    def steps(self, wanted: int, seconds: float = 150) -> list[int]:
        """The steps of the curve, once it has as many as wanted."""
        end = time.monotonic() + seconds
        points: list[Any] = []
        while time.monotonic() < end and self.process.poll() is None:
            try:
                points = self.points()
            except (urllib.error.URLError, OSError):
                points = []
            if len(points) >= wanted:
                break
            time.sleep(1)
        return [int(step) for _time, step, _value in points]

    def ends(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def boards() -> Iterator[list[Board]]:
    made: list[Board] = []
    yield made
    for board in made:
        if board.process.poll() is None:
            board.process.send_signal(signal.SIGINT)
            board.process.wait(30)


def test_it_shows_what_comes_on_the_loopback_alone_until_ctrl_c(host: Host, boards: list[Board]) -> None:
    curve = Curve(host.volume / "tensorboard" / "first")
    curve.add(1, 0.5)
    (host.volume / "snapshot.pt").write_bytes(b"large")
    board = Board(host, free_port(), "--every", "2")
    boards.append(board)
    # It answers a moment before the console says so.
    board.says(f"http://127.0.0.1:{board.port}/")
    assert board.steps(1) == [1], board.said
    curve.add(2, 0.25)
    assert board.steps(2) == [1, 2], board.said
    assert listeners(board.port) == {"0100007F"}
    # What TensorBoard does not read stays where it is.
    assert not [name for name in host.collected() if "tfevents" not in name]
    board.process.send_signal(signal.SIGINT)
    assert board.ends() == 0, board.said
    assert listeners(board.port) == set()


def test_without_anything_to_show_it_says_what_to_write(host: Host, boards: list[Board]) -> None:
    host.put({"metrics.jsonl": b"{}\n"})
    board = Board(host, free_port())
    boards.append(board)
    assert board.ends(90) == 1
    assert "has written no files for TensorBoard" in board.said
    assert "training_board_files" in board.said


def test_a_port_in_use_is_named(host: Host, boards: list[Board]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        board = Board(host, port)
        boards.append(board)
        assert board.ends(60) == 2
    assert f"Port {port} of this machine is in use: name another with --port." in board.said


def test_what_was_fetched_before_is_shown_where_no_host_answers(host: Host, boards: list[Board]) -> None:
    Curve(host.artifacts / "tensorboard" / "first").add(7, 0.5)
    board = Board(host, free_port(), ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=9)
    boards.append(board)
    board.says("what was fetched before")
    assert board.steps(1) == [7], board.said


def test_the_playbook_alone_prints_the_command(host: Host) -> None:
    Curve(host.volume / "deep" / "er").add(1, 0.5)
    done = host.play("board")
    assert done.returncode == 0, done.stdout
    assert re.search(
        rf"tensorboard --logdir {re.escape(str(host.artifacts))} --host 127.0.0.1", " ".join(done.stdout.split())
    )
    assert [name.split("/")[:2] for name in host.collected()] == [["deep", "er"]]
