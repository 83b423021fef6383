#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: those layers of an image that others lack, as files named by their content."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_save
short_description: Write those layers of an image that others lack
description:
  - Reads C(docker save) as it comes, and writes only the layers that are asked for, one file each, named by its content.
    Nothing else touches the disk but what the engine itself puts aside meanwhile, which is the size of the image.
  - A file that is there already is kept, so that an interrupted transfer goes on where it stopped.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  ref:
    description: The image, with its tag.
    type: str
    required: true
  dest:
    description: Directory to write to. It is made, for the login user alone, who can then fetch from it.
    type: path
    required: true
  held:
    description: Chain IDs that every receiver has, as C(image_state) tells. The layers under them are left out.
    type: list
    elements: str
    default: []
  compress:
    description: Compress with the command zstd (level 1), which every receiver then needs as well.
    type: bool
    default: false
notes:
  - Works with both layouts of C(docker save), that of engines before 25 and the OCI layout since.
"""

EXAMPLES = r"""
- name: Write what the others lack
  image_save:
    ref: my-ddp-trainer:0123456789ab
    dest: /var/lib/ddp-swarm/ship
    held: "{{ found.chains }}"
"""

RETURN = r"""
id:
  description: The image's ID.
  returned: success
  type: str
config:
  description: The image's configuration, in base64. Its SHA-256 is the image's ID.
  returned: success
  type: str
diff_ids:
  description: The diff IDs of all layers, lowest first.
  returned: success
  type: list
  elements: str
layers:
  description:
    - The layers that were written, each with C(diff_id), C(chain), C(file) (its name in O(dest)), C(sha256) and C(bytes) of the
      file, and C(size), its bytes before compression.
  returned: success
  type: list
  elements: dict
bytes:
  description: Bytes of all files together.
  returned: success
  type: int
size:
  description: The same before compression.
  returned: success
  type: int
"""

import base64
import errno
import hashlib
import json
import os
import pwd
import re
import subprocess
import tarfile
from pathlib import Path
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.docker_cli import DockerCli, DockerError
from ansible.module_utils.image_layers import MEBIBYTE, chain_ids, file_sha256, streamed

OCI_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")


def login_user() -> int:
    """Who logged in before becoming root: the one that a file transfer runs as."""
    environment = os.environ
    if environment.get("SUDO_UID"):
        return int(environment["SUDO_UID"])
    if environment.get("DOAS_USER"):
        return pwd.getpwnam(environment["DOAS_USER"]).pw_uid
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return os.getuid()
    return os.getuid() if uid == 2**32 - 1 else uid


def write(stream: IO[bytes], dest: Path, compress: bool) -> str:
    """Write a layer under a name that says it is not complete yet; returns the SHA-256 of what was read."""
    digest = hashlib.sha256()
    with dest.open("wb") as out:
        zstd = (
            streamed(["zstd", "-q", "-1", "-c"], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE)
            if compress
            else None
        )
        target: Any = zstd.stdin if zstd else out
        try:
            for block in iter(lambda: stream.read(MEBIBYTE), b""):
                digest.update(block)
                target.write(block)
        except BrokenPipeError:
            pass
        if zstd:
            said = zstd.communicate()[1].decode(errors="replace")
            if zstd.returncode:
                full = "No space left" in said
                raise OSError(errno.ENOSPC if full else errno.EIO, os.strerror(errno.ENOSPC) if full else said.strip())
    return digest.hexdigest()


def save(command: list[str], id: str, wanted: set[str], dest: Path, compress: bool) -> tuple[bytes, dict[str, int]]:
    """Returns the image's configuration, and the size of each wanted layer that was written, by diff ID."""
    suffix = ".zst" if compress else ""
    part = dest / "layer.part"
    config = b""
    sizes: dict[str, int] = {}
    with streamed(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=MEBIBYTE) as archive:
                for member in archive:
                    blob = OCI_BLOB.fullmatch(member.name)
                    name = blob.group(1) if blob else ""
                    stream = archive.extractfile(member) if member.isfile() else None
                    if not stream:
                        continue
                    if id in (name, member.name[: -len(".json")]):
                        config = stream.read()
                    elif name in wanted:
                        write(stream, part, compress)
                        part.replace(dest / f"{name}.tar{suffix}")
                        sizes[name] = member.size
                    # The older layout names a layer by something else than its content, so each has to be read.
                    elif member.name.endswith("/layer.tar"):
                        found = write(stream, part, False)
                        if found in wanted and compress:
                            plain = part.replace(dest / "layer.plain")
                            with plain.open("rb") as layer:
                                write(layer, part, True)
                            plain.unlink()
                        if found in wanted:
                            part.replace(dest / f"{found}.tar{suffix}")
                            sizes[found] = member.size
        except tarfile.ReadError:
            pass
        said = process.communicate()[1].decode(errors="replace").strip()
    part.unlink(missing_ok=True)
    if process.returncode or not config or wanted - set(sizes):
        raise DockerError(f"docker save: {said or 'the archive is not complete'}")
    return config, sizes


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "ref": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "held": {"type": "list", "elements": "str", "default": []},
            "compress": {"type": "bool", "default": False},
        },
        supports_check_mode=False,
    )
    ref, dest, compress = module.params["ref"], Path(module.params["dest"]), module.params["compress"]
    docker = DockerCli(module)
    os.umask(0o022)
    try:
        image = json.loads(docker.run("image", "inspect", ref).stdout)[0]
        diff_ids = image["RootFS"].get("Layers") or []
        chains = chain_ids(diff_ids)
        wanted = {
            diff_id.split(":")[1]: chain
            for diff_id, chain in zip(diff_ids, chains)
            if chain not in module.params["held"]
        }
        owner = login_user()
        dest.mkdir(parents=True, exist_ok=True)
        os.chmod(dest, 0o700)
        os.chown(dest, owner, -1)
        record = dest / f"{image['Id'].split(':')[1]}.json"
        known: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {"config": "", "sizes": {}}
        suffix = ".tar.zst" if compress else ".tar"
        complete = {name for name in wanted if name in known["sizes"] and (dest / (name + suffix)).is_file()}
        if set(wanted) - complete or not known["config"]:
            command = [str(module.get_bin_path("docker", required=True)), "save", ref]
            config, sizes = save(command, image["Id"].split(":")[1], set(wanted), dest, compress)
            known = {"config": base64.b64encode(config).decode(), "sizes": sizes}
            record.write_text(json.dumps(known))
        layers = []
        for name, chain in wanted.items():
            file = dest / (name + suffix)
            os.chown(file, owner, -1)
            layers.append(
                {
                    "diff_id": f"sha256:{name}",
                    "chain": chain,
                    "file": file.name,
                    "sha256": file_sha256(file) if compress else name,
                    "bytes": file.stat().st_size,
                    "size": known["sizes"][name],
                }
            )
    except DockerError as error:
        module.fail_json(msg=f"The image {ref} cannot be read: {error}.")
    except OSError as error:
        what = "has no space left" if error.errno == errno.ENOSPC else f"cannot take the image's layers ({error})"
        module.fail_json(msg=f"{dest} {what}: free some space there and run this again.")
    module.exit_json(
        changed=True,
        id=image["Id"],
        config=known["config"],
        diff_ids=diff_ids,
        layers=layers,
        bytes=sum(layer["bytes"] for layer in layers),
        size=sum(layer["size"] for layer in layers),
    )


if __name__ == "__main__":
    main()
