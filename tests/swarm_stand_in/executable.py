"""The stand-in as a program called docker, for what starts docker by itself. Its swarm lives in a file beside it."""

from __future__ import annotations

import fcntl
import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_stand_in.fixtures import Cluster

SCRIPT = """#!{python}
import sys
sys.path.insert(0, {tests!r})
from swarm_stand_in.executable import main
main({place!r})
"""


def install(cluster: Cluster, directory: Path) -> str:
    """Writes DIRECTORY/docker, and returns its path."""
    (directory / "swarm.pickle").write_bytes(pickle.dumps(cluster.docker))
    command = directory / "docker"
    tests = str(Path(__file__).resolve().parents[1])
    command.write_text(SCRIPT.format(python=sys.executable, tests=tests, place=str(directory)))
    command.chmod(0o755)
    return str(command)


def main(place: str) -> None:
    """One call of the program: one at a time, as each changes what the next one sees."""
    path = Path(place) / "swarm.pickle"
    with path.open("r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        docker = pickle.load(stream)
        docker.host = os.environ.get("STAND_IN_HOST", docker.host)
        stdin = (
            ""
            if sys.stdin is None or sys.stdin.isatty()
            else sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
        )
        code, out, said = docker.run(sys.argv[1:], stdin, dict(os.environ), os.getcwd())
        stream.seek(0)
        stream.truncate()
        pickle.dump(docker, stream)
    sys.stdout.write(out)
    sys.stderr.write(said)
    sys.exit(code)
