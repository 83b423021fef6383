"""./ddp in the background, as who leaves it open until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from labs import ROOT, Lab
from waiting import until


@contextmanager
def console(lab: Lab, *words: str, ready: str, **variables: Any) -> Iterator[str]:
    """Yields what it has printed when it is ready. Ctrl-C has to end it well."""
    output = lab.directory / "console"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
    with output.open("w") as stream:
        process = subprocess.Popen(
            [str(ROOT / "ddp"), *words, "-i", str(lab.inventory), "-e", json.dumps(variables)],
            env={**kept, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: ready in output.read_text() or process.poll() is not None, timeout=300)
        assert process.poll() is None, output.read_text()
        yield output.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()
