"""Settings that are typed wrong are refused by every playbook, in its first task, before any host is asked."""

from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT
from test_name_checks import PLAYBOOKS, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("playbook", [ROOT / "site.yml", *PLAYBOOKS], ids=lambda path: path.stem)
def test_a_typing_error_on_the_command_line(playbook: Path, site: Site) -> None:
    done = site.play(
        playbook,
        traning_script="foo.py",
        training_env="A=1",
        training_wait_for="end",
        training_rate=3,
        host="node2",
        backup="x",
    )
    assert done.returncode != 0
    assert len(site.tasks(done.stdout)) == 1
    assert not site.mark.exists()
    said = " ".join(done.stdout.replace("\\n", " ").split())
    assert "traning_script is no setting: do you mean training_script?" in said
    assert "training_rate is no setting: the nearest is training_" in said
    assert "training_env is a text, and it has to be a mapping" in said
    assert "training_wait_for is 'end': it is started, complete or none." in said
    assert "is ignored" not in done.stdout + done.stderr


@pytest.mark.parametrize("where", ["all", "host"])
def test_a_typing_error_in_the_inventory(where: str, site: Site) -> None:
    wrong: dict[str, Any] = {"training_scrpit": "foo.py", "docker_proxy": "http://proxy:3128"}
    if where == "all":
        site.variables = wrong
    else:
        site.hosts["workers"]["node2"] = wrong
    done = site.play(ROOT / "site.yml", "--limit", "node1")
    assert done.returncode != 0
    assert not site.mark.exists()
    assert "training_scrpit is no setting: do you mean training_script?" in done.stdout
    assert "is a text, and it has to be a mapping, such as docker_proxy: {http:" in " ".join(done.stdout.split())


def test_a_name_that_nothing_reads_is_told_once(site: Site) -> None:
    site.variables = {"training_batch_size": 64}
    site.hosts["workers"]["node2"] = {"preflight_url": "x"}
    done = site.play(ROOT / "playbooks/docker.yml")
    assert site.mark.exists(), done.stdout
    said = " ".join((done.stdout + done.stderr).split())
    for name in ("training_batch_size", "preflight_url"):
        assert said.count(f"{name} is no setting and is ignored.") == 1


def test_a_neighbours_settings_are_left_alone(site: Site) -> None:
    site.variables = {"docker_edition": "ce", "docker_user": "me", "ddp_others": ["docker_user"], "training_room": 5}
    done = site.play(ROOT / "playbooks/docker.yml")
    assert site.mark.exists(), done.stdout
    assert "docker_" not in done.stderr


def test_a_secret_in_the_wrong_place_is_not_shown(site: Site) -> None:
    done = site.play(ROOT / "playbooks/status.yml", training_secrets="hunter2", training_env=["hunter2"])
    assert done.returncode != 0
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"all": "yess"}, "all is a text that is neither true nor false: say all=true or all=false."),
        ({"job": "b1"}, "job is no setting: do you mean training_stack?"),
    ],
)
def test_which_jobs_are_stopped_is_not_guessed(given: dict[str, str], said: str, site: Site) -> None:
    done = site.play(ROOT / "playbooks/stop.yml", **given)
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split())
    assert not site.mark.exists()


def test_a_switch_is_taken_as_it_is(site: Site) -> None:
    site.play(ROOT / "playbooks/stop.yml", all="yes")
    assert site.mark.exists()
