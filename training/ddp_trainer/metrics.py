"""What a run tells about itself, for programs to read."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from .ranks import rank, world_size


class Metrics:
    """JSON lines, one file per rank, appended to; each line is one unbuffered write. TensorBoard's events from rank 0."""

    def __init__(self, path: Path) -> None:
        self.path = path if rank() == 0 else path.with_name(f"{path.stem}-rank{rank()}{path.suffix}")
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self.file).st_size
        if size and os.pread(self.file, 1, size - 1) != b"\n":
            os.write(self.file, b"\n")  # the last run was cut off in the middle of a line
        self.common: dict[str, Any] = {"rank": rank(), "world_size": world_size()}
        self.board: SummaryWriter | None = None

    def begin(self, run: str, step: int) -> None:
        starts = (line for line in self.path.read_text().splitlines() if line.startswith('{"event": "start"'))
        self.common |= {"run": run, "restarts": sum(f'"run": "{run}"' in line for line in starts)}
        if rank() == 0:  # what an interrupted run wrote after its last snapshot happens again: hidden by purge_step
            # Not flush(), which does not wait for what is still on its way to the file.
            where = str(self.path.parent / "tensorboard" / run)
            self.board = SummaryWriter(where, purge_step=step + 1, flush_secs=1)

    def write(self, event: str, **values: Any) -> None:
        record = {"event": event, "time": round(time.time(), 3), **self.common, **values}
        os.write(self.file, json.dumps(record).encode() + b"\n")
        if self.board and event in ("step", "epoch"):
            for name, value in values.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{event}/{name}", value, values["step"])
        elif self.board and event in ("stopped", "end"):
            self.board.close()  # the process is about to end without waiting for its threads
