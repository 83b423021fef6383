"""What a build context is named by, and how it is packed."""

import base64
import gzip
import io
import os
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.ddp.swarm.plugins.action import build_context as plugin
from by_path import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "training"
    (root / "data").mkdir(parents=True)
    for name, text in {"Dockerfile": "FROM base", "train.py": "print()", "data/big": "x" * 9000}.items():
        (root / name).write_text(text)
    (root / ".dockerignore").write_text("# not for the image\ndata\n")
    return root


def context(root: Path, **options: Any) -> dict[str, str]:
    """As the task gets it, without the task."""
    args, dest, inline = options.pop("args", {}), options.pop("dest", None), options.pop("inline", 0)
    files = plugin.context(**{"path": str(root), "add": {}, "fallback": [], "max_size": 0, **options})
    if dest:
        return {"archive": plugin.packed(files, Path(dest), inline)}
    return {"fingerprint": plugin.fingerprint(files, args)}


def test_named_by_content_alone(root: Path) -> None:
    name = context(root)["fingerprint"]
    os.utime(root / "train.py", (0, 0))
    (root / "data/big").write_text("ignored")
    assert context(root)["fingerprint"] == name
    assert context(root, args={"BASE": "other"})["fingerprint"] != name
    (root / "train.py").chmod(0o755)
    executable = context(root)["fingerprint"]
    (root / "train.py").write_text("print(1)")
    assert len({name, executable, context(root)["fingerprint"]}) == 3


def test_the_same_archive_returned_or_written(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "cache/context.tar"
    archive = gzip.decompress(base64.b64decode(context(root, dest=str(dest), inline=1000)["archive"]))
    assert not dest.parent.exists()
    os.utime(root / "train.py", (0, 0))
    assert context(root, dest=str(dest), inline=10)["archive"] == ""
    assert dest.read_bytes() == archive
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getnames() == [".dockerignore", "Dockerfile", "train.py"]


def test_the_cache_is_its_owners_alone(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "cache/ddp-swarm/trainer:1/context.tar"
    before = os.umask(0o022)
    try:
        context(root, dest=str(dest))
        assert dest.parent.stat().st_mode & 0o777 == 0o700
        # And where it was there already, with an archive or without.
        for keep in (True, False):
            dest.parent.chmod(0o755)
            if not keep:
                dest.unlink()
            context(root, dest=str(dest), inline=9 if keep else 0)
            assert dest.parent.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_an_archive_that_was_interrupted_is_written_anew(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "cache/context.tar"
    context(root, dest=str(dest))
    whole = dest.read_bytes()
    dest.rename(dest.with_name("context.tar.part"))
    context(root, dest=str(dest))
    assert dest.read_bytes() == whole
    assert [path.name for path in dest.parent.iterdir()] == ["context.tar"]
    # One that is there is whole, and is kept.
    dest.write_bytes(b"kept")
    context(root, dest=str(dest))
    assert dest.read_bytes() == b"kept"


def test_a_name_without_its_archive_is_never_seen(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dest = tmp_path / "cache/context.tar"

    def interrupted(files: Any, stream: Any) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(plugin, "write_archive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        context(root, dest=str(dest))
    assert not dest.exists()


def test_links_are_part_of_the_context_as_links(root: Path, tmp_path: Path) -> None:
    """Wherever they lead, and without what they lead to, as `docker build` sends them."""
    plain = context(root)["fingerprint"]
    for name, target in {"here": "train.py", "nowhere": "gone", "outside": "/etc/passwd", "folder": "data"}.items():
        (root / name).symlink_to(target)
    linked = context(root)["fingerprint"]
    (root / "nowhere").unlink()
    (root / "nowhere").symlink_to("elsewhere")
    assert len({plain, linked, context(root)["fingerprint"]}) == 3
    archive = gzip.decompress(base64.b64decode(context(root, dest=str(tmp_path / "x"), inline=10**6)["archive"]))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        links = {info.name: info.linkname for info in tar if info.issym()}
        assert links == {"here": "train.py", "nowhere": "elsewhere", "outside": "/etc/passwd", "folder": "data"}
        assert not [name for name in tar.getnames() if name.startswith("folder/")]


def test_what_cannot_be_built(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"There is no directory {tmp_path}/gone"):
        context(tmp_path / "gone")
    (root / ".dockerignore").unlink()
    with pytest.raises(
        ValueError, match=r"more than image_max_context_mb allows .* largest files are data/big \(0 MB\)"
    ):
        context(root, max_size=9000)
    (root / "Dockerfile").unlink()
    with pytest.raises(ValueError, match="There is no Dockerfile"):
        context(root)
    (tmp_path / "Dockerfile").write_text("FROM base")
    assert context(root, fallback=[str(tmp_path / "Dockerfile")])["fingerprint"]


def test_the_order_of_build_arguments_names_nothing(root: Path) -> None:
    both = [context(root, args=dict(order))["fingerprint"] for order in (("A1", "B2"), ("B2", "A1"))]
    assert both[0] == both[1]


def test_what_a_fingerprint_tells_apart(root: Path) -> None:
    names = [context(root)["fingerprint"]]
    (root / "train.py").rename(root / "main.py")
    names.append(context(root)["fingerprint"])
    (root / "empty").mkdir()
    names.append(context(root)["fingerprint"])
    (root / "empty").rmdir()
    (root / "empty").write_text("directory")
    names.append(context(root)["fingerprint"])
    (root / "empty").write_text("link main.py")
    names.append(context(root)["fingerprint"])
    (root / "empty").unlink()
    (root / "empty").symlink_to("main.py")
    names.append(context(root)["fingerprint"])
    assert len(set(names)) == len(names)


def files(root: Path, **options: Any) -> list[str]:
    return sorted(plugin.context(**{"path": str(root), "add": {}, "fallback": [], "max_size": 0, **options}))


def test_what_is_sent(root: Path) -> None:
    left = ("__pycache__/a.pyc", "sub/__pycache__/b.pyc", ".git/config", "sub/.ruff_cache/c")
    for name in (*left, "sub/code.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / "empty").mkdir()
    # With a .dockerignore, what that leaves out and nothing else.
    assert files(root) == sorted([".dockerignore", "Dockerfile", "empty", "sub/code.py", "train.py", *left])
    # Blanks around a name, empty lines, and comments between them.
    (root / "#data").write_text("x")
    (root / ".dockerignore").write_text("\n  sub  \n#data\n\nempty\n.git\n__pycache__")
    assert files(root) == ["#data", ".dockerignore", "Dockerfile", "data/big", "train.py"]
    (root / ".dockerignore").unlink()
    assert files(root) == ["#data", "Dockerfile", "data/big", "empty", "sub/code.py", "train.py"]


def test_the_trainer_is_sent_with_its_package(tmp_path: Path) -> None:
    """And without what Python leaves beside it, which is another on each machine."""
    copy = Path(shutil.copytree(ROOT / "training", tmp_path / "training", ignore=shutil.ignore_patterns("__pycache__")))
    names, name = files(copy), context(copy)["fingerprint"]
    assert {"training_code.py", "ddp_trainer/__init__.py", "ddp_trainer/ranks.py"} <= set(names)
    for folder in (copy, copy / "ddp_trainer"):
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__/ranks.cpython-311.pyc").write_bytes(b"x")
    assert (files(copy), context(copy)["fingerprint"]) == (names, name)


def test_what_is_added_and_what_stands_in(root: Path, tmp_path: Path) -> None:
    wheels, other = tmp_path / "wheels", tmp_path / "other"
    for path in (
        wheels / "b.whl",
        wheels / "a.whl",
        wheels / "folder/c.whl",
        other / "Dockerfile",
        other / "lock",
        other / "d.whl",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (wheels / "link.whl").symlink_to(other / "d.whl")
    found = plugin.context(
        str(root),
        {"wheels": str(wheels), "more": [str(other / "lock"), str(tmp_path / "gone")]},
        [str(other / "Dockerfile"), str(other / "lock")],
        0,
    )
    added = {"wheels/a.whl", "wheels/b.whl", "wheels/link.whl", "more/lock", "lock"}
    assert set(found) == {".dockerignore", "Dockerfile", "train.py"} | added
    # The directory's own comes before the one that stands in, and a link is sent as what it leads to.
    assert (found["Dockerfile"], found["lock"]) == (root / "Dockerfile", other / "lock")
    assert found["wheels/link.whl"] == (other / "d.whl").resolve()


@pytest.mark.parametrize(("room", "fits"), [(0, True), (1, False), (None, False), (-1, True)])
def test_a_directory_may_be_as_large_as_is_allowed(room: int | None, fits: bool, root: Path, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in (root / ".dockerignore", root / "Dockerfile", root / "train.py"))
    limit = {0: size, 1: size - 1, None: 1, -1: 0}[room]
    (tmp_path / "wheel").write_text("what is added does not count")
    if fits:
        assert "x/wheel" in files(root, max_size=limit, add={"x": [str(tmp_path / "wheel")]})
    else:
        with pytest.raises(ValueError, match="more than image_max_context_mb allows"):
            files(root, max_size=limit)


def test_the_five_largest_files_are_named(root: Path) -> None:
    (root / ".dockerignore").unlink()
    for number in range(1, 7):
        with (root / f"file{number}").open("wb") as stream:
            stream.truncate((number << 20) + 1)
    with pytest.raises(ValueError, match="holds 21 MB") as caught:
        files(root, max_size=(3 << 20) - 1)
    assert str(caught.value) == (
        f"The training directory {root} holds 21 MB, more than image_max_context_mb allows (2): data and snapshots do not belong into an "
        "image. The largest files are file6 (6 MB), file5 (5 MB), file4 (4 MB), file3 (3 MB), file2 (2 MB). Name them in "
        f"{root}/.dockerignore, or raise image_max_context_mb."
    )


def test_an_archive_says_nothing_of_who_made_it_and_when(root: Path, tmp_path: Path) -> None:
    (root / "run.sh").write_text("x")
    (root / "run.sh").chmod(0o700)
    (root / "train.py").chmod(0o667)
    (root / "empty").mkdir(mode=0o700)
    (root / "link").symlink_to("train.py")
    archive = gzip.decompress(base64.b64decode(context(root, dest=str(tmp_path / "x"), inline=10**6)["archive"]))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = list(tar)
        said = {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in members}
        assert said == {(0, 0, 0, "", "")}
        assert {info.name: f"{info.mode:o}" for info in members} == {
            ".dockerignore": "644", "Dockerfile": "644", "empty": "755", "link": "755", "run.sh": "755", "train.py": "644",
        }  # fmt: skip


def test_the_same_content_is_the_same_text(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = context(root, dest=str(tmp_path / "x"), inline=10**6)["archive"]
    monkeypatch.setattr("gzip.time", SimpleNamespace(time=lambda: 10**9))
    assert context(root, dest=str(tmp_path / "x"), inline=10**6)["archive"] == first


@pytest.mark.parametrize("spare", [0, -1])
def test_an_archive_is_returned_as_long_as_its_files_are_not_larger(spare: int, root: Path, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in (root / ".dockerignore", root / "Dockerfile", root / "train.py"))
    dest = tmp_path / "context.tar"
    assert (context(root, dest=str(dest), inline=size + spare)["archive"] == "") is (spare < 0)
    assert dest.exists() is (spare < 0)
    # One that is there is taken, however small.
    dest.write_bytes(b"kept")
    assert context(root, dest=str(dest), inline=size)["archive"] == ""


# The task.


def task(root: Path, check: bool = False, **args: Any) -> dict[str, Any]:
    given = {name: value for name, value in {"path": str(root), **args}.items() if value is not None}
    task = SimpleNamespace(args=given, async_val=0, check_mode=check)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
    return plugin.ActionModule(task, connection, None, None, None, None).run(task_vars={})


def test_a_task_names_a_context_or_packs_it(root: Path, tmp_path: Path) -> None:
    named = task(root, args={"BASE": "other"})
    assert (named["fingerprint"], named["changed"]) == (context(root, args={"BASE": "other"})["fingerprint"], False)
    assert "archive" not in named
    dest = str(tmp_path / "cache/context.tar")
    assert task(root, check=True, dest=dest)["archive"] == ""
    assert not (tmp_path / "cache").exists()
    assert task(root, dest=dest, inline=10**6) == {"changed": False, **context(root, dest=dest, inline=10**6)}
    assert task(root, dest=dest)["archive"] == ""
    assert Path(dest).exists()


def test_a_task_says_why_nothing_can_be_built(root: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert task(gone) == {"failed": True, "msg": f"There is no directory {gone}, so no image can be built from it."}
    assert task(root, add={"x": str(gone)})["msg"] == (
        f"The build context cannot be read: [Errno 2] No such file or directory: '{gone}'."
    )
    (root / ".dockerignore").write_text("data\n[a\n")
    assert task(root) == {
        "failed": True,
        "msg": f"{root}/.dockerignore cannot be read: '[a' is no pattern. Correct it, as docker build refuses it too.",
    }


def test_a_task_needs_a_directory_and_no_host(root: Path) -> None:
    with pytest.raises(AnsibleError, match="missing required arguments: path"):
        task(root, path=None)
    # Ansible asks, before it connects.
    assert plugin.ActionModule._requires_connection is False
