"""Those layers of an image that others lack, as files: read where the engine keeps them, or from `docker save`."""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ..docker.cli import DockerCli, DockerError
from ..docker.info import ask
from ..login import login_user
from .layers import MEBIBYTE, chain_ids, file_sha256, folder_problem, in_containerd, new_file, streamed

OCI_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")


def have_folder(path: Path) -> None:
    """Have a directory for files that root works on by name, and that others read by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink() and folder_problem(path):
        shutil.rmtree(path)
    path.mkdir(0o711, exist_ok=True)
    problem = folder_problem(path)
    if problem:
        raise OSError(problem)
    path.chmod(0o711)


def blocks_of(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(MEBIBYTE), b"")


def write(blocks: Iterable[bytes], dest: Path, compress: bool) -> tuple[str, int]:
    """Write a layer under a name that says it is not complete yet; returns the SHA-256 of what was read, and its bytes."""
    digest, size = hashlib.sha256(), 0
    with new_file(dest) as out:
        zstd = (
            streamed(["zstd", "-q", "-1", "-T0", "-c"], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE)
            if compress
            else None
        )
        target: Any = zstd.stdin if zstd else out
        try:
            for block in blocks:
                digest.update(block)
                size += len(block)
                target.write(block)
        except BrokenPipeError:
            pass
        if zstd:
            said = zstd.communicate()[1].decode(errors="replace")
            if zstd.returncode:
                full = "No space left" in said
                raise OSError(errno.ENOSPC if full else errno.EIO, os.strerror(errno.ENOSPC) if full else said.strip())
    return digest.hexdigest(), size


class Store:
    """Where an engine keeps its images, as the drivers overlay2 and fuse-overlayfs do.

    A layer lies there as its files, and as what was between them in its archive, by which the engine itself puts the same
    archive together again for C(docker save): https://github.com/vbatts/tar-split, in Docker since 1.8.
    """

    def __init__(self, root: Path, driver: str) -> None:
        self.images, self.layers = root / "image" / driver, root / driver

    def archive(self, chain: str) -> Iterator[bytes]:
        layer = self.images / "layerdb" / chain.replace(":", "/")
        files = os.fspath(self.layers / (layer / "cache-id").read_text() / "diff")
        with gzip.open(layer / "tar-split.json.gz") as pieces:
            for line in pieces:
                piece = json.loads(line)
                if piece["type"] == 2:
                    yield base64.b64decode(piece["payload"])
                elif piece.get("size"):
                    name = base64.b64decode(piece["name_raw"]) if "name_raw" in piece else piece["name"].encode()
                    with open(os.path.join(files, os.fsdecode(name.lstrip(b"/"))), "rb", buffering=0) as stream:
                        yield from blocks_of(stream)

    def save(self, id: str, wanted: dict[str, str], dest: Path, compress: bool) -> tuple[bytes, dict[str, int]]:
        """As the function save() does, by diff ID and chain ID. An OSError says that something is not there, or not as it is named."""
        part = dest / "layer.part"
        config = (self.images / "imagedb/content/sha256" / id).read_bytes()
        sizes: dict[str, int] = {}
        if hashlib.sha256(config).hexdigest() != id:
            raise OSError(f"{id} is kept in another way")
        for diff_id, chain in wanted.items():
            found, size = write(self.archive(chain), part, compress)
            if found != diff_id:
                raise OSError(f"{diff_id} is kept in another way")
            part.replace(dest / f"{diff_id}.tar{'.zst' if compress else ''}")
            sizes[diff_id] = size
        return config, sizes


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
                        write(blocks_of(stream), part, compress)
                        part.replace(dest / f"{name}.tar{suffix}")
                        sizes[name] = member.size
                    # The older layout names a layer by something else than its content, so each has to be read.
                    elif member.name.endswith("/layer.tar"):
                        found, _ = write(blocks_of(stream), part, False)
                        if found in wanted and compress:
                            plain = part.replace(dest / "layer.plain")
                            with plain.open("rb") as layer:
                                write(blocks_of(layer), part, True)
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


def save_whole(command: list[str], id: str, dest: Path, compress: bool) -> tuple[bytes, dict[str, int]]:
    """As save(), with one file for the image."""
    part = dest / "layer.part"
    with streamed(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        _, size = write(blocks_of(process.stdout), part, compress)
        said = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode:
        part.unlink(missing_ok=True)
        raise DockerError(f"docker save: {said}")
    part.replace(dest / f"{id}.tar{'.zst' if compress else ''}")
    return b"", {id: size}


def read(
    command: list[str], info: dict[str, Any], id: str, wanted: dict[str, str], dest: Path, compress: bool
) -> tuple[str, bytes, dict[str, int]]:
    """Where the layers, by diff ID and chain ID, were read, then what save() returns."""
    try:
        return "store", *Store(Path(info["DockerRootDir"]), info["Driver"]).save(id, wanted, dest, compress)
    except (OSError, ValueError, KeyError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
    return "docker save", *save(command, id, set(wanted), dest, compress)


def write_lacking(
    docker: DockerCli, program: str, ref: str, dest: Path, held: list[str], compress: bool, inline: int
) -> dict[str, Any]:
    """What the module image_save does, and returns. `program` is the path of the docker command."""
    image = json.loads(docker.run("image", "inspect", ref).stdout)[0]
    id = image["Id"].split(":")[1]
    info, silent = ask(docker)
    if silent:
        raise DockerError(silent)
    diff_ids = image["RootFS"].get("Layers") or []
    lacking = {
        diff_id.split(":")[1]: chain for diff_id, chain in zip(diff_ids, chain_ids(diff_ids)) if chain not in held
    }
    whole = in_containerd(info)
    wanted = {id: ""} if whole else lacking
    owner = login_user()
    have_folder(dest)
    record = dest / f"{id}.json"
    known: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {"config": "", "sizes": {}}
    suffix = ".tar.zst" if compress else ".tar"
    complete = {name for name in wanted if name in known["sizes"] and (dest / (name + suffix)).is_file()}
    source = "files"
    if set(wanted) - complete or not record.is_file():
        command = [program, "save", ref]
        if whole:
            source, (config, sizes) = "docker save", save_whole(command, id, dest, compress)
        else:
            source, config, sizes = read(command, info, id, wanted, dest, compress)
        known = {"config": base64.b64encode(config).decode(), "sizes": sizes}
        # Half of a record would stop every later run.
        with new_file(dest / "record.part") as part:
            part.write(json.dumps(known).encode())
        (dest / "record.part").replace(record)
    layers = []
    for name, chain in wanted.items():
        file = dest / (name + suffix)
        os.chown(file, owner, -1)
        layers.append(
            {
                "diff_id": f"sha256:{name}" if chain else "",
                "chain": chain,
                "file": file.name,
                "sha256": name if chain and not compress else file_sha256(file),
                "bytes": file.stat().st_size,
                "size": known["sizes"][name],
            }
        )
    bytes_ = sum(layer["bytes"] for layer in layers)
    returned = bytes_ <= inline
    if returned:
        for layer in layers:
            layer["content"] = base64.b64encode((dest / layer["file"]).read_bytes()).decode()
        shutil.rmtree(dest)
    return {
        "id": image["Id"],
        "config": known["config"],
        "diff_ids": diff_ids,
        "layers": layers,
        "source": source,
        "inline": returned,
        "bytes": bytes_,
        "size": sum(layer["size"] for layer in layers),
    }
