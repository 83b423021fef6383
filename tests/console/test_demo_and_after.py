"""./ddp as a person uses it, on hosts of its own: typed into a terminal of 80x24 and 200x50, and without one.

The screens are kept in artifacts/console. `DDP_KEEP_LAB=1` keeps the hosts, and uses them again.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from by_path import ROOT
from terminal import Terminal

SUFFIX = "-console" + os.environ.get("DDP_LAB_SUFFIX", "")
LAB = f"ddp-lab{SUFFIX}"
OWN = {"DDP_LAB_SUFFIX": SUFFIX, "TERM": "screen-256color", "LANG": "C.UTF-8"}
LONG = "-e 'training_args=100000 200 --snapshot_path /snapshots/snapshot.pt'"

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed: apt-get install tmux")


def ddp(*words: str) -> subprocess.CompletedProcess[str]:
    """Without a terminal."""
    return subprocess.run(
        [str(ROOT / "ddp"), *words],
        cwd=ROOT, env={**os.environ, **OWN}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    shown = Terminal(80, 24, OWN)
    yield shown
    shown.close()
    if not os.environ.get("DDP_KEEP_LAB"):
        removed = ddp("demo", "--remove")
        assert removed.returncode == 0, removed.stdout + removed.stderr


def kill_rank_one() -> None:
    of_rank = ["docker", "ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=simple-training_node1"]
    host = ["docker", "exec", f"{LAB}-host2"]
    container = subprocess.run([*host, *of_rank], capture_output=True, text=True, check=True).stdout.split()[0]
    subprocess.run([*host, "docker", "kill", container], capture_output=True, check=True)


def test_demo(terminal: Terminal) -> None:
    code, screen = terminal.runs("./ddp demo", "demo", 1500)
    assert code == 0, screen
    assert (ROOT / "artifacts/simple-training/snapshot.pt").exists()


def test_a_day_with_a_job(terminal: Terminal) -> None:
    code, screen = terminal.runs(f"./ddp up {LONG}", "up", 1200)
    assert code == 0, screen

    terminal.begin("./ddp watch --interval 2")
    terminal.waits_for(r"^0 +host1 +running +epoch \d+.*\d+", 300)
    terminal.waits_for("Ctrl-C leaves")
    terminal.keep("watch")
    terminal.interrupt()
    assert terminal.ended(30) == 3
    assert "The jobs go on. 'ddp watch' shows them again, 'ddp stop' ends one." in terminal.keep("left")

    # The job has not noticed; the same on a large screen, with a rank that is killed meanwhile.
    terminal.resize(200, 50)
    terminal.begin("./ddp watch --interval 2")
    screen = terminal.waits_for(r"^1 +host2 +running +epoch \d+", 300)
    assert "restart" not in screen.splitlines()[0]
    terminal.waits_for(r"net/s", 60)
    terminal.keep("watch")
    kill_rank_one()
    terminal.waits_for(r"simple-training: \w+, \d restart", 300)
    terminal.keep("killed")
    terminal.waits_for(r"simple-training: running, \d restart", 300)
    terminal.waits_for(r"^1 +host2 +running +epoch \d+", 300)
    terminal.keep("back")
    # The picture in README.
    terminal.resize(110, 9)
    terminal.waits_for(r"Seen \d+s ago", 60)
    time.sleep(5)
    terminal.keep("watch")
    terminal.resize(200, 50)
    terminal.interrupt()
    assert terminal.ended(30) == 3

    # Without a terminal.
    done = ddp("status", "--json")
    assert done.returncode == 3, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    assert job["restarts"] >= 1
    assert job["planned"] == {"epochs": 100000}
    assert all(rank["loss"] is not None and rank["cpu_percent"] is not None for rank in job["ranks"])
    lines = ddp("logs", "--rank", "1", "-n", "5").stdout.splitlines()
    assert lines
    assert all("[GPU1]" in line for line in lines if "epoch" in line)

    small, large = (80, 24), (200, 50)
    for size, command, name, expected in (
        (small, "./ddp stop", "stop", 0),
        (large, "./ddp status", "stopped", 0),
        (small, f"./ddp up {LONG}", "up-again", 0),
        (small, f"./ddp up {LONG}", "up-nothing", 0),
        (large, f"./ddp up {LONG}", "up-nothing", 0),
        (small, "./ddp status", "status", 3),
        (large, "./ddp collect", "collect", 0),
        (small, "./ddp report", "report", 0),
        (small, "./ddp down", "down-refused", 1),
        (large, "./ddp down -e swarm_disturb_training=true", "down", 0),
    ):
        terminal.resize(*size)
        code, screen = terminal.runs(command, name, 600)
        assert code == expected, screen
        assert "Traceback" not in screen
    assert (ROOT / "artifacts/simple-training/report.html").exists()
    for size in ("80x24", "200x50"):
        nothing = (ROOT / f"artifacts/console/up-nothing-{size}.txt").read_text()
        assert "There is nothing to change." in nothing
        assert len(nothing.rstrip().splitlines()) <= 24

    # Without a terminal.
    again = ddp("down")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "\x1b" not in again.stdout
    assert ddp("report").returncode == 0
