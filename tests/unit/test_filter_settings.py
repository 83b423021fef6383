"""Settings that are typed wrong: names like ours, values of another type, wrong choices."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.filter import settings
from by_path import ROOT

OURS = settings.described(str(ROOT / "roles"))


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("traning_script", "training_script"),
        ("training_scrpit", "training_script"),
        ("training-script", "training_script"),
        ("TRAINING_SCRIPT", "training_script"),
        ("training_arg", "training_args"),
        ("training_nprocs_per_nodes", "training_nproc_per_node"),
        ("docker_user", "docker_users"),
        ("dokcer_users", "docker_users"),
        ("swarm_netwrok", "swarm_network"),
        ("image_pip_indx", "image_pip_index"),
    ],
)
def test_a_slip_of_the_hand_is_named_wherever_it_stands(wrong: str, meant: str) -> None:
    for given, typed in (([wrong], []), ([], [wrong])):
        said = settings.name_sentences(given, typed, OURS, [])
        assert len(said) == 1
        assert said[0].startswith(f"{wrong} is no setting: do you mean {meant}?")


@pytest.mark.parametrize(
    "name", ["stack", "job", "job_name", "JOB", "name", "training_name", "training-job", "stack_name"]
)
def test_what_people_call_a_job_on_the_command_line_is_named(name: str) -> None:
    said = settings.name_sentences([name], [name], OURS, [])
    assert len(said) == 1
    assert said[0].startswith(f"{name} is no setting: do you mean training_stack?")
    assert settings.name_sentences([name], [name], OURS, [name]) == []


@pytest.mark.parametrize("name", ["stack", "job", "name"])
def test_a_neighbours_short_name_is_left_alone(name: str) -> None:
    assert settings.name_sentences([name], [], OURS, []) == []


def test_no_slip_is_passed_over() -> None:
    """By one letter in any place, and with a long name by two."""
    for name in OURS:
        places = range(len(name))
        changed = [
            f"{name[:at]}{letter}{name[at + more :]}" for at in places for more in (0, 1) for letter in ("", "x")
        ]
        changed += [f"{name[:at]}{name[at + 1 : at + 2]}{name[at]}{name[at + 2 :]}" for at in places]
        assert {settings.nearest(slip, [name]) for slip in changed} == {name}
    far = "training_nproc_per_node"
    for at in range(len("training_"), len(far) - 1):
        assert settings.nearest(f"{far[:at]}xz{far[at + 2 :]}", [far]) == far


@pytest.mark.parametrize(
    "name",
    [
        "docker_edition", "docker_packages", "docker_install_compose_plugin", "docker_apt_gpg_key", "docker_service_state",
        "image_tag_of_others", "lab_building", "swarm_secret_store", "training_room", "preflight_url", "script", "args", "_training_env",
    ],
)  # fmt: skip
def test_a_neighbours_name_in_an_inventory_is_left_alone(name: str) -> None:
    assert settings.name_sentences([name], [], OURS, []) == []


def test_a_name_with_our_prefix_on_the_command_line_has_to_be_ours() -> None:
    said = settings.name_sentences([], ["training_batch_size", "other_batch_size"], OURS, [])
    assert len(said) == 1
    assert said[0].startswith("training_batch_size is no setting: the nearest is training_")
    assert said[0].endswith("roles/training/README.md lists all.")


def test_a_switch_of_teardown_is_known_by_its_prefix() -> None:
    said = settings.name_sentences([], ["teardown_volume", "teardown_images", "teardown_all"], OURS, [])
    assert [line.partition(".")[0] for line in said] == [
        "teardown_images is no setting: the nearest is teardown_volumes",
        "teardown_volume is no setting: do you mean teardown_volumes? If it belongs to another project, name it in ddp_others: [teardown_volume]",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("training_batch_size", "training_batch_size is no setting and is ignored. The nearest are training_"),
        ("TRAINING-BATCH-SIZE", "TRAINING-BATCH-SIZE is no setting and is ignored. The nearest are training_"),
        ("preflight_url", "preflight_url is no setting and is ignored. The nearest are preflight_"),
        ("swarm_interface_name", "swarm_interface_name is no setting and is ignored. The nearest are swarm_"),
        ("teardown_images", "teardown_images is no setting and is ignored. The nearest are teardown_"),
    ],
)
def test_a_name_that_only_we_would_give_is_told_where_an_inventory_has_it(name: str, said: str) -> None:
    """It is not refused; with -e, it is."""
    assert settings.name_sentences([name], [], OURS, []) == []
    (told,) = settings.name_warnings([name], [], OURS, [])
    assert told.startswith(said)
    assert told.endswith(f"if it belongs to another project, name it in ddp_others: [{name}].")
    assert "training_args" in told or not name.casefold().startswith("training")
    assert settings.name_warnings([name], [name], OURS, []) == settings.name_warnings([name], [], OURS, [name]) == []


def test_no_warning_is_given_in_vain() -> None:
    quiet = {
        *OURS,
        *settings.BESIDE,
        *settings.SWITCHES,
        "docker_edition",
        "image_tag_of_others",
        "_training_env",
        "script",
    }
    assert settings.name_warnings(quiet, [], OURS, []) == []
    # Refused.
    assert settings.name_warnings(["training_scrpit"], [], OURS, []) == []


def test_a_neighbours_name_that_looks_like_ours_can_be_named() -> None:
    assert (
        settings.name_sentences(["docker_user"], ["training_batch_size"], OURS, ["docker_user", "training_batch_size"])
        == []
    )


def test_none_of_our_own_names_is_refused() -> None:
    assert settings.name_sentences({*OURS, *settings.BESIDE}, {*OURS, *settings.BESIDE}, OURS, []) == []


def test_none_of_what_playbooks_hand_on_is_listed_twice() -> None:
    assert not settings.BESIDE & OURS.keys()


def plays_of(pattern: str) -> list[Any]:
    """Without what Ansible's own tags say."""
    return [yaml.load(file.read_bytes(), yaml.BaseLoader) for file in sorted(ROOT.glob(pattern))]


def handed_on(part: Any) -> Iterator[str]:
    """The names of variables that tasks, plays and imports give."""
    if isinstance(part, list):
        for entry in part:
            yield from handed_on(entry)
    elif isinstance(part, dict):
        yield from part.get("vars") or {}
        yield from part.get("ansible.builtin.set_fact") or {}
        yield from filter(None, [part.get("register")])
        yield from handed_on(list(part.values()))


def test_what_is_listed_as_handed_on_is_handed_on() -> None:
    files = [
        part for pattern in ("site.yml", "playbooks/*.yml", "roles/*/tasks/**/*.yml") for part in plays_of(pattern)
    ]
    assert not settings.BESIDE - set(handed_on(files))


def test_a_name_that_a_play_gives_is_known_to_its_check() -> None:
    """The first play of a playbook makes the check, and the site gives names to it."""
    plays = [play for pattern in ("site.yml", "playbooks/*.yml") for plays in plays_of(pattern) for play in plays]
    checked = [play for play in plays if "check_names.yml" in str(play) or "ansible.builtin.import_playbook" in play]
    given = {name for play in checked for name in play.get("vars") or {} if name.startswith(settings.PREFIXES)}
    assert len(given) > 5
    assert not settings.strangers(given, OURS, [])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("", "", 0), ("ab", "ba", 1), ("abc", "abd", 1), ("abc", "ab", 1), ("ab", "abc", 1), ("abc", "xyz", 3)],
)
def test_distance(one: str, other: str, expected: int) -> None:
    assert settings.distance(one, other) == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("training_env", "NCCL_DEBUG=WARN", "training_env is a text, and it has to be a mapping, such as training_env: {NCCL_DEBUG: WARN}."),
        ("training_env", ["A=1"], "training_env is a list, and it has to be a mapping"),
        ("training_env", None, "training_env is written with nothing behind it, and it has to be a mapping"),
        ("training_hosts", "host1,host2", "training_hosts is a text, and it has to be a list, such as training_hosts: [host1, host2]."),
        ("training_mounts", ["/data:/data"], "An entry of training_mounts is a text, and each has to be a mapping, such as training_mounts: [{type: "),
        ("docker_proxy", "http://proxy:3128", "docker_proxy is a text, and it has to be a mapping, such as docker_proxy: {http: "),
        ("training_wait_timeout", "soon", "training_wait_timeout is a text, and it has to be a whole number, such as training_wait_timeout: 600."),
        ("training_wait_timeout", 1.5, "training_wait_timeout is a number, and it has to be a whole number"),
        ("training_wait_timeout", True, "training_wait_timeout is true or false, and it has to be a whole number"),
        ("training_replace", "perhaps", "training_replace is a text, and it has to be true or false, such as training_replace: false."),
        ("training_script", ["a.py"], "training_script is a list, and it has to be a text, such as training_script: training_code.py."),
        ("training_wait_for", "finished", "training_wait_for is 'finished': it is started, complete or none."),
        ("training_wait_for", True, "training_wait_for is 'True': it is started, complete or none."),
        ("docker_hold", "perhaps", "docker_hold is 'perhaps': it is auto, true or false."),
        ("image_distribution", "send", "image_distribution is 'send': it is build, ship or registry."),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant(name: str, value: Any, said: str) -> None:
    assert settings.value_sentence(name, name, OURS[name], value).startswith(said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training_wait_timeout", "600"),
        ("training_collective_timeout", "0.5"),
        ("training_replace", "yes"),
        ("training_replace", True),
        ("training_args", ["a", "b"]),
        ("training_args", "a b"),
        ("training_cpus", 4),
        ("training_env", {}),
        ("training_memory", None),
        ("training_wait_for", "none"),
        # As YAML has it, and as the command line does.
        ("docker_firewall", True),
        ("docker_gpu", False),
        ("docker_hold", "True"),
        ("docker_hold", "auto"),
    ],
)
def test_a_value_that_is_meant(name: str, value: Any) -> None:
    assert settings.value_sentence(name, name, OURS[name], value) == ""


def test_a_value_of_another_type_is_not_shown() -> None:
    assert "hunter2" not in settings.value_sentence(
        "training_secrets", "training_secrets", OURS["training_secrets"], "hunter2"
    )


@pytest.mark.parametrize(
    "name", sorted(name for name, option in OURS.items() if option.get("type") in ("list", "dict"))
)
def test_the_example_is_of_the_type(name: str) -> None:
    shown = yaml.safe_load(settings.example(name, OURS[name]))
    assert shown[name]
    assert settings.value_sentence(name, name, OURS[name], shown[name]) == ""


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_default_is_of_its_type(name: str) -> None:
    if "default" in OURS[name]:
        assert settings.value_sentence(name, name, OURS[name], OURS[name]["default"]) == ""
