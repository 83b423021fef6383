"""Each thing that the role docker looks after, broken in turn: a run notices it, and a run with nothing to do does nothing."""

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.docker_work import FilterModule, docker_work

HOST: dict[str, Any] = {
    "distribution": {"family": "debian"},
    "packages": {"installed": {"docker.io": "26"}, "held": []},
    "settings": {"value": {"debug": True}, "unread": False, "before_gpus": None},
    "service": {"runs": True, "enabled": True},
    "certificates": {"files": {}, "untrusted": False},
    "proxy": {},
    "gpus": {"gpus": [], "cards": 0, "error": "", "driver": "", "toolkit": ""},
    "docker_group": ["ada"],
}
PLAN: dict[str, Any] = {"package": "docker.io", "kept": True, "lacks": False}
ASKED: dict[str, Any] = {
    "certificates": [], "proxy": {}, "direct": [], "hold": "auto", "closed_ports": [],
    "settings": {"debug": True}, "users": ["ada"], "gpu": "auto", "gpus": [],
}  # fmt: skip


def work(host: Any = None, plan: Any = None, **asked: Any) -> list[str]:
    return docker_work({**HOST, **(host or {})}, {**PLAN, **(plan or {})}, {**ASKED, **asked})


def test_nothing() -> None:
    assert work() == []
    assert work(users=[], gpu="false") == []
    assert set(FilterModule().filters()) == {"docker_work"}


@pytest.mark.parametrize(
    ("host", "plan", "asked", "word"),
    [
        ({}, {}, {"certificates": ["/nowhere/a.crt"]}, "certificates"),
        ({"certificates": {"files": {}, "untrusted": True}}, {}, {}, "certificates"),
        ({}, {}, {"proxy": {"http": "http://p"}}, "proxy"),
        ({"proxy": {"/etc/ddp-swarm/proxy.env": "0"}}, {}, {}, "proxy"),
        ({}, {"lacks": True, "kept": False}, {}, "packages"),
        ({}, {}, {"hold": "true"}, "hold"),
        ({"packages": {"installed": {"docker.io": "26"}, "held": ["docker.io"]}}, {}, {"hold": False}, "hold"),
        ({}, {}, {"closed_ports": ["7946/tcp"]}, "ports"),
        ({}, {}, {"settings": {}}, "settings"),
        ({"settings": {"value": None, "unread": False, "before_gpus": None}}, {}, {}, "settings"),
        ({"settings": {"value": {"debug": True}, "unread": True, "before_gpus": None}}, {}, {}, "settings"),
        ({"settings": {"value": {"debug": True}, "unread": False, "before_gpus": {}}}, {}, {"gpu": "false"}, "GPUs"),
        ({}, {}, {"gpu": True}, "GPUs"),
        ({}, {}, {"gpus": ["GPU-1"]}, "GPUs"),
        ({"gpus": {"gpus": ["GPU-1"], "cards": 1, "error": ""}}, {}, {}, "GPUs"),
        ({"gpus": {"gpus": [], "cards": 1, "error": ""}}, {}, {}, "GPUs"),
        ({"gpus": {"gpus": [], "cards": 0, "error": "no driver"}}, {}, {}, "GPUs"),
        ({"service": {"runs": False, "enabled": True}}, {}, {}, "service"),
        ({"service": {"runs": True, "enabled": False}}, {}, {}, "service"),
        ({"docker_group": []}, {}, {}, "users"),
        ({}, {}, {"users": ["ada", "bob"]}, "users"),
    ],
)
def test_each_thing(host: Any, plan: Any, asked: dict[str, Any], word: str) -> None:
    assert work(host, plan, **asked) == [word]


@pytest.mark.parametrize(
    ("host", "plan", "asked"),
    [
        ({"packages": {"installed": {"docker.io": "26"}, "held": ["docker.io"]}}, {}, {}),
        ({"packages": {"installed": {"docker.io": "26"}, "held": ["docker.io"]}}, {"kept": False}, {}),
        ({"packages": {"installed": {"docker.io": "26"}, "held": ["docker.io"]}}, {}, {"hold": True}),
        ({}, {}, {"hold": "false"}),
        ({"packages": {"installed": {}, "held": []}}, {}, {"hold": True}),
        ({"gpus": {"gpus": ["GPU-1"], "cards": 1, "error": ""}}, {}, {"gpu": "False"}),
        ({"gpus": None}, {}, {}),
    ],
)
def test_what_is_nobodys_business(host: Any, plan: Any, asked: dict[str, Any]) -> None:
    assert work(host, plan, **asked) == []


def test_the_order_is_that_of_the_tasks(tmp_path: Path) -> None:
    host = {"service": {"runs": False, "enabled": False}, "docker_group": []}
    assert work(host, {"lacks": True, "kept": False}, hold=True, proxy={"http": "http://p"}) == [
        "proxy",
        "packages",
        "hold",
        "service",
        "users",
    ]
