"""Runs the module image_build, and shows each step of the build as it begins."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.progress import executed


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        return {**result, **executed(self, task_vars, step=True)}
