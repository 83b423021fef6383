"""What the image modules share: names of content, and files that nobody else can put a link in the place of."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.image.layers import (
    chain_ids,
    file_sha256,
    folder_problem,
    in_containerd,
    is_digest,
    new_file,
    regular_file,
    saved_problem,
    streamed,
)

DIGEST = "sha256:" + "0" * 64


def sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_a_chain_id_is_of_a_layer_and_all_below_it() -> None:
    second = sha256("sha256:a sha256:b")
    assert chain_ids([]) == []
    assert chain_ids(["sha256:a", "sha256:b", "sha256:c"]) == ["sha256:a", second, sha256(f"{second} sha256:c")]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, False),
        ({"DriverStatus": None}, False),
        ({"DriverStatus": [["Backing Filesystem", "extfs"]]}, False),
        ({"DriverStatus": [["a", "b"], ["driver-type", "io.containerd.snapshotter.v1"]]}, True),
    ],
)
def test_an_engine_that_keeps_images_in_containerd(info: dict[str, Any], expected: bool) -> None:
    assert in_containerd(info) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (DIGEST, True), ("sha256:" + "0123456789abcdef" * 4, True), (DIGEST[:-1], False), (DIGEST + "0", False), (DIGEST + "\n", False),
        ("sha256:" + "A" * 64, False), ("0" * 64, False), ("x" + DIGEST, False), (None, False), (1, False),
    ],
)  # fmt: skip
def test_a_digest(value: Any, expected: bool) -> None:
    assert is_digest(value) is expected


LAYER = {"diff_id": DIGEST, "chain": DIGEST, "file": "0" * 64 + ".tar", "sha256": "0" * 64, "bytes": 0, "size": 0}


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({}, ""),
        ({"diff_id": "", "chain": ""}, ""),
        ({"content": "bGF5ZXI="}, ""),
        ({"bytes": 1, "size": 10**12}, ""),
        (
            {"file": "x"},
            "a layer's file is 'x', which is not the name of a layer: 64 hexadecimal digits and .tar or .tar.zst",
        ),
        ({"diff_id": "x"}, "it speaks of 'x', which is no SHA-256 digest"),
        ({"chain": "x"}, "it speaks of 'x', which is no SHA-256 digest"),
        ({"sha256": "x"}, "it speaks of 'sha256:x', which is no SHA-256 digest"),
        ({"sha256": ""}, "it speaks of 'sha256:', which is no SHA-256 digest"),
        ({"bytes": -1}, "it speaks of -1 bytes"),
        ({"size": -1}, "it speaks of -1 bytes"),
        ({"bytes": 1.5}, "it speaks of 1.5 bytes"),
        ({"bytes": False}, "it speaks of False bytes"),
        (
            {"content": "no base64!"},
            "it is not shaped as what image_save returns (Error: 'Only base64 data is allowed')",
        ),
        ({"content": 1}, "it is not shaped as what image_save returns (TypeError: "),
    ],
)
def test_a_layer_that_was_saved(layer: dict[str, Any], said: str) -> None:
    # Looked at after one that is right.
    problem = saved_problem({"id": DIGEST, "config": "", "diff_ids": [], "layers": [LAYER, {**LAYER, **layer}]})
    assert problem == said or (said.endswith(": ") and problem.startswith(said))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "x"}, "it speaks of 'x', which is no SHA-256 digest"),
        ({"diff_ids": [DIGEST, "y"]}, "it speaks of 'y', which is no SHA-256 digest"),
        ({"config": "%"}, "it is not shaped as what image_save returns ("),
        ({"config": None}, "it is not shaped as what image_save returns (TypeError"),
        ({"layers": [{}]}, "it is not shaped as what image_save returns (KeyError"),
        ({"layers": None}, "it is not shaped as what image_save returns (TypeError"),
    ],
)
def test_an_image_that_was_saved(change: dict[str, Any], said: str) -> None:
    saved = {"id": DIGEST, "config": "", "diff_ids": [DIGEST], "layers": [LAYER]}
    assert saved_problem(saved) == ""
    assert saved_problem({**saved, **change}).startswith(said)


@pytest.mark.parametrize(
    ("mode", "safe"), [(0o700, True), (0o755, True), (0o770, False), (0o702, False), (0o777, False)]
)
def test_a_directory_in_which_others_may_write_is_a_problem(mode: int, safe: bool, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    assert folder_problem(tmp_path) == ("" if safe else f"others may write to {tmp_path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to somebody else")
def test_a_directory_of_somebody_else_is_a_problem(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, -1)
    assert folder_problem(tmp_path) == f"others may write to {tmp_path}"


def test_a_link_to_a_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("x")
    assert folder_problem(tmp_path / "link") == f"{tmp_path}/link is not a directory"
    assert folder_problem(tmp_path / "file") == f"{tmp_path}/file is not a directory"
    with pytest.raises(FileNotFoundError):
        folder_problem(tmp_path / "gone")


@pytest.mark.parametrize("there", ["nothing", "a file", "a link", "another name of a file"])
def test_a_new_file_is_for_its_owner_alone_and_takes_the_place_of_what_is_there(there: str, tmp_path: Path) -> None:
    file, precious = tmp_path / "file", tmp_path / "precious"
    precious.write_text("mine")
    if there == "a file":
        file.write_text("a longer text that was there")
        file.chmod(0o666)
    if there == "a link":
        file.symlink_to(precious)
    if there == "another name of a file":
        file.hardlink_to(precious)
    before = os.umask(0)
    try:
        with new_file(file) as stream:
            stream.write(b"new")
    finally:
        os.umask(before)
    assert file.read_bytes() == b"new"
    assert (file.is_symlink(), file.stat().st_mode & 0o777, precious.read_text()) == (False, 0o600, "mine")


def test_what_comes_into_the_place_of_a_new_file_meanwhile_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    monkeypatch.setattr(Path, "unlink", lambda _path, missing_ok: None)
    for name in ("link", "precious"):
        with pytest.raises(FileExistsError):
            new_file(tmp_path / name)
    assert (tmp_path / "precious").read_text() == "mine"


def test_only_a_regular_file_is_read_and_nothing_is_waited_for(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_bytes(b"content")
    link.symlink_to(file)
    os.mkfifo(pipe)
    with regular_file(file) as stream:
        assert stream.read() == b"content"
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        regular_file(link)
    opened = os.listdir("/proc/self/fd")
    # The error holds on to all that it came through.
    with pytest.raises(OSError, match=f"{pipe} is no regular file") as caught:
        regular_file(pipe)
    assert (caught.value.errno, os.listdir("/proc/self/fd")) == (None, opened)
    with pytest.raises(FileNotFoundError):
        regular_file(tmp_path / "gone")


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_the_checksum_of_a_whole_file(size: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"x" * size).hexdigest()


def test_a_process_is_read_as_it_comes() -> None:
    with streamed(["echo", "said"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"said\n"
