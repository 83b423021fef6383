"""Filters for text that comes from containers and hosts, before it is shown or written down."""

from __future__ import annotations

from typing import Any

from ..module_utils.masking import mask
from ..module_utils.text import printable_all


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"printable": printable_all, "masked": mask}
