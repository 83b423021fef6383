"""The lease of the run that changes the hosts: one run has it, one that is dead loses it, and nobody loses it unknowingly."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerCli, DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.swarm import lease as subject
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.lease import (
    LABEL,
    Lease,
    LeaseFile,
    SwarmLease,
    release,
    renew,
    take,
)

LIFE = 300.0


class SwarmStandIn(DockerCli):
    """Stands in for a swarm's configs. `away`: no manager of a swarm answers; `hangs`: nothing does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.configs: dict[str, dict[str, Any]] = {}
        self.made = 0
        self.away = self.hangs = False
        monkeypatch.setattr(subject, "post", self.post)

    def run(self, *args: str, check: bool = True, **_options: Any) -> CompletedDocker:
        if self.hangs:
            raise DockerError("docker config: no answer within 10 s")
        if self.away:
            return CompletedDocker(1, "", "Error response from daemon: This node is not a swarm manager.")
        verb, name = args[1], args[-1]
        if verb == "create":
            name = args[-2]
            if name in self.configs:
                said = "Error response from daemon: rpc error: code = AlreadyExists desc = config ddp-swarm-lease already exists"
                return CompletedDocker(1, "", said)
            label, _, text = args[3].partition("=")
            self.made += 1
            self.configs[name] = {
                "ID": str(self.made).zfill(25),
                "Version": {"Index": self.made * 100},
                "Spec": {"Name": name, "Labels": {label: text}},
            }
        elif verb == "inspect":
            known = name in self.configs
            return CompletedDocker(0 if known else 1, json.dumps([self.configs[name]] if known else []), "")
        else:
            self.configs = {key: value for key, value in self.configs.items() if value["ID"] != name}
        return CompletedDocker(0, "", "")

    def post(self, path: str, body: dict[str, Any], _host: str | None, _timeout: float) -> None:
        config = next((c for c in self.configs.values() if path.startswith(f"/configs/{c['ID']}/update")), None)
        if config is None or not path.endswith(f"?version={config['Version']['Index']}"):
            raise DockerError("rpc error: code = Unknown desc = update out of sequence")
        config["Version"]["Index"] += 1
        config["Spec"] = body

    def holder(self) -> str:
        return str(json.loads(self.configs[subject.NAME]["Spec"]["Labels"][LABEL])["id"])


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch) -> SwarmStandIn:
    return SwarmStandIn(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> LeaseFile:
    return LeaseFile(tmp_path / "run" / "lease.json")


def run_of(name: str, now: float = 1000.0, since: float | None = None) -> Lease:
    return Lease(name, f"{name}@laptop", "site.yml", now if since is None else since, now + LIFE)


@pytest.mark.parametrize("away", [False, True])
def test_one_run_has_it_and_the_next_is_told_who(swarm: SwarmStandIn, file: LeaseFile, away: bool) -> None:
    swarm.away = away
    assert take(file, SwarmLease(swarm), run_of("anna"), False) == {"held": True, "by": {}}
    told = take(file, SwarmLease(swarm), run_of("ben", 1010), False)
    assert (told["held"], told["by"]["who"], told["by"]["what"], told["by"]["since"]) == (
        False,
        "anna@laptop",
        "site.yml",
        1000.0,
    )
    release(file, SwarmLease(swarm), run_of("ben"))
    assert not take(file, SwarmLease(swarm), run_of("ben", 1020), False)["held"], "only its own is released"
    release(file, SwarmLease(swarm), run_of("anna"))
    assert swarm.configs == {}
    assert take(file, SwarmLease(swarm), run_of("ben", 1030), False) == {"held": True, "by": {}}


def test_runs_through_two_managers_meet_in_the_swarm(swarm: SwarmStandIn, file: LeaseFile, tmp_path: Path) -> None:
    other = LeaseFile(tmp_path / "other" / "lease.json")
    assert take(file, SwarmLease(swarm), run_of("anna"), False)["held"]
    assert take(other, SwarmLease(swarm), run_of("ben", 1010), False)["by"]["who"] == "anna@laptop"
    assert other.read() is None, "who has to wait holds up nobody else"


@pytest.mark.parametrize("away", [False, True])
def test_of_a_dead_run_it_is_taken_over_after_its_expiry(swarm: SwarmStandIn, file: LeaseFile, away: bool) -> None:
    swarm.away = away
    take(file, SwarmLease(swarm), run_of("anna"), False)
    assert not take(file, SwarmLease(swarm), run_of("ben", 1000 + LIFE - 1), False)["held"]
    told = take(file, SwarmLease(swarm), run_of("ben", 1000 + LIFE), False)
    assert (told["held"], told["by"]["who"]) == (True, "anna@laptop")
    lost = renew(file, SwarmLease(swarm), run_of("anna", 1400, 1000), 1400)
    assert (lost["held"], lost["by"]["who"]) == (False, "ben@laptop")
    assert file.read() == run_of("ben", 1000 + LIFE)


def test_a_run_that_renews_keeps_it(swarm: SwarmStandIn, file: LeaseFile) -> None:
    take(file, SwarmLease(swarm), run_of("anna"), False)
    for now in range(1100, 5000, 100):
        assert renew(file, SwarmLease(swarm), run_of("anna", now, 1000), now)["held"]
        assert not take(file, SwarmLease(swarm), run_of("ben", now + 50), False)["held"]


@pytest.mark.parametrize("away", [False, True])
def test_it_is_broken_where_that_is_asked_for(swarm: SwarmStandIn, file: LeaseFile, away: bool) -> None:
    swarm.away = away
    take(file, SwarmLease(swarm), run_of("anna"), False)
    told = take(file, SwarmLease(swarm), run_of("ben", 1010), True)
    assert (told["held"], told["by"]["who"]) == (True, "anna@laptop")
    assert renew(file, SwarmLease(swarm), run_of("anna", 1020, 1000), 1020)["by"]["who"] == "ben@laptop"


def test_of_two_that_take_over_at_once_one_gets_it(
    swarm: SwarmStandIn, file: LeaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(file, SwarmLease(swarm), run_of("anna"), False)
    late = SwarmLease(swarm)
    found = late.find()
    assert take(file, SwarmLease(swarm), run_of("ben", 2000), False)["held"]
    monkeypatch.setattr(late, "find", lambda: found)
    assert not take(LeaseFile(tmp_path / "lease.json"), late, run_of("carl", 2000), False)["held"]
    assert swarm.holder() == "ben"


def test_a_swarm_that_is_formed_gets_it_when_it_is_renewed(swarm: SwarmStandIn, file: LeaseFile) -> None:
    swarm.away = True
    take(file, SwarmLease(swarm), run_of("anna"), False)
    swarm.away = False
    assert renew(file, SwarmLease(swarm), run_of("anna", 1030, 1000), 1030)["held"]
    assert swarm.holder() == "anna"


def test_a_host_that_was_rebooted_has_the_file_again(swarm: SwarmStandIn, file: LeaseFile) -> None:
    take(file, SwarmLease(swarm), run_of("anna"), False)
    file.remove()
    assert renew(file, SwarmLease(swarm), run_of("anna", 1030, 1000), 1030)["held"]
    assert file.read() == run_of("anna", 1030, 1000)


def test_an_engine_that_is_stopped_costs_nobody_the_lease(swarm: SwarmStandIn, file: LeaseFile) -> None:
    take(file, SwarmLease(swarm), run_of("anna"), False)
    swarm.hangs = True
    assert renew(file, SwarmLease(swarm), run_of("anna", 1030, 1000), 1030)["held"]
    assert take(file, SwarmLease(swarm), run_of("ben", 1040), False)["by"]["who"] == "anna@laptop"


def test_a_lease_that_came_with_a_backup_binds_nobody_who_restored_it(swarm: SwarmStandIn, file: LeaseFile) -> None:
    SwarmLease(swarm).create(run_of("backup", 900))
    swarm.away = True
    take(file, SwarmLease(swarm), run_of("anna"), False)
    swarm.away = False
    assert renew(file, SwarmLease(swarm), run_of("anna", 1030, 1000), 1030)["held"]
    assert swarm.holder() == "anna"


def test_what_came_with_a_backup_goes_with_the_run_that_restored_it(swarm: SwarmStandIn, file: LeaseFile) -> None:
    SwarmLease(swarm).create(run_of("backup", 900))
    release(file, SwarmLease(swarm), run_of("anna", 800))
    assert swarm.holder() == "backup"
    release(file, SwarmLease(swarm), run_of("anna", 1000))
    assert swarm.configs == {}


def test_what_was_released_is_not_renewed(swarm: SwarmStandIn, file: LeaseFile) -> None:
    take(file, SwarmLease(swarm), run_of("anna"), False)
    release(file, SwarmLease(swarm), run_of("anna"))
    assert renew(file, SwarmLease(swarm), run_of("anna", 1030, 1000), 1030) == {"held": False, "by": {}}
    assert swarm.configs == {}
    assert file.read() is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"id": 1}', '{"id": "x", "who": "", "what": "", "since": "a", "until": 1}']
)
def test_what_is_no_lease_binds_nobody(swarm: SwarmStandIn, file: LeaseFile, text: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(text)
    swarm.run("config", "create", "--label", f"{LABEL}={text}", subject.NAME, "-")
    assert take(file, SwarmLease(swarm), run_of("anna"), False) == {"held": True, "by": {}}


def test_what_a_run_says_of_itself_is_no_command_to_a_terminal(file: LeaseFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text(
        json.dumps({"id": "x", "who": "\x1b]52;c;eA==\x07" + "a" * 900, "what": "y", "since": 1, "until": 2})
    )
    read = file.read()
    assert read is not None
    assert "\x1b" not in read.who
    assert len(read.who) <= 200
