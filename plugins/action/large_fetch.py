"""ansible.builtin.fetch of one file, of which one sees meanwhile how much has come. It takes the same arguments, with `flat`."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.progress import builtin, watched


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        fetch = builtin(self, "fetch")
        dest = str(self._task.args["dest"])

        def come() -> str:
            return f"{os.path.getsize(dest) / 1e6:.0f} MB fetched"

        with watched(task_vars, come):
            return {**result, **fetch.run(task_vars=task_vars)}
