"""A job trains on three hosts, and every EVERY seconds of MINUTES a fault strikes one of them. Chance draws both; SEED repeats the draw.

Its volumes lie on small disks of their own, so that one can be full. The results are kept in artifacts/endurance.md.
"""

import itertools
import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import test_survival as survival
from labs import ROOT, Lab

MINUTES = float(os.environ.get("MINUTES") or 60)
EVERY = float(os.environ.get("EVERY") or 180)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
# Seconds that each step takes at least, so that a run of an hour can be repeated undisturbed within minutes.
PACE = 0.25
DISK = "/srv/endurance"
HOSTS = {"host1": 0, "host2": 1, "host3": 2}
PACED = "for batch, (inputs, targets) in enumerate(self.loader):\n"
SETTINGS: dict[str, Any] = {
    **survival.SETTINGS,
    "training_collective_timeout": 30,
    # More than faults that strike, for each fault is one restart or more.
    "training_max_restarts": 100,
    "training_mounts": [
        {
            "type": "volume", "source": "snapshots", "target": "/snapshots",
            "driver_opts": {"type": "none", "o": "bind", "device": DISK},
        }
    ],
}  # fmt: skip
# A disk of 200 MB that is mounted at each boot, before the engine starts.
NEW_DISK = f"""
set -e
cat >/usr/local/sbin/endurance-disk <<'END'
#!/bin/sh
set -e
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
for number in $(seq 0 31); do [ -e /dev/loop$number ] || mknod /dev/loop$number b 7 $number; done
grep -q ' {DISK} ' /proc/mounts || mount -o loop /var/lib/endurance.img {DISK}
END
chmod +x /usr/local/sbin/endurance-disk
cat >/etc/systemd/system/endurance-disk.service <<'END'
[Unit]
Before=docker.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/endurance-disk
[Install]
WantedBy=multi-user.target
END
if [ ! -e /var/lib/endurance.img ]; then truncate -s 200M /var/lib/endurance.img; mkfs.ext4 -q /var/lib/endurance.img; fi
mkdir -p {DISK}
systemctl enable --quiet --now endurance-disk
find {DISK} -mindepth 1 -delete
chown 1000:1000 {DISK}
"""


def disk_filled(lab: Lab, host: str, _moment: str) -> float:
    when = time.time()
    lab.on(host, "sh", "-c", f"cat /dev/zero >{DISK}/filler", check=False)
    time.sleep(30)
    lab.on(host, "rm", f"{DISK}/filler")
    return when


FAULTS: list[survival.Fault] = [
    survival.rank_killed, survival.container_killed, survival.engine_restarted, survival.powered_off, survival.network_cut, disk_filled,
]  # fmt: skip


class Struck(NamedTuple):
    fault: str
    host: str
    at: float


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("endurance", lab_size=3, lab_releases={"host2": "bookworm"}).running("docker", "swarm") as lab:
        for host in lab.hosts:
            lab.on(host, "sh", "-c", NEW_DISK)
        yield lab


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's trainer, with a pause before each step."""
    made = tmp_path_factory.mktemp("paced") / "training"
    shutil.copytree(ROOT / "training", made, ignore=shutil.ignore_patterns("__pycache__"))
    script = made / "training_code.py"
    text = script.read_text()
    assert text.count(PACED) == 1
    script.write_text(text.replace(PACED, f'{PACED}            time.sleep(float(os.environ["PACE"]))\n'))
    return made


def steps_of(rows: list[dict[str, Any]]) -> list[list[tuple[int, float]]]:
    """For each start of rank 0 the steps that it made, with their times."""
    starts: list[list[tuple[int, float]]] = []
    for row in rows:
        if row["rank"] == 0 and row["event"] == "start":
            starts.append([])
        elif row["rank"] == 0 and row["event"] in ("first_step", "step"):
            starts[-1].append((row["step"], row["time"]))
    return starts


def kept_seconds(starts: list[list[tuple[int, float]]]) -> float:
    """How long the steps took that were not made again."""
    took: dict[int, float] = {}
    for steps in starts:
        for (_, before), (step, when) in itertools.pairwise(steps):
            took[step] = when - before
    return sum(took.values())


def longest_gap(times: list[float], since: float, until: float) -> float:
    """The longest time without a step, in seconds, from a fault to the next one, or to the end."""
    seen = [since, *(when for when in times if since < when < until), until]
    return max(after - before for before, after in itertools.pairwise(seen))


def play(lab: Lab, directory: Path, epochs: int, pace: float, **variables: Any) -> None:
    arguments = SETTINGS["training_args"].replace("12 1", f"{epochs} 1", 1)
    given = {
        **SETTINGS,
        "training_args": arguments,
        "training_dir": str(directory),
        "training_env": {"PACE": str(pace)},
    }
    run = lab.play("playbooks/training.yml", **given, **variables)
    assert run.rc == 0, run.stdout[-4000:]


def test_endurance(lab: Lab, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survival, "RANK_OF", HOSTS)
    monkeypatch.setitem(survival.MOMENTS, "now", "true")
    # The volume's own place has the disk only while a container runs.
    monkeypatch.setattr(survival, "VOLUME", DISK)
    chance, struck, by_hand = random.Random(SEED), [], 0
    print(f"SEED={SEED} MINUTES={MINUTES:g} EVERY={EVERY:g}")
    run = lab.play("playbooks/image.yml", training_dir=str(directory))
    assert run.rc == 0, run.stdout[-4000:]
    play(lab, directory, 10**6, PACE, training_fresh=True, training_replace=True)

    began = time.time()
    while (now := time.time()) < began + MINUTES * 60:
        due = began + EVERY * (len(struck) + 0.5)
        if now < due:
            time.sleep(min(5, due - now))
            if survival.given_up(lab):
                by_hand += 1
                play(lab, directory, 10**6, PACE, training_wait_for="none")
            continue
        fault, host = chance.choice(FAULTS), chance.choice(list(HOSTS))
        name = fault.__name__.replace("_", " ")
        print(f"{time.strftime('%H:%M:%S')} {name} on {host}", flush=True)
        try:
            when = fault(lab, host, "now")
        except (AssertionError, IndexError, subprocess.SubprocessError):
            # It hit what another fault had just ended.
            when = time.time()
        struck.append(Struck(name, host, when))
    ended = time.time()

    rows = survival.metrics(lab, "host1")
    starts = steps_of([row for row in rows if row["time"] <= ended])
    times = [when for steps in starts for _, when in steps]
    share = kept_seconds(starts) / (ended - began)
    marks = [*(one.at for one in struck), ended]
    gaps = [longest_gap(times, one.at, until) for one, until in zip(struck, marks[1:], strict=True)]

    epochs = max(row["epoch"] for row in rows if row["event"] == "epoch") + 3
    play(lab, directory, epochs, 0, training_replace=True, training_wait_for="complete")
    disturbed = survival.end_of(lab)
    play(lab, directory, epochs, 0, training_fresh=True, training_replace=True, training_wait_for="complete")
    undisturbed = survival.end_of(lab)

    percentile = statistics.quantiles(gaps, n=20, method="inclusive")[-1] if len(gaps) > 1 else max(gaps)
    lines = [
        (f"{(ended - began) / 60:.0f} minutes on three hosts, {len(struck)} faults (SEED={SEED}): {share:.1%} of the time made progress that was kept; "
        f"without a step for {statistics.median(gaps):.0f} s in the median after a fault, {percentile:.0f} s at the 95th percentile; "
        f"{by_hand} actions by hand; {epochs} epochs, weights {'bit for bit those' if disturbed == undisturbed else 'NOT those'} of an undisturbed run."),
        "", "| fault | on | s without a step |", "| --- | --- | --- |",
        *(f"| {one.fault} | {one.host} | {gap:.1f} |" for one, gap in zip(struck, gaps, strict=True)),
    ]  # fmt: skip
    (ROOT / "artifacts").mkdir(exist_ok=True)
    (ROOT / "artifacts" / "endurance.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    assert disturbed == undisturbed
    assert by_hand == 0
