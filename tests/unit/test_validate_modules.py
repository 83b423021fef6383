"""ansible-test's own check of the modules' documentation and arguments, on the tree of a collection that holds them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ansible_test
import pytest

ROOT = Path(__file__).resolve().parents[2]
VALIDATE = Path(ansible_test.__file__).parent / "_util/controller/sanity/validate-modules/validate.py"
COLLECTION = Path("ansible_collections/ddp/swarm")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("collections")
    plugins = tree / COLLECTION / "plugins"
    for source, target in (
        ("library", "modules"),
        ("module_utils", "module_utils"),
        ("plugins/doc_fragments", "doc_fragments"),
    ):
        shutil.copytree(ROOT / source, plugins / target, ignore=shutil.ignore_patterns("__pycache__"))
    (plugins.parent / "meta").mkdir()
    (plugins.parent / "meta" / "runtime.yml").write_text("requires_ansible: '>=2.19'\n")
    (plugins.parent / "galaxy.yml").write_text("namespace: ddp\nname: swarm\nversion: 0.1.0\n")
    return tree


def validate(collection: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(VALIDATE), "--collection", str(COLLECTION), "--arg-spec", "--format", "plain"]
        + ["plugins/modules"],
        cwd=collection / COLLECTION,
        env={**os.environ, "PYTHONPATH": str(collection)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_modules_pass(collection: Path) -> None:
    done = validate(collection)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_default_that_is_not_documented_is_found(collection: Path) -> None:
    """So that the test above is known to look."""
    module = collection / COLLECTION / "plugins/modules/swarm_stack.py"
    module.write_text(module.read_text().replace('"default": 300', '"default": 301'))
    done = validate(collection)
    assert done.returncode != 0
    assert "doc-default-does-not-match-spec" in done.stdout
