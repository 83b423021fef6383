"""ansible.builtin.copy, of which one sees meanwhile how much has arrived. It takes the same arguments."""

from __future__ import annotations

import os
import shlex
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.progress import builtin, second, watched


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        copy = builtin(self, "copy")
        source = str(self._task.args.get("src", ""))
        try:
            size = os.path.getsize(self._find_needle("files", source))
        except (AnsibleError, OSError):
            return {**result, **copy.run(task_vars=task_vars)}  # which says what is wrong with it

        beside = second(self._connection)

        def arrived() -> str:
            # Where Ansible's own plugin has the file until it is whole.
            place = shlex.quote(str(self._connection._shell.tmpdir))
            number = beside.exec_command(f"stat --format=%s {place}/.source*", sudoable=False)[1].split()[:1]
            return f"{int(number[0]) / 1e6:.0f} of {size / 1e6:.0f} MB sent" if number else ""

        with watched(task_vars, arrived):
            return {**result, **copy.run(task_vars=task_vars)}
