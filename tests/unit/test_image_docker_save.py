"""What `docker save` prints, in both of its layouts, becomes one file for each layer. `cat` prints it here."""

import base64
import errno
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.image import save as image_save
from ansible_collections.ddp.swarm.plugins.module_utils.image.save import (
    Store,
    have_folder,
    read,
    save,
    save_whole,
    write,
)

CONFIG = b'{"architecture": "amd64"}'
LAYERS = [b"lower layer", b"upper layer"]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


ID, NAMES = sha256(CONFIG), [sha256(layer) for layer in LAYERS]


def saved(layout: str, path: Path, config: bool = True) -> list[str]:
    """The command that prints an archive of the layers, with what else an engine puts into it."""
    with tarfile.open(path, "w") as archive:

        def add(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            archive.addfile(info, io.BytesIO(content))

        if layout == "oci":
            add("blobs/sha256", kind=tarfile.DIRTYPE)
            for content in [*LAYERS, b"something else", *([CONFIG] if config else [])]:
                add(f"blobs/sha256/{sha256(content)}", content)
            add("index.json", b"{}")
        else:
            for number, content in enumerate(LAYERS):
                add(f"{number:064}", kind=tarfile.DIRTYPE)
                add(f"{number:064}/VERSION", b"1.0")
                add(f"{number:064}/layer.tar", content)
            # Another that is not wanted, and one that is a link to it.
            add("9/layer.tar", b"not wanted")
            add("8/layer.tar", kind=tarfile.SYMTYPE)
            if config:
                add(f"{ID}.json", CONFIG)
        add("manifest.json", b"[]")
    return ["cat", str(path)]


def unpacked(path: Path) -> bytes:
    if path.suffix != ".zst":
        return path.read_bytes()
    return subprocess.run(["zstd", "-dqc", str(path)], capture_output=True, check=True).stdout


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    (tmp_path / "dest").mkdir()
    return tmp_path / "dest"


@pytest.mark.parametrize("layout", ["oci", "before 25"])
@pytest.mark.parametrize("compress", [False, True])
def test_wanted_layers_become_files(layout: str, compress: bool, dest: Path, tmp_path: Path) -> None:
    config, sizes = save(saved(layout, tmp_path / "saved"), ID, {NAMES[1]}, dest, compress)
    assert (config, sizes) == (CONFIG, {NAMES[1]: len(LAYERS[1])})
    assert [path.name for path in dest.iterdir()] == [f"{NAMES[1]}.tar{'.zst' if compress else ''}"]
    assert unpacked(next(dest.iterdir())) == LAYERS[1]


@pytest.mark.parametrize("layout", ["oci", "before 25"])
def test_all_of_them_may_be_wanted_or_none(layout: str, dest: Path, tmp_path: Path) -> None:
    command = saved(layout, tmp_path / "saved")
    assert save(command, ID, set(), dest, False) == (CONFIG, {})
    assert list(dest.iterdir()) == []
    assert save(command, ID, set(NAMES), dest, False)[1] == dict(zip(NAMES, map(len, LAYERS), strict=True))


@pytest.mark.parametrize("why", ["cut", "no archive", "no configuration", "a layer is missing", "it failed", "silent"])
def test_what_is_not_complete_is_not_taken(why: str, dest: Path, tmp_path: Path) -> None:
    archive = tmp_path / "saved"
    command, wanted = saved("oci", archive, config=why != "no configuration"), {NAMES[1]}
    if why == "cut":
        archive.write_bytes(archive.read_bytes()[:1000])
    if why == "no archive":
        archive.write_bytes(b"x")
    if why == "a layer is missing":
        wanted = {"0" * 64}
    if why == "it failed":
        command = ["sh", "-c", f"cat {archive}; echo ' no such image ' >&2; exit 1"]
    if why == "silent":
        command = ["sh", "-c", f"cat {archive}; exit 1"]
    with pytest.raises(DockerError) as caught:
        save(command, ID, wanted, dest, False)
    assert (
        str(caught.value) == f"docker save: {'no such image' if why == 'it failed' else 'the archive is not complete'}"
    )
    assert not (dest / "layer.part").exists()


@pytest.mark.parametrize("compress", [False, True])
def test_a_whole_image_becomes_one_file(compress: bool, dest: Path) -> None:
    assert save_whole(["echo", "all"], ID, dest, compress) == (b"", {ID: 4})
    assert [path.name for path in dest.iterdir()] == [f"{ID}.tar{'.zst' if compress else ''}"]
    assert unpacked(next(dest.iterdir())) == b"all\n"


def test_half_of_an_image_is_no_file(dest: Path) -> None:
    with pytest.raises(DockerError, match="^docker save: gone$"):
        save_whole(["sh", "-c", "echo half; echo ' gone ' >&2; exit 1"], ID, dest, False)
    assert list(dest.iterdir()) == []


# The store.


def store(root: Path, chain: str = "sha256:" + "c" * 64) -> tuple[dict[str, Any], dict[str, str]]:
    """An engine's store with the upper layer in it, as one piece; what the engine says of it, and what is wanted."""
    layerdb = root / "image/overlay2/layerdb" / chain.replace(":", "/")
    content = root / "image/overlay2/imagedb/content/sha256"
    layerdb.mkdir(parents=True)
    content.mkdir(parents=True)
    (content / ID).write_bytes(CONFIG)
    (layerdb / "cache-id").write_text("cache")
    piece = {"type": 2, "payload": base64.b64encode(LAYERS[1]).decode()}
    (layerdb / "tar-split.json.gz").write_bytes(gzip.compress(json.dumps(piece).encode(), mtime=0))
    return {"DockerRootDir": str(root), "Driver": "overlay2"}, {NAMES[1]: chain}


def test_what_the_store_holds_is_read_there(dest: Path, tmp_path: Path) -> None:
    info, wanted = store(tmp_path)
    assert read(["false"], info, ID, wanted, dest, True) == ("store", CONFIG, {NAMES[1]: len(LAYERS[1])})
    assert unpacked(dest / f"{NAMES[1]}.tar.zst") == LAYERS[1]


@pytest.mark.parametrize(
    "damage",
    ["no driver", "no layer", "no gzip", "cut", "bad gzip", "no JSON", "no payload", "no base64", "another layer"],
)
def test_what_the_store_does_not_hold_is_asked_of_docker(damage: str, dest: Path, tmp_path: Path) -> None:
    info, wanted = store(tmp_path)
    (split,) = tmp_path.rglob("tar-split.json.gz")
    whole = split.read_bytes()
    pieces = {
        "no JSON": b"x",
        "no payload": b'{"type": 2}',
        "no base64": b'{"type": 2, "payload": "x"}',
        "another layer": b'{"type": 2, "payload": ""}',
    }
    if damage == "no driver":
        del info["Driver"]
    elif damage == "no layer":
        split.unlink()
    elif damage == "no gzip":
        split.write_bytes(b"x" * 100)
    elif damage == "cut":
        split.write_bytes(whole[:-12])
    elif damage == "bad gzip":
        split.write_bytes(whole[:10] + b"\xff" * 20 + whole[30:])
    else:
        split.write_bytes(gzip.compress(pieces[damage]))
    command = saved("oci", tmp_path / "saved")
    assert read(command, info, ID, wanted, dest, False) == ("docker save", CONFIG, {NAMES[1]: len(LAYERS[1])})
    assert [path.name for path in dest.iterdir()] == [f"{NAMES[1]}.tar"]


def test_a_full_disk_is_not_tried_again(dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, wanted = store(tmp_path)

    def refuse(code: int) -> None:
        def archive(self: Store, chain: str) -> Any:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Store, "archive", archive)

    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        read(saved("oci", tmp_path / "saved"), info, ID, wanted, dest, False)
    refuse(errno.EIO)
    assert read(saved("oci", tmp_path / "saved"), info, ID, wanted, dest, False)[0] == "docker save"


# Files and their directory.


@pytest.mark.parametrize(
    ("said", "number", "text"),
    [
        ("zstd: error 70 : No space left on device", errno.ENOSPC, "No space left on device"),
        (" zstd: out of memory ", errno.EIO, "zstd: out of memory"),
    ],
)
def test_zstd_that_gives_up_is_told(
    said: str, number: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not as a pipe that broke, which it did."""
    (tmp_path / "zstd").write_text(f"#!/bin/sh\nexec <&-; echo '{said}' >&2; exit 70\n")
    (tmp_path / "zstd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OSError, match=text) as caught:
        write([bytes(1 << 20)] * 3, tmp_path / "out", compress=True)
    assert (caught.value.errno, caught.value.strerror) == (number, text)


def test_what_is_written_is_counted_before_it_is_packed(tmp_path: Path) -> None:
    assert write([b"ab", b"c"], tmp_path / "out", compress=True) == (sha256(b"abc"), 3)
    assert write([], tmp_path / "out", compress=False) == (sha256(b""), 0)
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_directory_is_made_for_files_that_others_read_by_name(mask: int, tmp_path: Path) -> None:
    folder = tmp_path / "a/b/c"
    before = os.umask(mask)
    try:
        have_folder(folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o711
    (folder / "kept").write_text("x")
    folder.chmod(0o700)
    have_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o711
    assert (folder / "kept").exists()
    # One in which others could write is made anew.
    folder.chmod(0o777)
    have_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o711
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["a link", "a file"])
def test_a_directory_that_is_none_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o777)
    if kind == "a link":
        (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "folder").write_text("mine")
    with pytest.raises(OSError, match="is not a directory|File exists"):
        have_folder(tmp_path / "folder")
    assert (tmp_path / "elsewhere").is_dir()


def test_blocks_end_where_the_stream_ends() -> None:
    assert list(image_save.blocks_of(io.BytesIO(bytes((1 << 20) + 1)))) == [bytes(1 << 20), bytes(1)]
