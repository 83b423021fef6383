"""Filters for text that comes from containers and hosts, before it is shown or written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils

# Ansible looks there for what modules import; plugins run here, where only its own module_utils can be imported.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from ansible.module_utils.masking import mask
from ansible.module_utils.text import last_state, printable_all


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"printable": printable_all, "last_state": last_state, "masked": mask}
