"""What a build context is named by, and how it is packed."""

import base64
import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.action import build_context as plugin


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
