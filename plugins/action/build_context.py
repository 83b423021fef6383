"""Packs a Docker build context reproducibly and names it by its content, on the controller.

Arguments:
- `path`: the directory to build from, read as `docker build` would, by its `.dockerignore`. One without such a file is sent without what
  Python, git and test tools leave behind, which is another on each machine. It holds a Dockerfile, or `fallback` does.
- `add`: further directories or lists of files, by the name of the folder in the context to put them in.
- `fallback`: files to put into the context where the directory has none of the same name.
- `args`: the build arguments. They are part of the fingerprint.
- `max_size`: bytes that the files in `path` may take together; 0, the default, allows any.
- `dest`: where to write the context as a tar archive whose bytes depend on the content only. Its directory is made if need be, for its owner
  alone, and an archive that is there is kept. Without it nothing is packed.
- `inline`: where the files take no more bytes than this (default 0), the archive is returned instead of written.

Without `dest` returns `fingerprint` (SHA-256 of names, execute bits, bytes and build arguments, in hexadecimal), which is the same on
every machine and at every time; with it `archive` (gzip, in base64), empty where a file was written, and in check mode.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import IO, Any

from ansible.plugins.action import ActionBase

from ..module_utils.dockerignore import BadPattern, Ignored, patterns_of

WITHOUT_A_FILE = "**/__pycache__\n**/.git\n**/.*_cache\n"


def context_files(root: Path) -> dict[str, Path]:
    """Every file that `docker build` would send, by its name in the context."""
    file = root / ".dockerignore"
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else WITHOUT_A_FILE
        return {name: root / name for name in Ignored(patterns_of(text)).kept(root)}
    except (BadPattern, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}. Correct it, as docker build refuses it too.") from error


def added_files(add: dict[str, Any]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder, source in add.items():
        paths = [Path(p) for p in source] if isinstance(source, list) else sorted(Path(source).iterdir())
        files.update({f"{folder}/{path.name}": path.resolve() for path in paths if path.is_file()})
    return files


def context(path: str, add: dict[str, Any], fallback: list[str], max_size: int) -> dict[str, Path]:
    """All its files, by their names in it. A ValueError says why no image can be built from it."""
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"There is no directory {root}, so no image can be built from it.")
    own = context_files(root)
    missing = {Path(p).name: Path(p) for p in fallback if not (root / Path(p).name).is_file()}
    files = {**own, **missing, **added_files(add)}
    if "Dockerfile" not in files:
        raise ValueError(f"There is no Dockerfile in {root}, so no image can be built from it.")
    sizes = sorted(((file.lstat().st_size, name) for name, file in own.items()), reverse=True)
    size = sum(count for count, _ in sizes)
    if 0 < max_size < size:
        raise ValueError(
            f"The training directory {root} holds {size >> 20} MB, more than image_max_context_mb allows "
            f"({max_size >> 20}): data and snapshots do not belong into an image. The largest files are "
            + ", ".join(f"{name} ({count >> 20} MB)" for count, name in sizes[:5])
            + f". Name them in {root}/.dockerignore, or raise image_max_context_mb."
        )
    return files


def fingerprint(files: dict[str, Path], args: dict[str, Any]) -> str:
    total = hashlib.sha256(json.dumps(args, sort_keys=True).encode())
    for name in sorted(files):
        path = files[name]
        if path.is_symlink():
            content = f"link {path.readlink()}"
        elif path.is_dir():
            content = "directory"
        else:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{name}\0{int(os.access(path, os.X_OK))}\0{content}\n".encode())
    return total.hexdigest()


def write_archive(files: dict[str, Path], stream: IO[bytes]) -> None:
    """The same files give the same bytes: sorted, no times, no owners."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime = 0
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.isdir() or info.issym() or info.mode & 0o100 else 0o644
        return info

    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            archive.add(files[name], arcname=name, recursive=False, filter=plain)


def packed(files: dict[str, Path], dest: Path, inline: int) -> str:
    """The archive, in base64, or nothing, and then it is in `dest`."""
    if not dest.exists() and sum(path.lstat().st_size for path in files.values()) <= inline:
        memory = io.BytesIO()
        write_archive(files, memory)
        return base64.b64encode(gzip.compress(memory.getvalue(), mtime=0)).decode()
    dest.parent.mkdir(parents=True, exist_ok=True)
    dest.parent.chmod(0o700)
    if not dest.exists():
        part = dest.with_name(dest.name + ".part")
        with part.open("wb") as stream:
            write_archive(files, stream)
        part.replace(dest)
    return ""


class ActionModule(ActionBase):  # type: ignore[misc,unused-ignore]
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "path": {"type": "path", "required": True},
                "add": {"type": "dict", "default": {}},
                "fallback": {"type": "list", "elements": "path", "default": []},
                "args": {"type": "dict", "default": {}},
                "max_size": {"type": "int", "default": 0},
                "dest": {"type": "path"},
                "inline": {"type": "int", "default": 0},
            }
        )
        args, dest, inline = (arguments.pop(name) for name in ("args", "dest", "inline"))
        try:
            files = context(**arguments)
            if not dest:
                found = {"fingerprint": fingerprint(files, args)}
            else:
                found = {"archive": "" if self._task.check_mode else packed(files, Path(dest), inline)}
            return {**result, "changed": False, **found}
        except OSError as error:
            problem = f"The build context cannot be read: {error}."
        except ValueError as error:
            problem = str(error)
        return {**result, "failed": True, "msg": problem}
