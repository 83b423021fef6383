"""The module swarm_diagnosis without a process of its own: it asks nobody, and would take most of its time to start."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..modules.swarm_diagnosis import ARGUMENTS, decide


class ActionModule(ActionBase):  # type: ignore[misc]
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, params = self.validate_argument_spec(argument_spec=ARGUMENTS)
        return decide(params, self._task.check_mode)
