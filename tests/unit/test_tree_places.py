"""Where files of a hostile directory get their place: laid out, set aside, packed, and written on the controller."""

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.results.tree import (
    FOLDER,
    Tree,
    folder_in,
    lay_out,
    pack,
    place,
    set_aside,
    tail,
)
from trees import all_is_closed, put  # noqa: F401


def laid_out(root: Path, *patterns: str) -> list[dict[str, Any]]:
    (root.parent / "stage").mkdir()
    descriptor = os.open(root.parent / "stage", FOLDER)
    try:
        with Tree(root) as found:
            return lay_out(found, list(patterns), descriptor, os.getuid())
    finally:
        os.close(descriptor)


def test_a_name_outside_that_comes_up_meanwhile_is_seen(root: Path) -> None:
    """The names that files are given here are not taken for somebody else's, nor somebody else's for ours."""
    put(root, "a")
    (root / "b").hardlink_to(root / "a")
    (root.parent / "stage").mkdir()

    class Linking(Tree):
        def files(self, patterns):  # type: ignore[no-untyped-def]
            for file in super().files(patterns):
                yield file
                (root.parent / "outside" / "new").hardlink_to(root / "a")

    descriptor = os.open(root.parent / "stage", FOLDER)
    with Linking(root) as found:
        assert [entry["name"] for entry in lay_out(found, ["*"], descriptor, os.getuid())] == ["a"]
        assert [entry["name"] for entry in found.left_out] == ["b"]
    os.close(descriptor)


def test_files_without_content_are_not_laid_out(root: Path) -> None:
    put(root, "a", "c")
    (root / "b").write_text("")
    assert [(entry["name"], entry["file"]) for entry in laid_out(root, "*")] == [("a", "00000"), ("c", "00001")]


@pytest.mark.parametrize("reason", ["private", "another file system"])
def test_what_cannot_be_linked_is_copied(root: Path, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to what nobody else may read would let its reader write to it, or would not help him."""
    content = os.urandom(3 << 20)
    (root / "a").write_bytes(content)
    if reason == "private":
        (root / "a").chmod(0o600)
    else:
        monkeypatch.setattr(os, "link", lambda *_, **__: os.stat("/nowhere"))
    (entry,) = laid_out(root, "a")
    assert entry == {"name": "a", "file": "00000", "public": reason != "private", "size": len(content)}
    copy = root.parent / "stage" / "00000"
    assert copy.read_bytes() == content
    assert not copy.samefile(root / "a")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


@pytest.mark.parametrize("link", [True, False])
def test_nothing_is_laid_out_over_what_is_there(root: Path, link: bool) -> None:
    put(root, "a")
    (root / "a").chmod(0o600)
    stage, key = root.parent / "stage", root.parent / "outside" / "key"
    stage.mkdir()
    (stage / "00000").symlink_to(key) if link else (stage / "00000").hardlink_to(key)
    descriptor = os.open(stage, FOLDER)
    with Tree(root) as found, pytest.raises(FileExistsError):
        lay_out(found, ["a"], descriptor, os.getuid())
    os.close(descriptor)
    assert key.read_text() == "S3CR3T"


def test_what_others_may_read_takes_no_second_place(root: Path) -> None:
    put(root, "snapshot.pt")
    (root / "best.pt").hardlink_to(root / "snapshot.pt")
    (root.parent / "stage").mkdir()
    descriptor = os.open(root.parent / "stage", FOLDER)
    with Tree(root) as found:
        laid = lay_out(found, ["snapshot.pt", "best.pt"], descriptor, os.getuid())
        assert found.left_out == []
    os.close(descriptor)
    assert [entry["name"] for entry in laid] == ["snapshot.pt", "best.pt"]
    for entry in laid:
        assert (root.parent / "stage" / entry["file"]).samefile(root / "snapshot.pt")


def test_the_tail_of_a_link_is_nothing(root: Path) -> None:
    put(root, "metrics.jsonl")
    with Tree(root) as found:
        assert tail(found, "metrics.jsonl", 5) == b"jsonl"
        assert tail(found, "metrics.jsonl", 500) == b"metrics.jsonl"
        (root / "metrics.jsonl").unlink()
        (root / "metrics.jsonl").symlink_to(root.parent / "outside" / "key")
        assert tail(found, "metrics.jsonl", 500) == b""


def aside(root: Path, run: str, *keep: str) -> str:
    descriptor = os.open(root, FOLDER)
    try:
        return set_aside(descriptor, run, list(keep))
    finally:
        os.close(descriptor)


def test_results_are_set_aside_and_none_is_lost(root: Path) -> None:
    put(root, "snapshot.pt", "deep/file", "kept")
    assert aside(root, "run", "kept") == "runs/run"
    put(root, "snapshot.pt")
    assert aside(root, "run", "kept") == "runs/run.1"
    assert aside(root, "run", "kept") == ""
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert files == ["kept", "runs/run.1/snapshot.pt", "runs/run/deep/file", "runs/run/snapshot.pt"]


@pytest.mark.parametrize("what", ["link", "file"])
def test_runs_that_is_no_directory_is_in_the_way(root: Path, what: str) -> None:
    put(root, "snapshot.pt")
    if what == "link":
        (root / "runs").symlink_to(root.parent / "outside")
    else:
        (root / "runs").write_text("")
    with pytest.raises(OSError, match=r"(?i)not a directory|symbolic links"):
        aside(root, "run")
    assert (root / "snapshot.pt").is_file()
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["key"]


def test_a_run_that_is_a_link_is_passed_by(root: Path) -> None:
    put(root, "snapshot.pt", "runs/old/file")
    (root / "runs" / "run").symlink_to(root.parent / "outside")
    assert aside(root, "run") == "runs/run.1"
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["key"]


def test_an_archive_holds_links_as_links_and_nothing_special(root: Path) -> None:
    put(root, "a.pt", "deep/b\nc", "deep/\udcff")
    (root / "link").symlink_to(root.parent / "outside" / "key")
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "hard").hardlink_to(root.parent / "outside" / "key")
    os.mkfifo(root / "pipe")
    (root / "a.pt").chmod(0o640)
    (root / "deep").chmod(0o750)
    os.utime(root / "a.pt", (1.5e9, 1.5e9))
    stream = io.BytesIO()
    with Tree(root) as found:
        pack(found, stream)
        assert {entry["name"] for entry in found.left_out} == {"pipe", "hard"}
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        members = {member.name: member for member in archive}
        assert set(members) == {".", "a.pt", "deep", "deep/b\nc", "deep/\udcff", "link", "folder"}
        assert members["link"].issym()
        assert members["folder"].linkname == str(root.parent / "outside")
        assert members["deep"].isdir()
        assert (members["a.pt"].mode, members["deep"].mode, members["a.pt"].mtime) == (0o640, 0o750, 1.5e9)
        for name, member in members.items():
            status = (root / name).lstat()
            assert (member.uid, member.gid, member.mtime) == (status.st_uid, status.st_gid, status.st_mtime), name
        content = archive.extractfile("a.pt")
        assert content
        assert content.read() == b"a.pt"
    assert b"S3CR3T" not in stream.getvalue()


def test_a_file_that_becomes_shorter_does_not_spoil_an_archive(root: Path) -> None:
    put(root, "a", "z")

    class Shrinking(Tree):
        def all(self):  # type: ignore[no-untyped-def]
            for file in super().all():
                if file.name == "a":
                    (root / "a").write_text("")
                yield file

    (root / "a").write_text("x" * 5000)
    stream = io.BytesIO()
    with Shrinking(root) as found:
        pack(found, stream)
        assert "shorter" in found.left_out[0]["why"]
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        assert [(member.name, member.size) for member in archive] == [(".", 0), ("a", 5000), ("z", 1)]


HOSTILE = ["../x", "/etc/x", "a\0b", "..", "a/../../x", "", "a//b", "a/./b", "a\nb", "a/\x1b[2J", "\udcff", "n" * 256]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_has_no_place(root: Path, name: str) -> None:
    source = root.parent / "source"
    source.write_text("x")
    descriptor = os.open(root, FOLDER)
    with pytest.raises(ValueError, match="name"):
        place(descriptor, name, source, 0o644)
    os.close(descriptor)
    assert source.exists()
    assert list(root.iterdir()) == []


def test_a_place_is_never_behind_a_link(root: Path) -> None:
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "file").symlink_to(root.parent / "outside" / "key")
    descriptor = os.open(root, FOLDER)
    source = root.parent / "source"
    source.write_text("x")
    with pytest.raises(OSError, match=r"(?i)not a directory|symbolic links"):
        place(descriptor, "folder/new", source, 0o644)
    place(descriptor, "file", source, 0o600)
    os.close(descriptor)
    assert (root.parent / "outside" / "key").read_text() == "S3CR3T"
    assert not (root / "file").is_symlink()
    assert stat.S_IMODE((root / "file").stat().st_mode) == 0o600


def test_a_file_gets_its_place_and_its_mode(root: Path) -> None:
    source = root.parent / "source"
    source.write_text("x")
    descriptor = os.open(root, FOLDER)
    place(descriptor, "a/b/c", source, 0o640)
    os.close(descriptor)
    assert not source.exists()
    assert [str(path.relative_to(root)) for path in sorted(root.rglob("*"))] == ["a", "a/b", "a/b/c"]
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o755, 0o640]


@pytest.mark.parametrize("when", ["before", "at once"])
def test_a_folder_that_is_a_link_is_none(root: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def swapped(name: str, mode: int, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        (root / name).rmdir()
        (root / name).symlink_to(root.parent / "outside")

    if when == "before":
        (root / "runs").symlink_to(root.parent / "outside")
    else:
        monkeypatch.setattr(os, "mkdir", swapped)
    descriptor = os.open(root, FOLDER)
    with pytest.raises(OSError, match=r"(?i)not a directory|symbolic links"):
        folder_in(descriptor, "runs")
    os.close(descriptor)


def test_a_folder_that_is_made_belongs_to_its_parents_owner(root: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory to another user")
    os.chown(root, 1000, 1000)
    descriptor = os.open(root, FOLDER)
    os.close(folder_in(descriptor, "runs"))
    os.close(descriptor)
    assert ((root / "runs").stat().st_uid, (root / "runs").stat().st_gid) == (1000, 1000)
