"""Waits for the end of a stack and shows meanwhile what its ranks write, for the hours in which a play would be silent.

Arguments: `stack`, `pattern` (regular expression of the lines to show; empty shows all), `timeout` (seconds, without it for ever),
`interval` (seconds between two looks, default 5), `patience` (how many looks in a row may fail, default 12), `every_rank` (the lines of all
services node0, node1 and so on, each behind its name, instead of those of node0 alone). It changes nothing and judges nothing: whoever wants
to know how it ended asks swarm_stack. Returns `seconds`, and `timed_out`, whether the stack goes on after `timeout`.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.logs import matching, moment_of, settled, stamped, time_key
from ..module_utils.names import rank_of, service_of
from ..module_utils.text import printable

display = Display()
SHOWN_AT_ONCE = 20
READ_AT_ONCE = 500
BEFORE = 10  # lines of each rank to begin with, where all are shown
SILENCE = 120.0  # seconds after which a sign of life is shown
RANKS = 8  # of which a sign of life tells
PATIENCE = 12  # looks in a row that may fail, as while the manager's engine restarts


class Lines:
    """What one service writes, from the moment on at which one begins to look, and of the attempt that runs then before it."""

    def __init__(self, service: str, before: int = 1) -> None:
        self.service, self.before = service, before
        # The time of the last line, and what was shown of that time.
        self.seen, self.said = "", set[str]()
        self.earlier: set[str] | None = None

    def commands(self, tasks: list[dict[str, Any]]) -> list[list[str]]:
        """`tasks` are those of the service, newest first. Docker keeps the logs of dead ones, and of a service shows so many lines of each."""
        ask = ["docker", "service", "logs", "--raw", "--timestamps"]
        if self.seen:
            # A bar that has run for hours is one line, of which each look would get all.
            return [[*ask, "--since", self.seen, "--tail", str(READ_AT_ONCE), self.service]]
        if self.earlier is None and tasks:
            self.earlier = {task["id"] for task in tasks[1:]}
        current = [task["id"] for task in tasks if task["node"] and task["id"] not in (self.earlier or ())]
        return [[*ask, "--tail", str(self.before), task] for task in current]

    def new(self, streams: list[str], pattern: re.Pattern[str]) -> list[tuple[str, str]]:
        """Time and text of each line that is new or has grown, such as that of a progress bar, in the last state that is asked for."""
        fresh: list[tuple[str, str]] = []
        began = time_key(self.seen)
        # Docker shows the tasks that a service has had side by side, not one after the other.
        for stamp, text in sorted(stamped(*streams), key=lambda row: time_key(row[0])):
            if not stamp or time_key(stamp) < began:
                continue
            if stamp != self.seen:
                self.seen, self.said = stamp, set()
            said = [state for state in matching(pattern, text)[-1:] if state not in self.said]
            self.said.update(said)
            fresh += [(stamp, state) for state in said]
        return fresh


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        self.stack, self.every_rank = str(arguments["stack"]), boolean(arguments.get("every_rank", False))
        self.pattern = re.compile(arguments.get("pattern", ""))
        self.ranks = {} if self.every_rank else {"node0": Lines(service_of(self.stack, 0))}
        self.failed_tasks: set[str] | None = None
        most = READ_AT_ONCE if self.every_rank else SHOWN_AT_ONCE
        began = spoke = time.monotonic()
        failures = ended = 0
        while True:
            info = self.look("swarm_stack_info", {"name": self.stack}, task_vars)
            failures = failures + 1 if info.get("failed") else 0
            if failures > int(arguments.get("patience", PATIENCE)):
                return {**result, **info}
            lines = [] if failures else [*self.restarts(info), *self.new_lines(info, task_vars)]
            for line in lines[-most:]:
                display.display(f"  {printable(line)}")
            now = time.monotonic()
            if lines:
                spoke = now
            elif now - spoke > SILENCE:
                display.display(
                    f"  {self.stack} has run for {now - began:.0f} s, nothing new{self.silences(task_vars)}"
                )
                spoke = now
            # Twice, because between a failed task and its successor there is a moment in which it looks like the end.
            ended = ended + 1 if info.get("failed_for_good") or not info.get("exists", True) else 0
            late = now - began > float(arguments.get("timeout", "inf"))
            if info.get("complete") or ended > 1 or late:
                goes_on = late and not (info.get("complete") or ended)
                return {**result, "changed": False, "seconds": round(now - began), "timed_out": goes_on}
            time.sleep(float(arguments.get("interval", 5)))

    def look(self, module: str, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._execute_module(module, module_args=arguments, task_vars=task_vars)
        except AnsibleError as error:  # the connection, not the training
            return {"failed": True, "msg": str(error)}
        return answer

    def silences(self, task_vars: dict[str, Any] | None) -> str:
        """Since when each rank has said nothing, by its host's clock; empty where nobody knows."""
        told = self.look("swarm_jobs_info", {"names": [self.stack], "lines": True, "history": 1}, task_vars)
        ages = [
            f"{max(0.0, time.time() - moment_of(line['time'])):.0f} s ago by rank {rank['rank']} on {rank['host']}"
            for job in told.get("jobs", [])
            for rank in job["ranks"][:RANKS]
            for line in rank["lines"][-1:]
        ]
        return f"; last lines: {', '.join(ages)}" if ages else ""

    def restarts(self, info: dict[str, Any]) -> list[str]:
        """What has failed since the last look; what had failed before the first one is not news."""
        failed = {
            task["id"]: task for task in info.get("tasks", []) if task["state"] in ("failed", "rejected", "orphaned")
        }
        known, self.failed_tasks = self.failed_tasks, set(failed)
        fresh = [task for key, task in failed.items() if key not in known] if known is not None else []
        return [
            f"{task['service']} on {task['node']} {task['state']}: {task['error'] or 'no reason given'}"
            for task in fresh
        ]

    def new_lines(self, info: dict[str, Any], task_vars: dict[str, Any] | None) -> list[str]:
        for service in info.get("services", []) if self.every_rank else []:
            if rank_of(str(service["name"])) is not None:
                self.ranks.setdefault(service["name"], Lines(f"{self.stack}_{service['name']}", BEFORE))
        wide = max(map(len, self.ranks), default=0)
        fresh: list[tuple[str, str, str]] = []
        for name, lines in self.ranks.items():
            commands = lines.commands([task for task in info.get("tasks", []) if task["service"] == name])
            answers = [
                self.look("ansible.legacy.command", {"_uses_shell": False, "argv": command}, task_vars)
                for command in commands
            ]
            streams = [str(answer.get(stream, "")) for answer in answers for stream in ("stdout", "stderr")]
            fresh += [(time_key(stamp), name, text) for stamp, text in lines.new(streams, self.pattern)]
        if not self.every_rank:
            return list(settled(text for _stamp, _name, text in fresh))
        return [f"{name:{wide}} | {text}" for _stamp, name, text in sorted(fresh, key=lambda line: line[0])]
