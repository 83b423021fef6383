"""Waits for the end of a stack and shows meanwhile what its first rank writes, for the hours in which a play would be silent.

Arguments: `stack`, `pattern` (regular expression of the lines of service node0 to show; empty shows all), `timeout` (seconds),
`interval` (seconds between two looks, default 5). It judges nothing: whoever wants to know how it ended asks swarm_stack.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.logs import matching, moment_of, settled, stamped, time_key
from ..module_utils.text import printable

display = Display()
SHOWN_AT_ONCE = 20
READ_AT_ONCE = 500
SILENCE = 120.0  # seconds after which a sign of life is shown
RANKS = 8  # of which a sign of life tells
PATIENCE = 12  # looks in a row that may fail, as while the manager's engine restarts


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        self.service = f"{arguments['stack']}_node0"
        self.pattern = re.compile(arguments.get("pattern", ""))
        # The time of the last line, and what was shown of that time.
        self.seen, self.said, self.failed_tasks = "", set[str](), set[str]()
        began = spoke = time.monotonic()
        failures = ended = 0
        while True:
            info = self.look("swarm_stack_info", {"name": arguments["stack"]}, task_vars)
            failures = failures + 1 if info.get("failed") else 0
            if failures > PATIENCE:
                return {**result, **info}
            lines = [] if failures else [*self.restarts(info), *self.new_lines(task_vars)]
            for line in lines[-SHOWN_AT_ONCE:]:
                display.display(f"  {printable(line)}")
            now = time.monotonic()
            if lines:
                spoke = now
            elif now - spoke > SILENCE:
                display.display(
                    f"  {arguments['stack']} has run for {now - began:.0f} s, nothing new{self.silences(task_vars)}"
                )
                spoke = now
            # Twice, because between a failed task and its successor there is a moment in which it looks like the end.
            ended = ended + 1 if info.get("failed_for_good") or not info.get("exists", True) else 0
            if info.get("complete") or ended > 1 or now - began > float(arguments["timeout"]):
                return {**result, "changed": False, "seconds": round(now - began)}
            time.sleep(float(arguments.get("interval", 5)))

    def look(self, module: str, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._execute_module(module, module_args=arguments, task_vars=task_vars)
        except AnsibleError as error:  # the connection, not the training
            return {"failed": True, "msg": str(error)}
        return answer

    def silences(self, task_vars: dict[str, Any] | None) -> str:
        """Since when each rank has said nothing, by its host's clock; empty where nobody knows."""
        names = [self.service.rpartition("_")[0]]
        told = self.look("swarm_jobs_info", {"names": names, "lines": True, "history": 1}, task_vars)
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
        fresh = [task for key, task in failed.items() if key not in known] if self.seen else []
        return [
            f"{task['service']} on {task['node']} {task['state']}: {task['error'] or 'no reason given'}"
            for task in fresh
        ]

    def new_lines(self, task_vars: dict[str, Any] | None) -> list[str]:
        """Of each line that is new or has grown, such as that of a progress bar, the last state that is asked for."""
        # A bar that has run for hours is one line, of which each look would get all.
        since = ["--since", self.seen, "--tail", str(READ_AT_ONCE)] if self.seen else ["--tail", "1"]
        command = ["docker", "service", "logs", "--raw", "--timestamps", *since, self.service]
        answer = self.look("ansible.legacy.command", {"_uses_shell": False, "argv": command}, task_vars)
        fresh: list[str] = []
        began = time_key(self.seen)
        for stamp, text in stamped(str(answer.get("stdout", "")), str(answer.get("stderr", ""))):
            if not stamp or time_key(stamp) < began:
                continue
            if stamp != self.seen:
                self.seen, self.said = stamp, set()
            said = [state for state in matching(self.pattern, text)[-1:] if state not in self.said]
            self.said.update(said)
            fresh += said
        return list(settled(fresh))
