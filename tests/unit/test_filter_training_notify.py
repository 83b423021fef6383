"""Who is told how a job goes: what is an address, what a command, and what cannot be meant. No message shows an address."""

import json
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.training_launcher import launched, training_launcher
from ansible_collections.ddp.swarm.plugins.filter.training_notify import (
    notify_address,
    notify_command,
    notify_refusals,
    notify_secret,
)

HOOK = "https://hooks.example.org/services/T0/B0/S3CR3T"
SETTINGS: dict[str, Any] = {
    "training_notify": HOOK,
    "training_notify_stall_minutes": 30,
    "training_snapshots": "rank0",
    "training_mounts": [{"type": "volume", "source": "snapshots", "target": "/snapshots"}],
    "training_results_dir": "/snapshots",
    "training_stack": "night",
    "training_max_restarts": 3,
    "training_launcher_port": 22355,
    "training_rendezvous_timeout": 120,
    "training_log_max_mb": 100,
    "training_stall_minutes": 10,
}


def refusal(**other: Any) -> str:
    return notify_refusals({**SETTINGS, **other}, [])


def test_an_address_and_a_command() -> None:
    assert (notify_address(HOOK), notify_command(HOOK)) == (HOOK, [])
    assert (notify_address("mail -s 'the job' me"), notify_command("mail -s 'the job' me")) == (
        "",
        ["mail", "-s", "the job", "me"],
    )
    assert (notify_address(""), notify_command(None), notify_command(["a", 1])) == ("", [], ["a", "1"])


def test_what_the_launchers_read() -> None:
    assert json.loads(notify_secret(HOOK, {})) == {"url": HOOK, "proxy": {}}
    proxy = {"http": "http://p:3128", "https": "", "no_proxy": ["a", ".b"]}
    assert json.loads(notify_secret(HOOK, proxy))["proxy"] == {"http": "http://p:3128", "https": "", "no_proxy": "a,.b"}
    assert json.loads(notify_secret(HOOK, None))["proxy"] == {}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, ""),
        ({"training_notify": ""}, ""),
        ({"training_notify": "", "training_snapshots": "none"}, ""),
        ({"training_notify": "notify-send done", "training_snapshots": "none"}, ""),
        ({"training_notify": ["echo", "a"]}, ""),
        ({"training_notify": {"url": HOOK}}, "training_notify is neither an address"),
        ({"training_notify": "htp://S3CR3T"}, "training_notify is no address that can be POSTed to"),
        ({"training_notify": "https://"}, "training_notify is no address: it has a host"),
        ({"training_notify": "https://a:b/S3CR3T"}, "training_notify is no address: it has a host"),
        ({"training_notify": "https://a/S3CR3T b"}, "training_notify is no address: it has a host"),
        ({"training_notify": "mail 'S3CR3T"}, "training_notify is a command with a quote that nothing closes"),
        ({"training_snapshots": "none"}, "training_notify is told by the ranks' launchers, and training_snapshots is none"),
        ({"training_mounts": []}, "training_notify is told by the ranks' launchers, which keep in the volume"),
        ({"training_notify_stall_minutes": "soon"}, "training_notify_stall_minutes is soon: it is a number of minutes"),
        ({"training_notify_stall_minutes": -1, "training_notify": ""}, "training_notify_stall_minutes is -1"),
        ({"training_notify_stall_minutes": 0}, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(other: dict[str, Any], said: str) -> None:
    sentence = refusal(**other)
    assert sentence.startswith(said)
    assert bool(sentence) == bool(said)
    assert "S3CR3T" not in sentence


def test_the_launcher_gets_a_file_and_never_the_address() -> None:
    command = launched(["torchrun"], SETTINGS, 1, 0)
    assert "--notify_file=/run/secrets/ddp-notify" in command
    assert {"--job=night", "--notify_stall=30", "--restarts=3"} <= set(command)
    assert "S3CR3T" not in " ".join(command)
    # A job of one rank knows by its secret whether it was deployed anew.
    assert training_launcher(SETTINGS, 1)["secret"] == "night.launcher"
    for nobody in ("", "mail me"):
        settings = {**SETTINGS, "training_notify": nobody}
        assert not [word for word in launched(["torchrun"], settings, 2, 0) if "notify" in word or "job=" in word]
        assert training_launcher(settings, 1)["secret"] == ""
