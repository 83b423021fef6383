"""Fetches the files that `training_results` has laid out on a host, as the user who logs in: the connection then streams them.

Arguments: `src`, the directory on the host; `dest`, a directory on the controller that is made anew; `files`, what lies in `src`, each with
a `file`. Only numbers are taken as names of files here: what they are called is for `training_artifacts` to judge.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils.results.tree import STAGED
from ..plugin_utils.progress import watched


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        source, dest = self._task.args["src"], Path(self._task.args["dest"])
        names = [str(entry.get("file")) for entry in self._task.args["files"]]
        shutil.rmtree(dest, ignore_errors=True)
        dest.mkdir(mode=0o700, parents=True)
        sizes = [entry.get("size") for entry in self._task.args["files"]]
        total = sum(size for size in sizes if isinstance(size, int))

        def come() -> str:
            return f"{sum(file.stat().st_size for file in dest.iterdir()) / 1e6:.0f} of {total / 1e6:.0f} MB fetched"

        with watched(task_vars, come):
            return {**result, **self.fetch(names, source, dest)}

    def fetch(self, names: list[str], source: str, dest: Path) -> dict[str, Any]:
        for name in names:
            if not STAGED.fullmatch(name):
                return {
                    "failed": True,
                    "msg": f"The host names a file {name!a}, where only numbers are expected.",
                }
            try:
                self._connection.fetch_file(self._connection._shell.join_path(source, name), str(dest / name))
            except AnsibleError as error:
                return {"failed": True, "msg": f"A file could not be fetched: {error}"}
        return {"changed": False}
