"""Python 3.8 on a host is answered by a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Those that begin with what every module on a host needs. The others run on the controller, too.
MODULES = sorted(
    path.stem
    for path in (ROOT / "library").glob("*.py")
    if next(line for line in path.read_text().splitlines() if line.startswith("from ..")).startswith(
        "from ..module_utils.docker"
    )
)
RUN = """
import sys
sys.version_info = (3, 8, 18, "final", 0)
sys.path.insert(0, sys.argv[1])
import importlib
importlib.import_module("ansible_collections.ddp.swarm.plugins.modules." + sys.argv[2])
"""


@pytest.mark.parametrize("module", MODULES)
def test_an_old_python_is_told(module):
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT / "collections"), module], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert result["failed"]
    # Ansible's own sentence, from 2.20 on, where that is read first.
    assert "Python is 3.8.18" in result["msg"] or "requires Python 3.9 or newer on the target" in result["msg"]
