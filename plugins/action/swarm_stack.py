"""Runs the module swarm_stack, and shows whom it waits for, with the age of that task's last line."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.progress import executed

WIDTH = 160


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode or self._task.args.get("wait_for", "none") == "none":
            return {**result, **self._execute_module(task_vars=task_vars)}
        return {**result, **executed(self, task_vars, width=WIDTH)}
