"""Layers out of an engine's store, which is made here as an engine makes it. tests/image reads those of real engines."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from image_save import Store

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
