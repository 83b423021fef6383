"""Which playbooks take the lease: all that change something, before they look at anything, and none that only reads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
READ = {"board", "collect", "diagnose", "follow", "report", "status"}
# This machine alone, under its own engine's locks.
LOCAL = {"lab"}
# The site of the collection imports that of the checkout.
PLAYBOOKS = {path.stem: path for path in (ROOT / "playbooks").glob("*.yml") if path.stem != "site"}


def tasks(play: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(play.get("pre_tasks") or []), *(play.get("tasks") or [])]


def role_of(task: dict[str, Any]) -> str:
    named = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
    return str(named.get("name", ""))


@pytest.mark.parametrize("name", sorted(PLAYBOOKS))
def test_the_lease_is_the_first_thing_that_hosts_are_asked_for(name: str) -> None:
    plays = yaml.safe_load(PLAYBOOKS[name].read_text())
    first = next(play for play in plays if play["hosts"] != "localhost" or len(plays) == 1)
    roles = [role_of(task) for task in tasks(first)]
    if name in READ | LOCAL:
        assert "lock" not in roles
    else:
        assert next(filter(None, roles)) == "lock"


def test_the_site_takes_it_where_the_check_alone_takes_none() -> None:
    (whole,) = yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text())
    assert whole["ansible.builtin.import_playbook"] == "../site.yml"
    site = yaml.safe_load((ROOT / "site.yml").read_text())
    assert site[0]["ansible.builtin.import_playbook"] == "playbooks/validate.yml"
    assert site[0]["vars"]["lock_wanted"] is True
    checks = yaml.safe_load(PLAYBOOKS["validate"].read_text())[1]
    (lock,) = [task for task in tasks(checks) if role_of(task) == "lock"]
    assert lock["when"] == "lock_wanted | default(false)"
