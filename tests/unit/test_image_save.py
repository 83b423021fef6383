"""Layers out of an engine's store, which is made here as an engine makes it. tests/image reads those of real engines."""

import base64
import errno
import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import IO, Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.image import save as image_saving
from ansible_collections.ddp.swarm.plugins.module_utils.image.layers import chain_ids, new_file
from ansible_collections.ddp.swarm.plugins.module_utils.image.save import Store
from ansible_collections.ddp.swarm.plugins.modules import image_save
from docker_stand_in import StandIn, run

CHAIN = "sha256:" + "c" * 64
CONFIG = b'{"architecture": "amd64"}'
ID = hashlib.sha256(CONFIG).hexdigest()
FILES = {"etc/motd": b"hello\n" * 1000, "etc/empty": b"", "gone/.wh.old": b"", "/odd/\udcff": b"bytes"}


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """A layer, with its files in the store and what is between them beside it."""
    whole, pieces, end = io.BytesIO(), [], 0
    files = tmp_path / "overlay2/cache/diff"
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.GNU_FORMAT) as layer:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            layer.addfile(info, io.BytesIO(content))
            if content:
                (files / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
                (files / name.lstrip("/")).write_bytes(content)
    bytes_ = whole.getvalue()
    with tarfile.open(fileobj=io.BytesIO(bytes_)) as layer:
        for info in layer:
            between: dict[str, Any] = {"type": 2, "payload": base64.b64encode(bytes_[end : info.offset_data]).decode()}
            raw = {"name_raw": base64.b64encode(info.name.encode(errors="surrogateescape")).decode()}
            named = raw if "\udcff" in info.name else {"name": info.name}
            pieces += [between, {"type": 1, "payload": "AAAA", **named, **({"size": info.size} if info.size else {})}]
            end = info.offset_data + info.size
    pieces.append({"type": 2, "payload": base64.b64encode(bytes_[end:]).decode()})
    layerdb = tmp_path / "image/overlay2/layerdb" / CHAIN.replace(":", "/")
    layerdb.mkdir(parents=True)
    (layerdb / "cache-id").write_text("cache")
    with gzip.open(layerdb / "tar-split.json.gz", "wt") as split:
        split.writelines(json.dumps(piece) + "\n" for piece in pieces)
    content = tmp_path / "image/overlay2/imagedb/content/sha256"
    content.mkdir(parents=True)
    (content / ID).write_bytes(CONFIG)
    return bytes_


def test_a_layer_is_put_together_as_it_was(archive: bytes, tmp_path: Path) -> None:
    name = hashlib.sha256(archive).hexdigest()
    config, sizes = Store(tmp_path, "overlay2").save(ID, {name: CHAIN}, tmp_path, compress=False)
    assert (config, sizes) == (CONFIG, {name: len(archive)})
    assert (tmp_path / f"{name}.tar").read_bytes() == archive


def test_what_is_kept_in_another_way_is_not_taken(archive: bytes, tmp_path: Path) -> None:
    name = hashlib.sha256(archive).hexdigest()
    with pytest.raises(OSError, match="No such file"):
        Store(tmp_path, "zfs").save(ID, {name: CHAIN}, tmp_path, compress=False)
    (tmp_path / "overlay2/cache/diff/etc/motd").write_bytes(b"HELLO\n" * 1000)
    with pytest.raises(OSError, match="kept in another way"):
        Store(tmp_path, "overlay2").save(ID, {name: CHAIN}, tmp_path, compress=False)
    assert not (tmp_path / f"{name}.tar").exists()


def test_a_configuration_that_is_not_the_images_is_not_taken(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "image/overlay2/imagedb/content/sha256" / ID).write_bytes(b"{}")
    with pytest.raises(OSError, match="kept in another way"):
        Store(tmp_path, "overlay2").save(ID, {hashlib.sha256(archive).hexdigest(): CHAIN}, tmp_path, compress=False)


# The module as a whole. Docker is a stand-in: its store is the one above, and `docker save` prints what it is told.

REF = "trainer:1"


class Source:
    """A host that has the image, of one layer, in its store."""

    def __init__(self, archive: bytes, root: Path, docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        self.archive, self.root, self.docker, self.capsys = archive, root, docker, capsys
        self.name = hashlib.sha256(archive).hexdigest()
        self.dest = root / "var" / "ship"
        layerdb = root / "image/overlay2/layerdb/sha256"
        (layerdb / CHAIN.split(":")[1]).rename(layerdb / self.name)
        self.answer()

    def answer(self, driver: str = "overlay2", **answers: Any) -> None:
        image = [{"Id": f"sha256:{ID}", "RootFS": {"Layers": [f"sha256:{self.name}"]}}]
        status = [["driver-type", "io.containerd.snapshotter.v1"]] if driver == "containerd" else []
        info = {"ServerVersion": "26.1.5", "DockerRootDir": str(self.root), "Driver": driver, "DriverStatus": status}
        usual = {"image inspect": json.dumps(image), "info": json.dumps(info)}
        self.docker.answer({**usual, **answers})

    def save(self, **params: Any) -> dict[str, Any]:
        return run(image_save, self.capsys, ref=REF, dest=str(self.dest), **params)


@pytest.fixture
def source(
    archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Source:
    return Source(archive, tmp_path, StandIn(tmp_path / "docker", monkeypatch), capsys)


def test_layers_become_files(source: Source) -> None:
    said = source.save()
    assert said["id"] == f"sha256:{ID}"
    assert base64.b64decode(said["config"]) == CONFIG
    assert (said["source"], said["inline"]) == ("store", False)
    assert said["layers"] == [
        {
            "diff_id": f"sha256:{source.name}",
            "chain": f"sha256:{source.name}",
            "file": f"{source.name}.tar",
            "sha256": source.name,
            "bytes": len(source.archive),
            "size": len(source.archive),
        }
    ]
    assert (source.dest / f"{source.name}.tar").read_bytes() == source.archive


def test_what_is_said_of_a_compressed_image(source: Source) -> None:
    said = source.save(compress=True)
    assert said["changed"] is True
    assert said["bytes"] == said["layers"][0]["bytes"] == (source.dest / f"{source.name}.tar.zst").stat().st_size
    assert said["size"] == len(source.archive) > said["bytes"]
    assert said["diff_ids"] == [f"sha256:{source.name}"]


def test_an_image_without_layers_has_none_to_save(source: Source) -> None:
    image = [{"Id": f"sha256:{ID}", "RootFS": {"Layers": None}}]
    source.answer(**{"image inspect": json.dumps(image)})
    said = source.save()
    assert (said["layers"], said["diff_ids"], said["bytes"], said["inline"]) == ([], [], 0, True)
    assert base64.b64decode(said["config"]) == CONFIG


def test_a_record_of_another_compression_is_not_believed(source: Source) -> None:
    source.save()
    assert source.save(compress=True)["source"] == "store"
    assert source.save(compress=True)["source"] == "files"


def test_without_a_record_its_files_are_not_believed(source: Source) -> None:
    source.save()
    (source.dest / f"{ID}.json").unlink()
    (source.dest / f"{source.name}.tar").write_bytes(b"half of it")
    assert source.save()["source"] == "store"
    assert (source.dest / f"{source.name}.tar").read_bytes() == source.archive


def test_nothing_is_saved_in_check_mode(source: Source) -> None:
    assert source.save(_ansible_check_mode=True)["skipped"] is True
    assert source.docker.calls() == []


def test_an_image_that_is_not_there(source: Source) -> None:
    source.answer(**{"image inspect": ("Error: No such image: trainer:1", 1)})
    said = source.save()
    assert said["msg"] == f"The image {REF} cannot be read: docker image inspect: Error: No such image: trainer:1."
    assert not source.dest.exists()


def test_layers_that_others_hold_are_left_out(source: Source) -> None:
    said = source.save(held=chain_ids([f"sha256:{source.name}"]))
    assert (said["layers"], said["bytes"]) == ([], 0)
    assert base64.b64decode(said["config"]) == CONFIG


def test_small_layers_are_returned(source: Source) -> None:
    said = source.save(inline=len(source.archive))
    assert base64.b64decode(said["layers"][0]["content"]) == source.archive
    assert said["inline"] is True
    assert not source.dest.exists()
    assert source.save(inline=len(source.archive) - 1)["inline"] is False


def test_compressed_layers_are_the_same(source: Source) -> None:
    (layer,) = source.save(compress=True)["layers"]
    packed = (source.dest / f"{source.name}.tar.zst").read_bytes()
    assert layer["file"] == f"{source.name}.tar.zst"
    assert (layer["sha256"], layer["bytes"]) == (hashlib.sha256(packed).hexdigest(), len(packed))
    assert layer["size"] == len(source.archive)
    assert subprocess.run(["zstd", "-dqc"], input=packed, capture_output=True, check=True).stdout == source.archive


def test_what_is_there_is_not_read_again(source: Source) -> None:
    first = source.save()
    assert source.save() == {**first, "source": "files"}


def test_a_record_without_its_file_is_not_believed(source: Source) -> None:
    source.save()
    (source.dest / f"{source.name}.tar").unlink()
    said = source.save()
    assert said["source"] == "store"
    assert (source.dest / f"{source.name}.tar").read_bytes() == source.archive


def test_half_of_a_record_is_none(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stop every later run."""

    def cut(path: Path) -> IO[bytes]:
        file = new_file(path)
        if path.name in ("record.part", f"{ID}.json"):
            file.write(b'{"config": "')
            file.close()
            return open("/dev/full", "wb")
        return file

    with monkeypatch.context() as interrupted:
        interrupted.setattr(image_saving, "new_file", cut)
        assert "no space left" in source.save()["msg"]
    assert not (source.dest / f"{ID}.json").exists()
    assert source.save()["source"] == "store"


def test_an_interrupted_file_is_none(source: Source) -> None:
    """What is not complete yet has another name."""
    source.save()
    (source.dest / f"{source.name}.tar").rename(source.dest / "layer.part")
    assert source.save()["source"] == "store"
    names = sorted(path.name for path in source.dest.iterdir())
    assert names == sorted([f"{ID}.json", f"{source.name}.tar"])


def test_a_layer_has_its_name_only_when_it_is_complete(source: Source) -> None:
    (source.root / "overlay2/cache/diff/etc/motd").write_bytes(b"HELLO\n" * 1000)
    source.answer(save=("", 1))
    assert "cannot be read: docker save" in source.save()["msg"]
    assert [path.name for path in source.dest.iterdir()] == []


def saved_by_docker(*layers: bytes) -> str:
    """In the layout of engines since 25."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for content in (CONFIG, *layers):
            info = tarfile.TarInfo(f"blobs/sha256/{hashlib.sha256(content).hexdigest()}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue().decode("latin-1")


def test_what_the_store_does_not_hold_docker_saves(source: Source, archive: bytes) -> None:
    source.answer("zfs", save=saved_by_docker(b"another layer"))
    assert "docker save: the archive is not complete" in source.save()["msg"]
    source.answer("zfs", save=saved_by_docker(b"another layer", archive))
    said = source.save()
    assert said["source"] == "docker save"
    assert (source.dest / f"{source.name}.tar").read_bytes() == archive


def test_an_image_in_containerd_is_one_file(source: Source) -> None:
    source.answer("containerd", save="all of it")
    said = source.save()
    assert (said["config"], said["source"]) == ("", "docker save")
    (layer,) = said["layers"]
    assert (layer["diff_id"], layer["chain"], layer["file"]) == ("", "", f"{ID}.tar")
    assert layer["sha256"] == hashlib.sha256(b"all of it").hexdigest()
    assert (source.dest / f"{ID}.tar").read_bytes() == b"all of it"


@pytest.mark.parametrize("full", ["the file system", "zstd"])
def test_a_full_disk(full: str, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """And then `docker save`, which takes more room, is not tried."""

    def no_room(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if full == "zstd":
        zstd = source.docker.place / "zstd"
        zstd.write_text(
            "#!/bin/sh\ncat >/dev/null; echo 'zstd: error 70 : Write error : No space left on device' >&2; exit 70\n"
        )
        zstd.chmod(0o755)
    else:
        monkeypatch.setattr(image_saving, "write", no_room)
    said = source.save(compress=full == "zstd")["msg"]
    assert said == f"{source.dest} has no space left: free some space there and run this again."
    assert source.docker.calls("save") == []


def modes(folder: Path) -> dict[str, str]:
    return {path.name: stat.filemode(path.lstat().st_mode) for path in [folder, *folder.iterdir()]}


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> int:
    """Somebody who logged in and became root."""
    monkeypatch.setenv("SUDO_UID", "1234")
    return 1234


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to somebody else")


@needs_root
def test_the_login_user_can_fetch_the_files_and_no_more(source: Source, login: int) -> None:
    source.save()
    file = source.dest / f"{source.name}.tar"
    assert modes(source.dest) == {"ship": "drwx--x--x", file.name: "-rw-------", f"{ID}.json": "-rw-------"}
    assert (file.stat().st_uid, source.dest.stat().st_uid) == (login, 0)


def test_nobody_else_reads_the_files(source: Source) -> None:
    source.save()
    assert modes(source.dest)[f"{source.name}.tar"] == "-rw-------"
    assert modes(source.dest)["ship"] == "drwx--x--x"


@pytest.mark.parametrize("kind", ["a link", "a link that leads nowhere", "a file"])
def test_a_directory_that_is_none(kind: str, source: Source, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    source.dest.parent.mkdir()
    if kind == "a link":
        elsewhere.mkdir(mode=0o700)
    if kind == "a file":
        source.dest.write_text("mine")
    else:
        source.dest.symlink_to(elsewhere)
    said = source.save()
    assert said["msg"].startswith(f"{source.dest} cannot take the image's layers (")
    assert kind == "a file" or not elsewhere.exists() or list(elsewhere.iterdir()) == []


@needs_root
@pytest.mark.parametrize("name", ["layer.part", "record.part", "{name}.tar", "{id}.json", "{name}.tar.zst"])
def test_nothing_is_written_through_the_links_of_somebody_else(name: str, source: Source, login: int) -> None:
    """Earlier versions gave the directory to the login user."""
    precious = source.root / "precious"
    precious.write_bytes(source.archive)
    precious.chmod(0o640)
    source.dest.mkdir(parents=True, mode=0o700)
    link = source.dest / name.format(name=source.name, id=ID)
    link.symlink_to(precious)
    record = {"config": "", "sizes": {source.name: 1}}
    if not name.endswith("json"):
        (source.dest / f"{ID}.json").write_text(json.dumps(record))
    os.chown(source.dest, login, login)
    before = precious.stat()
    said = source.save(compress=name.endswith("zst"))
    assert said["source"] == "store"
    assert base64.b64decode(said["config"]) == CONFIG
    assert precious.read_bytes() == source.archive
    after = precious.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert not [path for path in source.dest.iterdir() if path.is_symlink()]


def test_what_a_save_needs(source: Source) -> None:
    assert run(image_save, source.capsys)["msg"] == "missing required arguments: dest, ref"
    assert run(image_save, source.capsys, dest="/x")["msg"] == "missing required arguments: ref"
