"""An archive for `docker load` of the layers that a host lacked, made of files that came from another host."""

from __future__ import annotations

import base64
import io
import json
import posixpath
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..docker.cli import DockerCli, DockerError
from ..docker.info import ask
from ..names import shown
from .layers import file_sha256, folder_problem, in_containerd, new_file, regular_file, streamed

# What tells an engine the names of the images in an archive: those of `docker save`, of the OCI layout, and of engines before 1.10.
NAMING = ("manifest.json", "index.json", "repositories")
IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
LARGEST_NAMING = 1 << 22
MEMBERS = 10_000


class Unfit(Exception):
    """The files cannot be used; the text is a sentence without its full stop."""


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


def load_image(docker: DockerCli, program: str, params: dict[str, Any], source: Path) -> None:
    """What the module image_load does with its `params`. `program` is the path of the docker command.

    The files lie in `source`, in which those that came with the task are put first. Raises Unfit, DockerError and OSError.
    """
    ref, layers, tags = params["ref"], params["layers"], params["tags"]
    problem = folder_problem(source)
    if problem:
        raise Unfit(f"The layers of {ref} are not safe there: {problem}. Remove it, and run this again")
    for layer in layers:
        path = source / layer["file"]
        if layer.get("content"):
            with new_file(path) as file:
                file.write(base64.b64decode(layer["content"]))
        if not arrived(path, layer["sha256"]):
            path.unlink(missing_ok=True)
            raise Unfit(
                f"A layer of {ref} did not arrive as it was sent ({layer['file']}, wrong checksum): run this again"
            )
    whole = next((layer["file"] for layer in layers if not layer["diff_id"]), "")
    if whole:
        check_whole(source / whole, [ref, *tags])
    info, silent = ask(docker)
    if silent:
        raise DockerError(silent)
    # Engines read layers in zstd themselves since 23, which saves copying what is unpacked from one process to the next.
    unpacked = in_containerd(info) or int(info["ServerVersion"].split(".")[0]) < 23
    load([program, "load", "--quiet"], params, source, whole, unpacked)
    for tag in tags if whole else []:
        docker.run("image", "tag", ref, tag)
    found = json.loads(docker.run("image", "inspect", ref).stdout)[0]
    same = found["Id"] == params["id"]
    if whole or in_containerd(info):
        same = found["RootFS"]["Layers"] == params["diff_ids"]
    if not same:
        raise DockerError(f"it became {found['Id']} instead of {params['id']}")
