#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: an image made of the layers that were shipped and of those that the engine has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_load
short_description: Load an image from the layers that the host lacked
description:
  - Makes an archive for C(docker load) of the files that C(image_save) wrote, and lets the engine take the other layers from
    what it has. It does so for a layer whose chain ID it knows, whether or not the archive holds the layer (moby,
    image/tarexport/load.go).
  - What C(image_save) could only save as a whole is loaded with all files that are in it. First its manifest is read, and nothing is
    loaded if that names another image than O(ref) and O(tags), which would take the name of an image that the host has.
  - The files come from another host. Their names and their directory are checked, and no file is read or written through a link.
  - The engine recomputes the diff ID of every layer that it reads, and makes the image last. So there is the whole image,
    the same as at the source, or none.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  ref:
    description: The image, with the tag to give it.
    type: str
    required: true
  tags:
    description: Further names to give it.
    type: list
    elements: str
    default: []
  src:
    description: Directory with the files, to which nobody else may write. Needed unless C(image_save) returned them.
    type: path
  id:
    description: The image's ID at the source. Where one of the two engines keeps images in containerd, the ID becomes another, and the
      layers are compared instead.
    type: str
    required: true
  config:
    description: The image's configuration, in base64.
    type: str
    required: true
  diff_ids:
    description: The diff IDs of all layers.
    type: list
    elements: str
    required: true
  layers:
    description: The layers that were shipped, as C(image_save) returns them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Load the image
  image_load:
    ref: my-ddp-trainer:0123456789ab
    src: /var/lib/ddp-swarm
    id: "{{ saved.id }}"
    config: "{{ saved.config }}"
    diff_ids: "{{ saved.diff_ids }}"
    layers: "{{ saved.layers }}"
"""

RETURN = r""" # """

import base64
import io
import json
import posixpath
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.docker.info import ask
from ..module_utils.image_layers import (
    file_sha256,
    folder_problem,
    in_containerd,
    new_file,
    regular_file,
    saved_problem,
    streamed,
)
from ..module_utils.names import shown
from ..module_utils.reporting import ReportingModule

# What tells an engine the names of the images in an archive: those of `docker save`, of the OCI layout, and of engines before 1.10.
NAMING = ("manifest.json", "index.json", "repositories")
IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
LARGEST_NAMING = 1 << 22
MEMBERS = 10_000


class LoadModule(ReportingModule):  # type: ignore[misc,unused-ignore]
    """Keeps the layers themselves, in base64, out of the host's log and of the result."""

    logs = False

    def shown_params(self) -> dict[str, Any]:
        return {name: value for name, value in super().shown_params().items() if name not in ("layers", "config")}


def add(archive: tarfile.TarFile, name: str, size: int, stream: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    archive.addfile(info, stream)


@contextmanager
def opened(path: Path, unpacked: bool) -> Iterator[IO[bytes]]:
    with regular_file(path) as stream:
        if path.suffix != ".zst" or not unpacked:
            yield stream
            return
        with streamed(["zstd", "-q", "-d", "-c"], stdin=stream, stdout=subprocess.PIPE) as zstd:
            assert zstd.stdout
            yield zstd.stdout


def write_archive(stream: IO[bytes], params: dict[str, Any], source: Path, unpacked: bool) -> None:
    name = params["id"].split(":")[1]
    manifest: dict[str, Any] = {
        "Config": f"{name}.json",
        "RepoTags": [params["ref"], *params["tags"]],
        "Layers": [f"{diff_id.split(':')[1]}.tar" for diff_id in params["diff_ids"]],
    }
    config = base64.b64decode(params["config"])
    # A small buffer, since tarfile fills it with blocks of 16 KiB, and copies all of it for each.
    with tarfile.open(fileobj=stream, mode="w|", bufsize=1 << 16) as archive:
        add(archive, manifest["Config"], len(config), io.BytesIO(config))
        for layer in params["layers"]:
            with opened(source / layer["file"], unpacked) as content:
                size = int(layer["size"] if unpacked else layer["bytes"])
                add(archive, f"{layer['diff_id'].split(':')[1]}.tar", size, content)
        text = json.dumps([manifest]).encode()
        add(archive, "manifest.json", len(text), io.BytesIO(text))


def full_name(name: str) -> str:
    """As engines spell it out: my-image is docker.io/library/my-image:latest."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", name
    if first == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    return f"{first}/{rest}" + ("" if ":" in rest else ":latest")


def names_in(file: str, text: bytes) -> Iterator[tuple[str, str]]:
    """The images' names in one of NAMING, each with a word that an image of that name may be called instead."""
    told = json.loads(text)
    if file == "manifest.json":
        for image in checked(told, list):
            for name in checked(checked(image, dict).get("RepoTags") or [], list):
                yield checked(name, str), ""
    elif file == "repositories":
        for repository, tags in checked(told, dict).items():
            for tag in checked(tags, dict):
                yield f"{repository}:{tag}", ""
    else:
        for image in checked(checked(told, dict).get("manifests") or [], list):
            notes = checked(checked(image, dict).get("annotations") or {}, dict)
            name, tag = (checked(notes.get(key, ""), str) for key in (IMAGE_NAME, REF_NAME))
            if name:
                yield name, ""
            if tag:
                yield tag, full_name(name).rpartition(":")[2] if name else ""


def checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{shown(value)} is no {kind.__name__}")
    return value


def members_of(archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The files of a whole image, by the names under which an engine unpacks them."""
    known: set[str] = set()
    for number, member in enumerate(archive):
        name = posixpath.normpath(f"/{member.name}").lstrip("/")
        if number == MEMBERS:
            raise DockerError(f"the archive holds more than {MEMBERS} files")
        if not member.isfile() and not member.isdir():
            raise DockerError(f"the archive holds {shown(name)}, which is neither a file nor a directory")
        if member.isdir():
            continue
        if name in known:
            raise DockerError(f"the archive holds {name if name in NAMING else shown(name)} twice")
        known.add(name)
        yield name, member


def check_whole(path: Path, wanted: list[str]) -> None:
    """Refuse an archive that would give a name to more than the image that is wanted: the name of another image of this host."""
    allowed, found = {full_name(name) for name in wanted}, set()
    with opened(path, unpacked=True) as content, whole_archive(content) as archive:
        for file, member in members_of(archive):
            if file not in NAMING:
                continue
            found.add(file)
            stream = archive.extractfile(member)
            if member.size > LARGEST_NAMING or not stream:
                raise DockerError(f"its {file} is larger than {LARGEST_NAMING} bytes")
            try:
                names = list(names_in(file, stream.read()))
            except (ValueError, TypeError, RecursionError) as error:
                raise DockerError(f"its {file} is not as docker writes it ({type(error).__name__})") from error
            for name, short in names:
                if name != short and full_name(name) not in allowed:
                    raise DockerError(f"its {file} names {shown(name)}, which was not asked for")
    if not found & {"manifest.json", "index.json"}:
        raise DockerError("the archive holds neither manifest.json nor index.json")


@contextmanager
def whole_archive(content: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """Uncompressed, so that what an engine would unpack first is not taken for an archive."""
    try:
        with tarfile.open(fileobj=content, mode="r|", bufsize=1 << 16) as archive:
            yield archive
    except tarfile.TarError as error:
        raise DockerError(f"the archive cannot be read ({error})") from error


def write_whole(stream: IO[bytes], path: Path) -> None:
    """The files that check_whole() has seen, in an archive of our own: engines may read the other one in another way."""
    with (
        opened(path, True) as content,
        whole_archive(content) as archive,
        tarfile.open(fileobj=stream, mode="w|") as own,
    ):
        for name, member in members_of(archive):
            file = archive.extractfile(member)
            assert file
            add(own, name, member.size, file)


def load(command: list[str], params: dict[str, Any], source: Path, whole: str, unpacked: bool) -> None:
    with streamed(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin
        try:
            if whole:
                write_whole(process.stdin, source / whole)
            else:
                write_archive(process.stdin, params, source, unpacked)
        except BrokenPipeError:
            pass  # docker gave up, and says why below
        said = process.communicate()[0].decode(errors="replace").strip()
    if process.returncode:
        raise DockerError(said.splitlines()[-1] if said else f"docker load: exit code {process.returncode}")


def arrived(path: Path, sha256: str) -> bool:
    try:
        return bool(file_sha256(path) == sha256)
    except FileNotFoundError:
        return False


def have(module: ReportingModule, source: Path) -> None:
    """Make the image of the files in a directory, in which those that came with the task are put first."""
    ref, docker = module.params["ref"], DockerCli(module)
    problem = saved_problem(module.params)
    if problem:
        module.fail_json(msg=f"What the image {ref} shall be made of does not serve: {problem}.")
    try:
        problem = folder_problem(source)
        if problem:
            module.fail_json(msg=f"The layers of {ref} are not safe there: {problem}. Remove it, and run this again.")
        for layer in module.params["layers"]:
            path = source / layer["file"]
            if layer.get("content"):
                with new_file(path) as file:
                    file.write(base64.b64decode(layer["content"]))
            if not arrived(path, layer["sha256"]):
                path.unlink(missing_ok=True)
                module.fail_json(
                    msg=f"A layer of {ref} did not arrive as it was sent ({layer['file']}, wrong checksum): run this again."
                )
        whole = next((layer["file"] for layer in module.params["layers"] if not layer["diff_id"]), "")
        if whole:
            check_whole(source / whole, [ref, *module.params["tags"]])
        info, silent = ask(docker)
        if silent:
            raise DockerError(silent)
        # Engines read layers in zstd themselves since 23, which saves copying what is unpacked from one process to the next.
        unpacked = in_containerd(info) or int(info["ServerVersion"].split(".")[0]) < 23
        command = [str(module.get_bin_path("docker", required=True)), "load", "--quiet"]
        load(command, module.params, source, whole, unpacked)
        for tag in module.params["tags"] if whole else []:
            docker.run("image", "tag", ref, tag)
        found = json.loads(docker.run("image", "inspect", ref).stdout)[0]
        same = found["Id"] == module.params["id"]
        if whole or in_containerd(info):
            same = found["RootFS"]["Layers"] == module.params["diff_ids"]
        if not same:
            raise DockerError(f"it became {found['Id']} instead of {module.params['id']}")
    except (DockerError, OSError) as error:
        if "no space left" in str(error).lower():
            module.fail_json(
                msg=f"The disk that docker keeps its images on is full: free some space and run this again ({error})."
            )
        module.fail_json(msg=f"The image {ref} could not be loaded: {error}. Run this again.")
    module.exit_json(changed=True)


def main() -> None:
    module = LoadModule(
        argument_spec={
            "ref": {"type": "str", "required": True},
            "tags": {"type": "list", "elements": "str", "default": []},
            "src": {"type": "path"},
            "id": {"type": "str", "required": True},
            "config": {"type": "str", "required": True},
            "diff_ids": {"type": "list", "elements": "str", "required": True},
            "layers": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=False,
    )
    with tempfile.TemporaryDirectory() as own:
        have(module, Path(module.params["src"] or own))


if __name__ == "__main__":
    main()
