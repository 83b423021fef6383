"""Stalls of a job on two lab hosts, named by playbooks/diagnose.yml, and by the launchers where nobody asks. One image has all scripts."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import ROOT, Lab
from stalls import EXPECTED, PLANTED, STALLS, Stall

NAMED = {stall.name: stall for stall in STALLS}
JOB = f"-e @{ROOT}/examples/char_gpt/job.yml"


def script(stall: Stall) -> str:
    return f"stall{STALLS.index(stall)}.py"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    for name in PLANTED:
        NAMED[name].plant(folder).rename(folder / script(NAMED[name]))
    (folder / "train.py").write_text((ROOT / "examples/char_gpt/train.py").read_text())
    return folder


@pytest.fixture(scope="module")
def lab(scripts: Path) -> Iterator[Lab]:
    with Lab("hangs", lab_releases={"host2": "bookworm"}).running("docker", "swarm") as lab:
        run = lab.play("playbooks/image.yml", options=JOB, training_dir=str(scripts))
        assert run.rc == 0, run.stdout[-4000:]
        yield lab


@pytest.fixture
def diagnosed(lab: Lab, scripts: Path, rows: list[str]) -> Any:
    def start(name: str, **settings: Any) -> None:
        run = lab.play(
            "playbooks/training.yml",
            options=JOB,
            training_dir=str(scripts),
            training_args="--steps 1000000 --width 16 --layers 1 --heads 2 --sleep 0.05",
            training_fresh=True,
            training_replace=True,
            **settings,
        )
        assert run.rc == 0, run.stdout[-4000:]

    def ask(name: str, says: str, seconds: float = 90) -> dict[str, Any]:
        """Asked again until the job has come to stand still, which no first answer can tell."""
        until = time.monotonic() + seconds
        while True:
            run = lab.play("playbooks/diagnose.yml", options=JOB)
            assert run.rc == 0, run.stdout[-4000:]
            assert run.changed() == []
            found: dict[str, Any] = json.loads((lab.artifacts / "diagnosis.json").read_text())
            assert found["sentence"][:60] in run.said(), run.stdout[-3000:]
            if says in found["sentence"]:
                assert f"{name}, on lab hosts" in EXPECTED
                rows.append(f"| {name}, on lab hosts | {found['sentence']} |")
                return found
            assert time.monotonic() < until, found["sentence"]

    start.ask = ask  # type: ignore[attr-defined]
    return start


@pytest.mark.parametrize("name", PLANTED)
def test_a_stall_on_a_host_is_named(lab: Lab, diagnosed: Any, scripts: Path, name: str) -> None:
    stall = NAMED[name]
    diagnosed(name, training_script=script(stall))
    line = stall.number(scripts / script(stall))
    found = diagnosed.ask(name, f"{script(stall)}:{line}")
    assert (found["kind"], found["ranks"][0], found["hosts"][0]) == (stall.kind, 1, "host2"), found["sentence"]
    assert found["places"][0]["line"] == line
    assert stall.says in found["sentence"]


def container(lab: Lab) -> str:
    return lab.on("host2", "docker", "ps", "--quiet", "--filter", "name=char-gpt_node1").strip()


def log(lab: Lab) -> str:
    return lab.on("host1", "sh", "-c", "docker logs $(docker ps --latest --quiet --filter name=char-gpt_node0) 2>&1")


def test_nobody_asks_and_rank_0_says_it(lab: Lab, diagnosed: Any) -> None:
    """Then what is done to rank 1 from outside, to the same job."""
    diagnosed("", training_script="train.py", training_stall_minutes=0.25)
    pid = lab.on("host2", "sh", "-c", "pgrep -f '[p]ython.* train.py' | tail -1").strip()
    lab.on("host2", "kill", "-STOP", pid)
    until = time.monotonic() + 75
    while "rank 1 on host2 is in " not in log(lab):
        assert time.monotonic() < until, log(lab)[-3000:]
        time.sleep(2)
    assert "and it is stopped (SIGSTOP)" in log(lab)
    diagnosed.ask("a rank that is stopped", "rank 1 on host2 is in ")
    lab.on("host2", "kill", "-CONT", pid)


def test_a_paused_container(lab: Lab, diagnosed: Any) -> None:
    lab.on("host2", "docker", "pause", container(lab))
    diagnosed.ask("a container that is paused", "rank 1 on host2 cannot be asked: its container is paused")
    lab.on("host2", "docker", "unpause", container(lab))


def test_a_network_that_is_cut(lab: Lab, diagnosed: Any) -> None:
    cut = ["iptables", "-w", "-I", "INPUT", "-p", "udp", "--dport", "4789", "-j", "DROP"]
    lab.on("host2", *cut)
    lab.on("host1", *cut)
    found = diagnosed.ask("a network that is cut", "nothing arrives between them")
    assert found["kind"] == "wire"


def test_a_host_that_does_not_answer(lab: Lab, rows: list[str]) -> None:
    subprocess.run(["docker", "pause", f"{lab.name}-host2"], check=True)
    try:
        run = lab.play("playbooks/diagnose.yml", options=JOB + " -e ansible_ssh_timeout=5")
        assert "rank 1 on host2 cannot be asked: host2 does not answer" in run.said()
        found = json.loads((lab.artifacts / "diagnosis.json").read_text())
        rows.append(f"| a host that does not answer, on lab hosts | {found['sentence']} |")
    finally:
        subprocess.run(["docker", "unpause", f"{lab.name}-host2"], check=True)
