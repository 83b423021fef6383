"""Each example as its README has it: a rank is killed on the way, then each of the hosts is erased. All ranks go on from the same step.

Where the framework promises it, they also see the data in the order in which an undisturbed run does.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import labs
import pytest
import yaml
from labs import ROOT, Lab
from waiting import until


class Example(NamedTuple):
    saved: str  # below the first host's volume once something is saved
    begins: str  # how a rank says where it begins
    option: str  # how long it trains, of which job.yml has the number
    end: str  # what rank 0 says after so many; {} stands for the number
    step: int = 1  # for how much of what a rank says one of the option stands
    data: str = ""  # what rank 0 says of the data, and when; empty where nothing is promised of their order


EXAMPLES = {
    "char_gpt": Example("ckpt.pt", r"begins at step (\d+)", "--steps", "step {} of {}:", data=r"step (\d+) of .* data (#\w+)"),
    "images": Example("model.pt", r"begins at epoch (\d+)", "--epochs", "epoch {} of {}:", data=r"epoch (\d+) of .* data (#\w+)"),
    "huggingface": Example(
        "out/checkpoint-*/trainer_state.json", r"begins with (?:/snapshots/out/checkpoint-)?(\d+|nothing)", "--steps", "is at step {}",
        data=r"'loss': .*'data': '(#\w+)', 'epoch': '([\d.]+)'",
    ),
    "lightning": Example("last.ckpt", r"begins at step (\d+)", "--epochs", "is at step {}", 32),
    "accelerate": Example("newest.txt", r"begins at epoch (\d+)", "--epochs", "epoch {} of {}:"),
}  # fmt: skip


class Job:
    """One example on the lab, with its own variables."""

    def __init__(self, lab: Lab, name: str, artifacts: Path) -> None:
        self.lab, self.of, self.artifacts = lab, EXAMPLES[name], artifacts
        self.directory = ROOT / "examples" / name
        self.variables: dict[str, Any] = yaml.safe_load((self.directory / "job.yml").read_text())
        self.key = next(key for key, value in self.variables.items() if f"{self.of.option} " in str(value))
        self.stack = self.variables["training_stack"]
        self.number = int(re.findall(rf"{self.of.option} (\d+)", self.variables[self.key])[0])

    def play(
        self, playbook: str, number: int | None = None, artifacts: Path | None = None, **variables: Any
    ) -> labs.Run:
        given = {**self.variables, **variables}
        if number:
            given[self.key] = re.sub(rf"{self.of.option} \d+", f"{self.of.option} {number}", given[self.key])
        file = self.artifacts.parent / "job.yml"
        file.write_text(yaml.safe_dump(given))
        run = self.lab.play(
            f"playbooks/{playbook}.yml", options=f"-e @{file}", training_artifacts_dir=str(artifacts or self.artifacts)
        )
        assert run.rc == 0, run.stdout[-4000:]
        return run

    def undisturbed(self) -> set[tuple[str, str]]:
        """The order of the data in a run of a job of its own, which nothing disturbs."""
        stack, artifacts = f"{self.stack}-whole", self.artifacts.with_name("whole")
        self.play("training", artifacts=artifacts, training_stack=stack, training_wait_for="complete")
        self.play("stop", artifacts=artifacts, training_stack=stack)
        return self.order(artifacts)

    def order(self, artifacts: Path) -> set[tuple[str, str]]:
        return set(re.findall(self.of.data, (artifacts / "node0.log").read_text()))

    def on(self, host: str, script: str) -> str:
        return self.lab.on(host, "sh", "-c", script)

    def has_saved(self) -> bool:
        files = f"/var/lib/docker/volumes/{self.stack}_snapshots/_data/{self.of.saved}"
        return bool(self.on("host1", f"ls {files} 2>/dev/null || true").strip())

    def kill_rank_1(self) -> None:
        self.on(
            "host2", f"docker kill $(docker ps --quiet --filter label=com.docker.swarm.service.name={self.stack}_node1)"
        )

    def erase(self, host: str) -> None:
        """The host is there, and nothing of the job on it."""
        self.on("host1", f"docker stack rm {self.stack}")
        gone = f"docker volume rm {self.stack}_snapshots >/dev/null 2>&1 && echo gone || true"
        until(lambda: self.on(host, gone))

    def began(self) -> list[str]:
        """Where each rank began last."""
        logs = [(self.artifacts / f"node{rank}.log").read_text() for rank in (0, 1)]
        found = [re.findall(self.of.begins, log) for log in logs]
        assert all(found), logs[0][-4000:] + logs[1][-4000:]
        return [places[-1] for places in found]

    def ends_at(self, number: int) -> None:
        log = (self.artifacts / "node0.log").read_text()
        assert self.of.end.replace("{}", str(number * self.of.step)) in log, log[-4000:]


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_goes_on_whatever_is_lost(lab: Lab, tmp_path: Path, name: str) -> None:
    job = Job(lab, name, tmp_path / "artifacts")
    job.play("image")
    whole = job.undisturbed() if job.of.data else set()
    job.play("training", training_wait_for="none")
    until(job.has_saved, timeout=300)
    job.kill_rank_1()
    job.play("training", training_wait_for="complete")
    first, second = job.began()
    assert first == second
    assert 0 < int(first) < job.number * job.of.step
    job.ends_at(job.number)
    if job.of.data:
        assert whole
        assert job.order(job.artifacts) <= whole
    saved = Path(job.of.saved).name
    assert [path.name for path in job.artifacts.rglob("*") if path.match(saved)], "the checkpoint is not collected"

    further = max(1, job.number // 10)
    for turn, host in enumerate(("host2", "host1")):
        job.erase(host)
        job.play("training", job.number + (turn + 1) * further, training_wait_for="complete")
        assert job.began() == [str((job.number + turn * further) * job.of.step)] * 2
        job.ends_at(job.number + (turn + 1) * further)
    assert "goes on from what rank 1 kept" in (job.artifacts / "node0.log").read_text()
    job.play("stop", training_stack=job.stack)
