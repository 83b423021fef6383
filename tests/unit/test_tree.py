"""Directories that a hostile container has filled, and one that changes while it is read."""

import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.results import tree
from ansible_collections.ddp.swarm.plugins.module_utils.results.tree import (
    FOLDER,
    Tree,
    lay_out,
)
from ansible_collections.ddp.swarm.plugins.modules.training_results import DOCUMENTATION
from trees import all_is_closed, put  # noqa: F401


def named(root: Path, *patterns: str) -> list[str]:
    with Tree(root) as found:
        return [file.name for file in found.files(list(patterns))]


def left_out(root: Path, *patterns: str) -> dict[str, str]:
    with Tree(root) as found:
        assert not list(found.files(list(patterns)))
        return {entry["name"]: entry["why"] for entry in found.left_out}


def test_patterns_match_as_a_shell_does(root: Path) -> None:
    put(root, "a.pt", "b.pt", "deep/a.pt", "deep/er/c.txt", ".hidden", "deep/.hidden")
    assert named(root, "*.pt") == ["a.pt", "b.pt"]
    assert named(root, "deep") == ["deep/.hidden", "deep/a.pt", "deep/er/c.txt"]
    assert named(root, "*/*.pt") == ["deep/a.pt"]
    assert named(root, "*") == ["a.pt", "b.pt", "deep/.hidden", "deep/a.pt", "deep/er/c.txt"]
    assert named(root, ".hidden", "[ab].pt", "a.pt") == [".hidden", "a.pt", "b.pt"]
    assert named(root, "a.pt", "*.pt") == ["a.pt", "b.pt"]
    assert named(root, "../outside/*", "..", "/etc/passwd", "missing", "") == []


def test_caches_are_no_results(root: Path) -> None:
    """Not even where they are asked for, and nothing is said of what is in them."""
    put(root, "a.pt", ".ddp-caches/HF_HOME/token", ".ddp-caches/blob", "deep/.ddp-caches/b.pt", ".hidden/c")
    os.mkfifo(root / ".ddp-caches" / "pipe")
    (root / ".ddp-caches" / ("d/" * 40)).mkdir(parents=True)
    os.link(root / "a.pt", root / "b.pt")
    assert named(root, ".ddp-caches", ".ddp-caches/*", ".d*/*/*") == []
    with Tree(root) as found:
        files = [file.name for file in found.files(["*", ".*"])]
        assert files == ["a.pt", "b.pt", "deep/.ddp-caches/b.pt", ".hidden/c"]
        assert not [file.name for file in found.all() if file.name.startswith(".ddp-caches")]
        assert found.left_out == []


CONTROL = "its name holds control characters"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a.pt", ""),
        (".a", ""),
        ("...", ""),
        ("a b\u00e9", ""),
        ("n" * 255, ""),
        ("n" * 256, "its name is longer than 255 bytes"),
        ("\u00e9" * 127 + "n", ""),
        ("\u00e9" * 128, "its name is longer than 255 bytes"),
        ("", "it is no file name"),
        (".", "it is no file name"),
        ("..", "it is no file name"),
        ("a/b", "it is no file name"),
        ("a\0b", "it is no file name"),
        ("a\nb", CONTROL),
        ("a\tb", CONTROL),
        ("a\x1b[2Jb", CONTROL),
        ("\udcff", "its name is not UTF-8"),
    ],
    ids=ascii,
)
def test_what_one_part_of_a_name_can_be(name: str, why: str) -> None:
    assert tree.unfit(name) == why


def test_what_is_no_file_is_named_by_its_kind() -> None:
    kinds = [
        tree.kind(mode | 0o644) for mode in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
    ]
    assert kinds == ["a symbolic link", "a pipe", "a socket", "a device", "a device"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"a\nb", "control characters"),
        (b"a\tb", "control characters"),
        (b"\x1b[2J", "control characters"),
        ("\x9b31m".encode(), "control characters"),
        ("\u202etxt".encode(), "control characters"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_names_that_no_terminal_and_no_list_can_hold_are_left_out(root: Path, name: bytes, why: str) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_text("x")
    ((shown, reason),) = left_out(root, "*").items()
    assert why in reason
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path, outside: path.symlink_to(outside / "key"), "a symbolic link"),
        (lambda path, outside: path.symlink_to(outside), "a symbolic link"),
        (lambda path, outside: path.symlink_to("a.pt"), "a symbolic link"),
        (lambda path, outside: os.mkfifo(path), "a pipe"),
        (lambda path, outside: os.mknod(path, stat.S_IFSOCK | 0o644), "a socket"),
        (lambda path, outside: path.hardlink_to(outside / "key"), "another name outside"),
    ],
)
def test_only_regular_files_of_the_directory_are_taken(
    root: Path, make: Callable[[Path, Path], None], why: str
) -> None:
    make(root / "thing", root.parent / "outside")
    ((name, reason),) = left_out(root, "thing").items()
    assert (name, why in reason) == ("thing", True), reason
    assert left_out(root, "thing/key", "thing/*") in ({}, {"thing": reason})


def test_a_file_with_two_names_in_the_directory_is_taken(root: Path) -> None:
    put(root, "last.pt", "deep/x")
    (root / "deep" / "best.pt").hardlink_to(root / "last.pt")
    assert named(root, "last.pt", "deep") == ["last.pt", "deep/best.pt", "deep/x"]
    (root.parent / "outside" / "third").hardlink_to(root / "last.pt")
    assert named(root, "last.pt", "deep") == ["deep/x"]


def test_depth_is_bounded(root: Path) -> None:
    last = "/".join(["d"] * 32)
    put(root, f"{last}/d/too deep", f"{last}/e", f"{last}/f", "g")
    with Tree(root) as found:
        assert [file.name for file in found.files(["d", "g"])] == [f"{last}/e", f"{last}/f", "g"]
        assert found.left_out == [{"name": f"{last}/d", "why": "it lies more than 32 directories deep"}]
        assert [file.name for file in found.all()][30:34] == ["/".join(["d"] * depth) for depth in range(31, 34)] + [
            f"{last}/e"
        ]


def test_number_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, *(f"f{number}" for number in range(4)), "g0")
    for limit, names, why in (
        (3, ["f0", "f1", "f2"], [{"name": "f*", "why": "there are more than 3 files"}]),
        (4, ["f0", "f1", "f2", "f3"], [{"name": "g0", "why": "there are more than 4 files"}]),
        (5, ["f0", "f1", "f2", "f3", "g0"], []),
    ):
        monkeypatch.setattr(tree, "FILES", limit)
        with Tree(root) as found:
            assert [file.name for file in found.files(["f*", "g0", "f*"])] == names
            assert found.left_out == why


def test_the_bounds_are_those_of_the_documentation() -> None:
    assert f"At most {tree.FILES} files are laid out, from at most {tree.DEPTH} directories deep." in DOCUMENTATION


def test_names_that_are_left_out_are_bounded(root: Path) -> None:
    for number in range(3000):
        os.mkfifo(root / f"{number:04}")
    began = time.monotonic()
    with Tree(root) as found:
        assert list(found.files(["*"])) == []
    assert time.monotonic() - began < 2
    assert [entry["name"] for entry in found.left_out[:-1]] == [f"{number:04}" for number in range(tree.LEFT_OUT)]
    assert found.left_out[-1] == {"name": "others", "why": f"more than {tree.LEFT_OUT} are left out"}


def test_a_very_deep_directory_is_said_and_no_fault(root: Path) -> None:
    """Deeper than Python calls itself. What has a name down there may as well have it outside."""
    put(root, "a", "b", "z")
    (root / "b2").hardlink_to(root / "b")
    folder = os.open(root, FOLDER)
    for _ in range(1500):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", FOLDER, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.link(root / "a", "deep", dst_dir_fd=folder)
    os.close(folder)
    with Tree(root) as found:
        assert [file.name for file in found.files(["a", "b", "z"])] == ["b", "z"]
        told = {entry["name"]: entry["why"] for entry in found.left_out}
    assert told["/".join(["d"] * (tree.DEPTH + 1))] == f"it lies more than {tree.DEPTH} directories deep"
    assert "hard link" in told["a"]
    subprocess.run(["rm", "-rf", root / "d"], check=True)


def test_what_is_left_out_is_told_once(root: Path) -> None:
    (root / "link").symlink_to("a")
    (root / "pipe").symlink_to("b")
    with Tree(root) as found:
        assert list(found.files(["link", "*", "link"])) == []
        assert [entry["name"] for entry in found.left_out] == ["link", "pipe"]


def test_what_is_gone_meanwhile_is_passed_by(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer renames its snapshots while they are collected."""
    put(root, "a", "z")
    (root / "b").hardlink_to(root / "a")
    (root / "dangling").symlink_to("nowhere")
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: ["0gone", *listdir(folder)])
    with Tree(root) as found:
        assert [file.name for file in found.files(["*"])] == ["a", "b", "z"]
        assert found.left_out == [{"name": "dangling", "why": "it is a symbolic link"}]
    monkeypatch.undo()


def test_a_tree_is_a_directory(root: Path) -> None:
    put(root, "file")
    with pytest.raises(NotADirectoryError):
        Tree(root / "file")


def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere(root: Path) -> None:
    put(root, "a/1", "b/2")
    with Tree(root) as found:
        files = found.files(["*"])
        assert next(files).name == "a/1"
        (root / "b" / "2").unlink()
        (root / "b").rmdir()
        (root / "b").symlink_to(root.parent / "outside")
        assert list(files) == []
        assert found.left_out == [{"name": "b", "why": "it is a symbolic link"}]


def test_a_file_is_what_it_was_when_it_was_looked_at(root: Path) -> None:
    """Its name may lead elsewhere a moment later: what is linked and copied is the file, not what the name leads to."""
    put(root, "public", "private")
    (root / "private").chmod(0o600)
    stage = root.parent / "stage"
    stage.mkdir()

    class Swapping(Tree):
        def files(self, patterns):  # type: ignore[no-untyped-def]
            for file in super().files(patterns):
                (root / file.name).unlink()
                (root / file.name).symlink_to(root.parent / "outside" / "key")
                yield file

    with Swapping(root) as found:
        descriptor = os.open(stage, FOLDER)
        laid = lay_out(found, ["p*"], descriptor, os.getuid())
    os.close(descriptor)
    assert [(entry["name"], entry["public"]) for entry in laid] == [("private", False), ("public", True)]
    assert [(stage / entry["file"]).read_text() for entry in laid] == ["private", "public"]
    assert stat.S_IMODE((stage / "00000").stat().st_mode) == 0o600
