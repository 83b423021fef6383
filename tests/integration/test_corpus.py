"""The corpus of stack files (tests/compose) on real engines: deployed, the same again, and changed in one place.

Nobody has their images: what is looked at is what swarm stores, not what runs.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import Lab
from stacks import Manager

CORPUS = Path(__file__).resolve().parents[1] / "compose"
STACKS = sorted(path.name for path in CORPUS.iterdir())
ENVIRONMENT = {"APP": "web", "EMAIL": "me@example.org"}
# What is to be there before.
SECRETS, CONFIGS, NETWORKS = ("password", "tls_2025"), ("one", "two", "rules-1"), ("shared",)


@pytest.fixture(scope="module")
def externals(lab: Lab, manager: Manager) -> None:
    for host in ("host1", "host2"):
        subprocess.run(["docker", "cp", str(CORPUS), f"{lab.name}-{host}:/srv/corpus"], check=True)
        lab.on(host, "sh", "-c", "apt-get install -qq -y python3-yaml >/dev/null", timeout=300)
    for kind, names in (("secret", SECRETS), ("config", CONFIGS)):
        for name in names:
            manager.lab.on("host1", "sh", "-c", f"echo x | docker {kind} create {name} -")
    for name in NETWORKS:
        manager.docker(f"network create --driver overlay {name}")


def deploys(manager: Manager, stack: str, newest: bool) -> None:
    directory = f"/srv/corpus/{stack}"
    files = [
        f"{directory}/{path.name}"
        for path in sorted((CORPUS / stack).glob("*.yml"))
        if path.stem in ("stack", "base", "dev")
    ]
    parts: list[Any] = files
    if not newest and stack == "jobs":
        # start_interval came with 25.0, the driver_opts of a service's network with 27.0, and oom_score_adj after it.
        definition = yaml.safe_load((CORPUS / stack / "stack.yml").read_text())
        del definition["services"]["clean"]["oom_score_adj"]
        del definition["services"]["probe"]["healthcheck"]["start_interval"]
        del definition["services"]["probe"]["networks"]["n"]["driver_opts"]
        parts = [definition]
    name = f"corpus-{stack}"
    first = next(iter(yaml.safe_load((CORPUS / stack / Path(files[0]).name).read_text())["services"]))
    common = {"name": name, "wait_for": "none", "redeploy": "never"}
    # Two parts each time: merging them puts mounts in order, as docker does it.
    same, change = ({"services": {first: {"labels": {"own": value}}}} for value in ("1", "2"))

    def task(*compose: Any) -> dict[str, Any]:
        return {"swarm_stack": {**common, "compose": list(compose)}, "environment": ENVIRONMENT}

    try:
        made, again, changed, settled = manager.play(
            task(*parts, same), task(*parts, same), task(*parts, change), task(*parts, change)
        )
        for result in (made, again, changed, settled):
            assert not result.get("failed"), result["msg"]
        assert made["changed"]
        assert (again["actions"], settled["actions"]) == ([], [])
        # A changed stack runs its jobs again, and says so.
        others = [action for action in changed["actions"] if not action.startswith("run service ")]
        assert others == [f"update service {first}: labels.own"]
        assert made["definition"]["services"].keys() == changed["definition"]["services"].keys()
    finally:
        manager.call(name=name, state="absent")


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.usefixtures("externals")
def test_on_the_newer_engine(manager: Manager, stack: str) -> None:
    version = manager.docker("version --format '{{.Server.Version}}'")
    deploys(manager, stack, newest=int(version.split(".")[0]) >= 27)


@pytest.mark.usefixtures("externals")
class TestOnAnOldEngine:
    @pytest.mark.parametrize("stack", STACKS)
    def test_on_an_old_engine(self, old: Manager, stack: str) -> None:
        if stack == "jobs":
            # The command of Debian 12 knows no jobs in a stack.
            job = {"image": "app", "deploy": {"mode": "replicated-job"}}
            made = old.call(name="corpus-jobs", compose=[{"services": {"migrate": job}}])
            assert "Unknown mode: replicated-job" in made["msg"]
            old.call(name="corpus-jobs", state="absent")
        else:
            deploys(old, stack, newest=False)
