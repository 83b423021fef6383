"""Takes the lease for this run of ansible-playbook, waits where another run has it, and renews it until this one ends, however it ends.

Arguments: `state` (taken, released), `timeout` (seconds to wait), `expiry` and `path` as the module has them, `break_it`. The result has
`refused`, a sentence, where another run has it still. Who holds the lease is a process of its own on the controller, beside this run: a task
may take an hour, Ctrl-C skips whatever a playbook would do at its end, and a run that is killed does nothing at all.
"""

from __future__ import annotations

import getpass
import os
import select
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()
POLL = 1.0  # seconds between two attempts
# Seconds in which a run that has just ended gives back its lease: so long nothing is said.
GRACE = 3.0
SIGNS = 10  # signs of life within the expiry
ATTEMPTS = 3  # to give it back: what they do not reach, expires


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        given, self.task_vars = self._task.args, task_vars
        # Ansible makes a directory for each run, of a name that no other has. Hosts cannot write there.
        self.place = Path(C.DEFAULT_LOCAL_TMP)
        self.holds = self.place / "holds-the-lease"
        self.own = {"id": self.place.name, "path": given["path"]}
        if given.get("state") == "released":
            since = self.noted()
            if not since:
                return {**result, "changed": False}
            self.holds.write_text("")
            return {**result, **self.ask("released", since=float(since))}
        if self.noted():
            return {**result, "changed": False}
        self.own.update(who=who(), what=playbook(), expiry=int(given["expiry"]))
        told = self.wait(float(given["timeout"]), bool(given["break_it"]))
        if told.get("held"):
            self.holds.write_text(str(told["now"]))
            main = Main(os.getppid())
            if os.fork() == 0:
                self.keep(main, float(told["now"]))
        return {**result, **told}

    def noted(self) -> str | None:
        """Since when this run has the lease; empty once it was given back, None where it never had it, or as Ansible ends and cleans up."""
        try:
            return self.holds.read_text()
        except OSError:
            return None

    def ask(self, state: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_args={**self.own, "state": state, **arguments}, task_vars=self.task_vars
        )
        return answer

    def wait(self, timeout: float, break_it: bool) -> dict[str, Any]:
        began, shown = time.monotonic(), ""
        while True:
            told = self.ask("taken", break_it=break_it)
            if told.get("failed"):
                return told
            by, waited = told["by"], time.monotonic() - began
            if told["held"]:
                if by:
                    display.display(f"  {taken_over(by, told['now'])}")
                return told
            if waited > timeout:
                return {**told, "refused": refusal(by, waited)}
            if by and by["id"] != shown and waited > min(GRACE, timeout / 2):
                shown = by["id"]
                display.display(f"  {waiting(by, timeout)}")
            time.sleep(POLL)

    def keep(self, main: Main, since: float) -> None:
        """Renew the lease until the run has ended, and give it back. This is no process of Ansible's any more."""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        display.verbosity = 0
        try:
            while not main.ended(max(1.0, self.own["expiry"] / SIGNS)):
                if self.noted() == "":
                    return
                since = self.sign(main, since)
            for _ in range(ATTEMPTS):
                if not self.quietly("released", since=since).get("failed"):
                    break
        finally:
            # Ansible has put its directory there again for the last question, or was killed before it could remove it.
            if main.ended(0):
                shutil.rmtree(self.place, ignore_errors=True)
            os._exit(0)

    def sign(self, main: Main, since: float) -> float:
        """One sign of life. Returns since when the run has the lease."""
        told = self.quietly("renewed", since=since)
        # A host that does not answer is asked again. A run that gave the lease back has not lost it.
        if told.get("failed") or told["held"] or not self.noted():
            return since
        by: dict[str, Any] = told["by"]
        if not by:
            # Nobody has it, as after a reboot of a host that is in no swarm.
            return float(self.quietly("taken").get("now", since))
        display.error(lost(by), wrap_text=False)
        time.sleep(1)  # until that is shown
        main.stop()
        return since

    def quietly(self, state: str, **arguments: Any) -> dict[str, Any]:
        with suppress(AnsibleError, OSError):
            # What it was in the task's own process is gone with that.
            self._connection._shell.tmpdir = None
            told = self.ask(state, **arguments)
            self.cleanup(force=True)
            return told
        return {"failed": True}


class Main:
    """The process ansible-playbook."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self.handle = os.pidfd_open(pid)
        except (AttributeError, OSError):  # not Linux
            self.handle = -1

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, after that many seconds at most."""
        if self.handle >= 0:
            return bool(select.select([self.handle], [], [], seconds)[0])
        deadline = time.monotonic() + seconds
        while True:
            try:
                os.kill(self.pid, 0)
            except OSError:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.5)

    def stop(self) -> None:
        if not self.ended(0):
            os.kill(self.pid, signal.SIGTERM)


def who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def playbook() -> str:
    return Path(next(iter(context.CLIARGS.get("args") or ["a playbook"]))).name


def clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))


def waiting(by: dict[str, Any], timeout: float) -> str:
    return (
        f"{by['who']} has run {by['what']} on these hosts since {clock(by['since'])}. This run waits until that is done, {timeout:.0f} s at "
        "most (lock_timeout)."
    )


def refusal(by: dict[str, Any], waited: float) -> str:
    if not by:
        return "Other runs take the lease of these hosts again and again: run this again."
    return (
        f"{by['who']} has run {by['what']} on these hosts since {clock(by['since'])}, and was waited for {waited:.0f} s. Run this again when "
        "that is done, or wait longer with lock_timeout=SECONDS. A run that was killed keeps its lease until "
        f"{clock(by['until'])}: lock_break=true takes it at once."
    )


def taken_over(by: dict[str, Any], now: float) -> str:
    alive = by["until"] > now
    why = (
        "lock_break=true: that run ends"
        if alive
        else f"no sign of life since then, and its lease ended at {clock(by['until'])}"
    )
    return f"The lease of {by['who']}, who ran {by['what']} since {clock(by['since'])}, is taken over ({why})."


def lost(by: dict[str, Any]) -> str:
    return (
        f"{by['who']} has taken the lease of these hosts from this run, for {by['what']}, since {clock(by['since'])}: it was broken with "
        "lock_break=true, or this run gave no sign of life. This run ends. Run it again when that one is done."
    )
