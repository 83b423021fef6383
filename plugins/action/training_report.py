"""Makes one page of the artifacts of a job, on the controller; no host is asked.

Arguments: `path`, the directory of the artifacts; `name`, the job's; `templates`, the directory of the page's templates. What containers
wrote is data: it is escaped, bounded, and no link is followed. Returns `file`, `size` in bytes, and `notes` on what the page lacks.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version

from ..module_utils.report import page
from ..module_utils.report.charts import LibraryMissing
from ..module_utils.text import printable

ROOT = Path(__file__).resolve().parents[2]


def own_version() -> str:
    """The collection's, from the tree or from what was built of it."""
    for name, inner in (("MANIFEST.json", "collection_info"), ("galaxy.yml", "")):
        file = ROOT / name
        if file.is_file():
            loaded = json.loads(file.read_text()) if name.endswith("json") else yaml.safe_load(file.read_text())
            return str((loaded[inner] if inner else loaded)["version"])
    return "unknown"


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        path, name = Path(self._task.args["path"]), str(self._task.args["name"])
        if not path.is_dir():
            return {
                **result,
                "failed": True,
                "msg": f"There are no artifacts of {name} in {path}: playbooks/collect.yml fetches them.",
            }
        versions = {
            "ddp.swarm": own_version(),
            "ansible-core": ansible_version,
            "Python (controller)": platform.python_version(),
        }
        try:
            text, notes = page.make(path, name, Path(self._task.args["templates"]), versions)
            changed = False if self._task.check_mode else page.write(path, text)
        except LibraryMissing as error:
            return {**result, "failed": True, "msg": str(error)}
        except (OSError, ValueError) as error:
            return {**result, "failed": True, "msg": printable(f"The report of {name} cannot be made: {error}.")}
        return {
            **result,
            "changed": changed,
            "file": str(path / "report.html"),
            "size": len(text.encode()),
            "notes": notes,
        }
