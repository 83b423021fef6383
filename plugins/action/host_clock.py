"""Tells by how many seconds a host's clock is ahead of the controller's. Changes nothing.

Argument: `tries` (default 5): the one with the shortest way to the host and back counts. Of the result, `offset` is in seconds, and `error` is the
most that it may be wrong by: half of that way. A host that does not answer fails the task.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

NOW = "date +%s.%N"


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        tries = self._task.args.get("tries", 5)
        if not str(tries).isdecimal() or not 0 < int(tries) <= 100:
            raise AnsibleError(f"tries is {tries}; it is a number from 1 to 100.")
        found = []
        said = ""
        for _try in range(int(tries)):
            began, moment = time.monotonic(), time.time()
            done = self._low_level_execute_command(NOW, sudoable=False)
            way = time.monotonic() - began
            said = str(done.get("stdout", "")).strip()
            if done.get("rc") == 0 and re.fullmatch(r"\d{9,11}\.\d{9}", said, re.ASCII):
                found.append((way, float(said) - moment - way / 2))
        if not found:
            return {**result, "failed": True, "msg": f"The host does not tell its time: {said[:100]!r}"}
        way, offset = min(found)
        return {**result, "changed": False, "offset": round(offset, 4), "error": round(way / 2, 4)}
