"""What a build context is named by, and how it is packed."""

import base64
import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from by_path import load

plugin = load("roles/image/action_plugins/build_context.py")


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
