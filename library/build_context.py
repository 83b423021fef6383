#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: a Docker build context as one reproducible archive, named by its content."""

from __future__ import annotations

DOCUMENTATION = r"""
module: build_context
short_description: Pack a Docker build context reproducibly and name it by its content
description:
  - Reads a directory as C(docker build) would, honouring its C(.dockerignore), together with further directories,
    and returns a fingerprint of the content that is the same on every machine and at every time.
  - With O(dest), writes the context as a tar archive whose bytes depend on the content only.
  - Runs on the controller. Needs the Python package C(docker) there, for the rules of C(.dockerignore).
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  path:
    description: The directory to build from. It holds a C(Dockerfile), or O(fallback) does.
    type: path
    required: true
  add:
    description: Further directories or lists of files, by the name of the folder in the context to put them in.
    type: dict
    default: {}
  fallback:
    description: Files to put into the context, beside the directory's own, where the directory has none of the same name.
    type: list
    elements: path
    default: []
  max_size:
    description: Bytes that the files in O(path) may take together. 0 allows any.
    type: int
    default: 0
  args:
    description: Build arguments. They are part of the fingerprint.
    type: dict
    default: {}
  dest:
    description: Where to write the archive, in a directory that is made if need be. Without it nothing is written.
    type: path
requirements: ["docker (Python package)"]
"""

EXAMPLES = r"""
- name: Name the training image by its content
  build_context:
    path: training
    args: {BASE_IMAGE: "python:3.11-slim-bookworm"}
  delegate_to: localhost
  register: context
"""

RETURN = r"""
fingerprint:
  description: SHA-256 of the content (names, execute bits, bytes) and of the build arguments, in hexadecimal.
  returned: always
  type: str
size:
  description: Bytes of the files in O(path) together.
  returned: always
  type: int
files:
  description: Number of files in O(path).
  returned: always
  type: int
largest:
  description: The five largest of them, each with C(path) and C(size) in bytes.
  returned: always
  type: list
  elements: dict
"""

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ALWAYS_LEFT_OUT = ["**/__pycache__", "**/.git", "**/.*_cache"]


def context_files(root: Path, ignored: list[str]) -> dict[str, Path]:
    """Every file that C(docker build) would send, by its name in the context."""
    from docker.utils.build import exclude_paths

    names = exclude_paths(str(root), [*ignored, *ALWAYS_LEFT_OUT], dockerfile="Dockerfile")
    return {name: root / name for name in names if is_sent(root / name)}


def is_sent(path: Path) -> bool:
    """A file, a symbolic link wherever it leads, or a directory that no file in it would bring along."""
    return path.is_symlink() or path.is_file() or (path.is_dir() and not any(path.iterdir()))


def read_ignored(root: Path) -> list[str]:
    file = root / ".dockerignore"
    lines = file.read_text().splitlines() if file.is_file() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def added_files(add: dict[str, Any]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder, source in add.items():
        paths = [Path(p) for p in source] if isinstance(source, list) else sorted(Path(source).iterdir())
        files.update({f"{folder}/{path.name}": path.resolve() for path in paths if path.is_file()})
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


def write_archive(files: dict[str, Path], dest: Path) -> None:
    """The same files give the same bytes: sorted, no times, no owners."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime = 0
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.isdir() or info.issym() or info.mode & 0o100 else 0o644
        return info

    part = dest.with_name(dest.name + ".part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            archive.add(files[name], arcname=name, recursive=False, filter=plain)
    part.replace(dest)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "add": {"type": "dict", "default": {}},
            "fallback": {"type": "list", "elements": "path", "default": []},
            "max_size": {"type": "int", "default": 0},
            "args": {"type": "dict", "default": {}},
            "dest": {"type": "path"},
        },
        supports_check_mode=True,
    )
    root = Path(module.params["path"])
    if not root.is_dir():
        module.fail_json(msg=f"There is no directory {root}, so no image can be built from it.")
    missing = {Path(p).name: Path(p) for p in module.params["fallback"] if not (root / Path(p).name).is_file()}
    try:
        own = context_files(root, read_ignored(root))
        files = {**own, **missing, **added_files(module.params["add"])}
    except ImportError:
        module.fail_json(msg="The Python package 'docker' is missing on the controller: pip install docker.")
    except OSError as error:
        module.fail_json(msg=f"The build context cannot be read: {error}.")
    if "Dockerfile" not in files:
        module.fail_json(msg=f"There is no Dockerfile in {root}, so no image can be built from it.")
    name = fingerprint(files, module.params["args"])
    sizes = sorted(((path.lstat().st_size, key) for key, path in own.items()), reverse=True)
    size = sum(count for count, _ in sizes)
    if 0 < module.params["max_size"] < size:
        module.fail_json(
            msg=f"The training directory {root} holds {size >> 20} MB, more than image_max_context_mb allows "
            f"({module.params['max_size'] >> 20}): data and snapshots do not belong into an image. The largest files are "
            + ", ".join(f"{key} ({count >> 20} MB)" for count, key in sizes[:5])
            + f". Name them in {root}/.dockerignore, or raise image_max_context_mb."
        )
    changed = False
    dest = Path(module.params["dest"]) if module.params["dest"] else None
    if dest and not dest.exists():
        changed = True
        if not module.check_mode:
            dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_archive(files, dest)
    module.exit_json(
        changed=changed,
        fingerprint=name,
        size=size,
        files=len(own),
        largest=[{"path": key, "size": count} for count, key in sizes[:5]],
    )


if __name__ == "__main__":
    main()
