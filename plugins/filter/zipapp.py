"""Filter: a folder of Python files as one file that Python runs."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError


def archive(folder: str) -> bytes:
    """The same bytes for the same files, on every controller: no times, no owners, nothing compressed.

    What a link among them leads to is in the archive, not the link.
    """
    top = Path(folder)
    if not (top / "__main__.py").is_file():
        raise AnsibleError(f"{folder} is no program: there is no __main__.py in it")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name in sorted(path.relative_to(top).as_posix() for path in top.rglob("*.py")):
            member = zipfile.ZipInfo(name)  # of 1980
            member.external_attr = 0o644 << 16
            made.writestr(member, (top / name).read_bytes())
    return stream.getvalue()


def zipapp(folder: str) -> str:
    """In base64, since a variable holds text."""
    return base64.b64encode(archive(folder)).decode()


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"zipapp": zipapp}
