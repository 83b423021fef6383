"""Groups and settings with which nothing can be done. Whole playbooks say it in tests/roles/test_inventories.py."""

from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.filter.inventory_refusals import (
    FilterModule,
    inventory_refusals,
    limit_refusals,
    unreachable_refusals,
    unsafe_settings,
)


@pytest.mark.parametrize(
    ("managers", "workers", "others", "said"),
    [
        (["a"], ["b"], [], []),
        (["a"], None, [], []),
        (["a"], ["a", "b"], [], ["a is in 'managers' and in 'workers': leave it in one of them. A manager trains as well."]),
        (
            ["a", "b"],
            ["b"],
            ["c"],
            [
                "b is in 'managers' and in 'workers': leave it in one of them. A manager trains as well.",
                "c is in the group 'swarm', but neither in 'managers' nor in 'workers': write it into one of them.",
            ],
        ),
        (["a"], [], ["b", "c"], ["b and c are in the group 'swarm', but neither in 'managers' nor in 'workers': write each into one of them."]),
        (None, ["a"], ["b"], ["The inventory's group 'managers' is empty: one machine has to lead the swarm. Move one of a, b there."]),
        (None, None, [], []),
    ],
)  # fmt: skip
def test_groups(managers: list[str] | None, workers: list[str] | None, others: list[str], said: list[str]) -> None:
    names = list(dict.fromkeys([*(managers or []), *(workers or []), *others]))
    groups = {"swarm": names, "managers": managers, "workers": workers}
    assert inventory_refusals({name: hosts for name, hosts in groups.items() if hosts is not None}) == said
    assert inventory_refusals({}) == []


def test_a_collections_user_is_told_what_to_write(tmp_path: Path) -> None:
    tree = tmp_path / "ansible_collections" / "ddp" / "swarm"
    tree.mkdir(parents=True)
    (said,) = unsafe_settings(str(tree), True)
    assert said.endswith(
        "write 'inject_facts_as_vars = False' below [defaults] in your ansible.cfg, or set ANSIBLE_INJECT_FACT_VARS=False."
    )
    assert str(tmp_path) not in said


@pytest.mark.parametrize(("mode", "open_to_all"), [(0o755, False), (0o775, False), (0o757, True), (0o777, True)])
def test_settings_that_ansible_has_not_read(mode: int, open_to_all: bool, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    assert unsafe_settings(str(tmp_path), False) == []
    (said,) = unsafe_settings(f"{tmp_path}/.", True)
    assert f"run ansible-playbook in {tmp_path}, or set ANSIBLE_CONFIG={tmp_path}/ansible.cfg." in said
    assert ("Everybody can write to that directory" in said) is open_to_all
    assert said.endswith(
        "An ansible.cfg of your own has to say inject_facts_as_vars = False: otherwise what a host says of itself takes the place of settings."
    )


def test_names() -> None:
    assert set(FilterModule().filters()) == {
        "inventory_refusals",
        "limit_refusals",
        "unreachable_refusals",
        "unsafe_settings",
    }


def test_a_host_in_none_of_the_groups_is_not_dropped_in_silence() -> None:
    groups = {"swarm": ["host1"], "managers": ["host1"], "ungrouped": ["localhost", "host2"]}
    (said,) = inventory_refusals(groups)
    assert said.startswith("host2 is in the inventory and in none of its groups: write it into 'managers' or 'workers'")
    assert inventory_refusals({**groups, "ungrouped": ["localhost"]}) == []


@pytest.mark.parametrize(
    ("limit", "unknown"),
    [
        ("", []),
        ("host1", []),
        ("host1,hots2", ["hots2"]),
        ("host1:!hots2:&wrokers", ["hots2", "wrokers"]),
        ("all,localhost-2", ["localhost-2"]),
        ("swarm", []),
        # Patterns may match nothing.
        ("host*,other?,~h.*,swarm[5],@site.retry", []),
        ("fe80::1", []),
    ],
)
def test_a_limit_names_what_the_inventory_has(limit: str, unknown: list[str]) -> None:
    groups = {"all": ["host1", "host2", "fe80::1"], "swarm": ["host1", "host2"], "ungrouped": []}
    assert limit_refusals(limit, groups) == [
        f"--limit names {name}, which is neither a host nor a group of the inventory: correct the name."
        for name in unknown
    ]


def test_each_machine_that_does_not_answer_is_named_with_its_way_in() -> None:
    hostvars = {
        "a": {"validate_reached": {"rc": 0}},
        "b": {
            "ansible_host": "10.0.0.2",
            "validate_reached": {"unreachable": True, "msg": "Task failed: No route to host\n"},
        },
        "c": {"ansible_user": "ann", "validate_reached": {"unreachable": True, "msg": "Timeout."}},
        "d": {},
    }
    said = unreachable_refusals(list("abcd"), hostvars)
    assert [line.split(" Check")[0] for line in said] == [
        "b (10.0.0.2) does not answer over SSH: No route to host.",
        "c (c) does not answer over SSH: Timeout.",
    ]
    assert "'ssh 10.0.0.2' works" in said[0]
    assert "ann@c' works" in said[1]
