"""Which of the secrets that a user wrote down are none."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.training_settings import malformed_secrets, training_refusals


@pytest.mark.parametrize(
    ("secret", "right"),
    [
        ({"content": "x"}, True),
        ({"content": ""}, True),
        ({"file": "/etc/hostname"}, True),
        ({"external": True}, True),
        ({"external": True, "name": "other"}, True),
        ({"content": "x", "external": False}, True),
        ({"content": "x", "file": "/etc/hostname"}, False),
        ({"content": "x", "external": True}, False),
        ({"value": "x"}, False),
        ({}, False),
        (None, False),
        ("x", False),
        (["x"], False),
    ],
)
def test_a_secret_has_one_source(secret: Any, right: bool) -> None:
    assert malformed_secrets({"good": {"content": "y"}, "token": secret}) == ([] if right else ["token"])


@pytest.mark.parametrize("secrets", ["x", [], None])
def test_what_is_no_mapping_has_no_names(secrets: Any) -> None:
    assert malformed_secrets(secrets) == []


GOOD = {
    "training_nproc_per_node": 1,
    "training_gpus": "auto",
    "training_args": "",
    "training_command": "",
    "training_torchrun_args": [],
    "training_wait_for": "started",
    "training_started_pattern": "auto",
    "training_progress_pattern": "loss",
    "training_backend": "auto",
    "training_network_mode": "overlay",
    "training_snapshots": "shared",
    "training_nccl_debug": "INFO",
    "training_rendezvous_timeout": 120,
    "training_collective_timeout": 0.5,
    "training_hosts": ["a", "b"],
    "training_notify": "",
    "training_notify_stall_minutes": 30,
    "training_without": "",
    "training_secrets": {},
    "training_secret_env": {},
    "training_env": {},
    "training_data": [],
    "training_data_from": "",
    "training_caches": True,
    "training_mounts": [{"type": "volume", "source": "snapshots", "target": "/snapshots"}],
    "training_results_dir": "/snapshots",
}


SECRETS = {"training_secrets": {"token": {"external": True}, 7: {"external": True}}}


def refusals(**changes: Any) -> list[str]:
    return training_refusals({**GOOD, **changes}, ["a", "b", "c"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training_nproc_per_node": "2", "training_gpus": 0},
        {"training_nproc_per_node": "auto", "training_gpus": "8"},
        {"training_nproc_per_node": "gpu", "training_wait_for": "none", "training_backend": "gloo"},
        {"training_nproc_per_node": "cpu", "training_network_mode": "host", "training_nccl_debug": "TRACE"},
        {"training_rendezvous_timeout": "1", "training_collective_timeout": "1e3"},
        {"training_secret_env": {"A": "token", "B": "token", "C": "7"}, "training_env": {"D": 1}, **SECRETS},
        {"training_env": None},
        {"training_caches": ["HF_HOME"]},
        {"training_caches": "false", "training_mounts": []},
        {"training_caches": True, "training_mounts": []},
        {"training_hosts": ["c"], "training_secrets": {"token": {"content": "x"}}},
    ],
)
def test_settings_that_can_train(changes: dict[str, Any]) -> None:
    assert refusals(**changes) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"training_nproc_per_node": 0}, "training_nproc_per_node is 0: it is the number of processes"),
        ({"training_nproc_per_node": "many"}, "training_nproc_per_node is many: "),
        ({"training_nproc_per_node": 1.5}, "training_nproc_per_node is 1.5: "),
        (
            {"training_gpus": "all"},
            "training_gpus is 'all': it is auto, or the number of GPUs that each rank reserves, 0 or more.",
        ),
        ({"training_gpus": -1}, "training_gpus is '-1': "),
        ({"training_gpus": "1\n"}, "training_gpus is '1\n': "),
        ({"training_wait_for": "completed"}, "training_wait_for is 'completed': it is started, complete or none."),
        (
            {"training_started_pattern": "loss ("},
            "training_started_pattern is 'loss (', no regular expression of Python: missing ), unterminated subpattern at position 5.",
        ),
        (
            {"training_progress_pattern": "*"},
            "training_progress_pattern is '*', no regular expression of Python: nothing",
        ),
        ({"training_backend": "mpi"}, "training_backend is 'mpi': it is auto, nccl or gloo."),
        ({"training_snapshots": "all"}, "training_snapshots is 'all': it is none, shared or rank0."),
        ({"training_network_mode": "bridge"}, "training_network_mode is 'bridge': it is overlay or host."),
        ({"training_nccl_debug": "info"}, "training_nccl_debug is 'info': it is VERSION, WARN, INFO or TRACE."),
        ({"training_rendezvous_timeout": 0}, "training_rendezvous_timeout is 0: it is a number of seconds, 1 or more."),
        ({"training_collective_timeout": "nan"}, "training_collective_timeout is nan: "),
        ({"training_collective_timeout": 0}, "training_collective_timeout is 0: "),
        ({"training_collective_timeout": None}, "training_collective_timeout is None: "),
        (
            {"training_without": "x, b"},
            "training_hosts and training_without both name b: take it out of training_hosts.",
        ),
        ({"training_hosts": ["a", "x", "y"]}, "training_hosts names x, y, which the group 'swarm' does not hold."),
        ({"training_secrets": "S3CR3T"}, "external: true}; it is a text. Write, for example, "),
        ({"training_secrets": {"b": "S3CR3T"}}, "; these have none or several: b. Write"),
        (
            {"training_secret_env": {"KEY": "S3CR3T"}},
            "training_secret_env has for KEY no name of a secret in training_secrets, which has none. Write, for example, ",
        ),
        (
            {"training_secret_env": {"A": "token", "B": "x"}, **SECRETS},
            "has for B no name of a secret in training_secrets, which has token, 7.",
        ),
        ({"training_secret_env": {"A": None, "B": ["S3CR3T"]}, **SECRETS}, "has for A, B no name of a secret"),
        (
            {"training_secret_env": "S3CR3T"},
            "training_secret_env is a mapping of environment variables to names of secrets, such as",
        ),
        (
            {"training_secret_env": {"A": "token", "B": 7}, "training_env": {"B": "S3CR3T", "C": 1}, **SECRETS},
            "training_env and training_secret_env both set B: leave one of them out.",
        ),
    ],
)
def test_a_setting_that_cannot_be_meant(changes: dict[str, Any], sentence: str) -> None:
    (said,) = refusals(**changes)
    assert sentence in said
    assert "S3CR3T" not in said


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = refusals(training_backend="mpi", training_wait_for="x", training_gpus="y", training_hosts=["z"])
    assert [sentence.split()[0] for sentence in said] == ["training_gpus", "training_wait_for", "training_hosts"]
    assert "training_backend is 'mpi'" in said[1]


@pytest.mark.parametrize("name", ["training_args", "training_command", "training_torchrun_args"])
def test_words_that_cannot_be_meant(name: str) -> None:
    assert training_refusals({**GOOD, name: '--note "a b'}, GOOD["training_hosts"]) == [
        f"{name} has a quote that nothing closes: close it, write \\ before it, or write {name} as a list of words."
    ]
    assert training_refusals({**GOOD, name: {"a": 1}}, GOOD["training_hosts"]) == [
        f"{name} is a mapping: it is a list of words, or a text."
    ]
