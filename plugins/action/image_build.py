"""Runs the module image_build, and shows each step of the build as it begins."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.progress import second, watched

MOST = 1000  # characters of what a host says


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            # Of the user who logs in: the file in it is read without becoming another, while the module runs.
            file = self._connection._shell.join_path(self._make_tmp_path(), "step")
        except AnsibleError:  # nobody sees how far it is
            return {**result, **self._execute_module(task_vars=task_vars)}
        beside = second(self._connection)

        def step() -> str:
            said: bytes = beside.exec_command(f"cat {shlex.quote(file)}", sudoable=False)[1]
            return next(iter(said[:MOST].decode("utf-8", "replace").splitlines()), "")

        with watched(task_vars, step, step=True):
            built = self._execute_module(module_args={**self._task.args, "progress": file}, task_vars=task_vars)
        return {**result, **built}
