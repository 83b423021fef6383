"""Playbooks, run: in the terminal of whoever waits for them, or through ansible-runner for a program that reads what they did."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ansible_runner
from ansible_collections.ddp.swarm.plugins.module_utils.brief import brief
from ansible_collections.ddp.swarm.plugins.module_utils.text import printable

from .command import environment

ENDS = ("runner_on_failed", "runner_on_unreachable")


def attended(words: list[str]) -> int:
    """Exit code of the command, to which the terminal belongs: it asks for passwords, and Ctrl-C is its own."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with subprocess.Popen(words, env=environment()) as process:
            return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class Done:
    """What a run of a playbook did. `failures` are of those hosts for which it ended badly."""

    rc: int = 0
    seconds: float = 0.0
    changed: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """Why it failed, in few words."""
        if self.failures:
            return self.failures[-1]["message"]
        return (
            "" if self.rc == 0 else next(iter(self.messages[-1:]), f"ansible-playbook ended with exit code {self.rc}.")
        )


class Events:
    """What ansible-runner tells while a playbook runs."""

    def __init__(self) -> None:
        self.failed: dict[str, dict[str, str]] = {}
        self.stats: dict[str, dict[str, int]] = {}
        self.output: list[str] = []
        self.told: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> bool:
        data = event.get("event_data") or {}
        self.output += printable(str(event.get("stdout") or "")).splitlines()
        if event.get("event") in ENDS and not data.get("ignore_errors"):
            said = [line for line in brief(data.get("res") or {}) if line.strip()]
            self.failed[str(data.get("host"))] = {
                "host": str(data.get("host")),
                "phase": printable(str(data.get("play"))),
                "task": printable(str(data.get("task"))),
                "message": "\n".join(said),
            }
        if event.get("event") == "playbook_on_stats":
            kinds = ("changed", "failures", "dark")
            self.stats = {kind: dict(data.get(kind) or {}) for kind in kinds}
            # What the playbook has told by set_stats.
            self.told = dict(data.get("artifact_data") or {})
        # Nothing of it is written to a file.
        return False

    def done(self, rc: int, seconds: float) -> Done:
        ended = {**self.stats.get("failures", {}), **self.stats.get("dark", {})}
        failures = [told for host, told in self.failed.items() if host in ended]
        errors = [found[1] for line in self.output if (found := re.match(r"(?:\[ERROR\]:|ERROR[!:]) (.+)", line))]
        return Done(rc, seconds, self.stats.get("changed", {}), failures, errors, self.told)


def unattended(words: list[str], stopped: Callable[[], bool] = lambda: False) -> Done:
    """The command, without a terminal. `stopped` is asked each second whether it is wanted no more."""
    events, began = Events(), time.monotonic()
    # After Ctrl-C, ansible-runner may still write there.
    with tempfile.TemporaryDirectory(prefix="ddp-", ignore_cleanup_errors=True) as place:
        _response, _error, rc = ansible_runner.run_command(
            words[0],
            words[1:],
            private_data_dir=place,
            # ansible-runner would switch the check of host keys off, and replace the callback.
            envvars={
                **environment(),
                "ANSIBLE_HOST_KEY_CHECKING": "True",
                "ANSIBLE_STDOUT_CALLBACK": "ddp.swarm.phases",
                "ANSIBLE_NOCOLOR": "1",
                "DDP_HEARTBEAT": "0",
            },
            event_handler=events.take,
            cancel_callback=stopped,
            settings={"pexpect_timeout": 1},
            quiet=True,
        )
    return events.done(rc, time.monotonic() - began)
