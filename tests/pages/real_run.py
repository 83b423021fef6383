"""Artifacts of a real job on this machine: torchrun, the trainer and the probe as processes, and their files where collect.yml puts them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from by_path import ROOT
from ports import free_port
from preflight_ranks import healthy_report, verdict
from test_probe import Swarm
from waiting import until

SIZE = 2


class Training:
    """A torchrun for each rank, as if each had a host. What a rank writes in each of its starts is a log of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder, self.arguments, self.starts = folder, arguments, 0
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)

    def run(self, kill: int | None = None, after: int = 0) -> None:
        """To its end, or until this rank has been killed after so many epochs."""
        port, stamp = free_port(), time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.starts += 1
        ended = []
        for rank in range(SIZE):
            log = self.logs / f"node{rank}.{stamp}.{rank * 16 + self.starts:012x}.log"
            command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1", f"--nnodes={SIZE}"]
            command += [f"--node_rank={rank}", "--master_addr=127.0.0.1", f"--master_port={port}"]
            command += [str(ROOT / "training/training_code.py"), *self.arguments]
            env = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
            with log.open("wb") as file:
                ended.append(
                    subprocess.Popen(
                        command, cwd=self.folder, env={**os.environ, **env}, stdout=file, stderr=subprocess.STDOUT
                    )
                )
        if kill is not None:
            self.kill(ended[kill].pid, after)
        try:
            for process in ended:
                process.wait(180)
        finally:
            for process in ended:
                process.kill()
        assert [process.returncode for process in ended] == [0 if kill is None else 1] * SIZE, self.said(0)

    def kill(self, agent: int, epochs: int) -> None:
        """Kills the rank that this torchrun has started."""
        metrics = self.folder / "metrics.jsonl"
        until(lambda: metrics.exists() and metrics.read_text().count('"event": "epoch"') >= epochs, 90)
        children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)

    def said(self, rank: int) -> str:
        return "".join(log.read_text() for log in sorted(self.logs.glob(f"node{rank}.*")))

    def fetch(self, results: Path, logs: Path) -> None:
        shutil.copytree(self.logs, logs)
        for rank in range(SIZE):
            (results / f"node{rank}.log").write_text(self.said(rank))
        for metrics in self.folder.glob("metrics*.jsonl"):
            shutil.copy(metrics, results)


def checked(folder: Path) -> dict[str, Any]:
    """What real probes measure on loopback. Of the hosts, what healthy ones say."""
    folder.mkdir()
    swarm = Swarm(folder, SIZE)
    try:
        reports = swarm.run()
    finally:
        swarm.stop()
    return verdict([{**healthy_report(rank, SIZE), "probe": report} for rank, report in enumerate(reports)])


def artifacts(work: Path) -> Path:
    """Two runs of a job; in the newer one a rank was killed on the way."""
    made = work / "artifacts" / "digits"
    options = ("--task=digits", "--log_every=4", "--lr_decay=0.9")
    earlier = Training(work / "earlier", "6", "2", *options)
    earlier.run()
    earlier.fetch(made / "runs/20261129T080000Z", made / "runs/20261129T080000Z/logs")
    newer = Training(work / "newer", "12", "2", *options)
    newer.run(kill=1, after=5)
    newer.run()
    newer.fetch(made, made / ".ddp-swarm/logs")
    (made / "preflight.json").write_text(json.dumps(checked(work / "preflight")))
    return made
