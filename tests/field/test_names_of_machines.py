"""Row 5: machines that are called as a rank is. A container never answers to another rank's name."""

from collections.abc import Iterator

import pytest
from labs import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("field-names").running("docker", "swarm", "image") as lab:
        yield lab


@pytest.mark.parametrize("names", [("node1", "node2"), ("node1", "node0"), ("NODE1.example.org", "host2")])
def test_a_machine_may_be_called_like_a_rank(names: tuple[str, str], lab: Lab) -> None:
    for host, name in zip(lab.hosts, names, strict=True):
        lab.on(host, "hostname", name)
        lab.on(host, "systemctl", "restart", "docker")
    lab.run("swarm")
    assert set(lab.on("host1", "docker", "node", "ls", "--format", "{{.Hostname}}").split()) == set(names)
    run = lab.play("playbooks/preflight.yml")
    assert run.rc == 0, run.failure()
    run = lab.play("playbooks/training.yml", training_wait_for="complete", training_replace=True, training_fresh=True)
    assert run.rc == 0, run.failure()
    log = (lab.artifacts / "node0.log").read_text()
    assert "weights are identical on all 2 ranks" in log
    assert f"rank 0 of 2 on host {'machine-' if names[0].lower().startswith('node') else ''}{names[0]}" in log
