"""What hosts were busy with: proc and sys are made up here, and so is what GPUs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.diagnosis import diagnosis
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose import load
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose.reasons import host_words
from test_pace import STEPS, job

CONTAINER = "a" * 64


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def process(root: Path, pid: int, name: str, ticks: int, cgroup: str = "/") -> None:
    (root / f"proc/{pid}").mkdir(parents=True, exist_ok=True)
    (root / f"proc/{pid}/stat").write_text(f"{pid} ({name}) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0\n")
    (root / f"proc/{pid}/cgroup").write_text(f"0::{cgroup}\n")


def host(root: Path, second: int) -> dict[str, Any]:
    """The host at that second: one of its two cores is stolen for a fifth, a program runs beside the job, a processor is hot."""
    ticks = 100 * second
    write(
        root,
        proc__stat=f"cpu  {ticks} 0 0 {ticks // 2} {ticks // 10} 0 0 {ticks * 4 // 10} 0 0\ncpu0 1\ncpu1 1\nintr 5\n",
        proc__uptime=f"{1000 + second}.00 1.0\n",
        proc__loadavg="7.90 2.0 1.0 3/400 99\n",
        proc__vmstat=f"pswpin {ticks * 2}\npswpout {ticks}\n",
        sys__devices__system__cpu__cpu0__thermal_throttle__core_throttle_count=f"{second}\n",
        sys__class__net__eth0__speed="100\n",
        sys__class__net__eth0__duplex="half\n",
        sys__class__net__eth0__statistics__rx_errors=f"{second * 3}\n",
    )
    process(root, 10, "stress) 1", second * 90)
    process(root, 11, "python", second * 99, f"/docker/{CONTAINER}/x")
    process(root, 12, "idle", 5)
    return load.sample(str(root), "eth0")


FACTS = {
    "cores": 2,
    "load": 7.9,
    "waits_for_disks": 0.05,
    "stolen": 0.2,
    "slowed_by_heat": 2,
    "swapped_per_s": 300,
    "programs": [{"pid": 10, "name": "stress) 1", "cores": 0.9}],
    "link": {"name": "eth0", "speed": 100, "duplex": "half"},
    "link_errors": 6,
}


def test_what_a_host_was_busy_with(tmp_path: Path) -> None:
    before = host(tmp_path, 1)
    assert load.facts(before, host(tmp_path, 3), [CONTAINER], "eth0", str(tmp_path)) == FACTS


def test_a_host_that_tells_nothing(tmp_path: Path) -> None:
    empty = load.sample(str(tmp_path))
    found = load.facts(empty, empty, [], "", str(tmp_path))
    assert (found["cores"], found["load"], found["link"], found["programs"]) == (1, 0.0, {}, [])


def test_this_machine() -> None:
    before = load.sample()
    found = load.facts(before, load.sample(), [])
    assert found["cores"] >= 1
    assert 0 <= found["stolen"] <= 1


CALM = {"cores": 2, "load": 0.4, "link": {"name": "eth0", "speed": 1000, "duplex": "full"}}


def test_it_is_told_beside_the_others() -> None:
    assert host_words("host2", {**FACTS, "throttled": 0.9}, [CALM]) == (
        "host2 has a load of 7.9 on 2 cores (the others: 0.4), where stress) 1 (process 10) uses 0.9 of a core beside the job; "
        "its container had used up its share of the processor in 90% of the time (training_cpus); "
        "whoever runs this virtual machine gave 20% of its processors to others; its processors were slowed down for their heat or power; "
        "it swaps: its memory is too small; eth0 at 100 Mbit/s (the others: 1000), half duplex, with 6 errors and drops while it was looked at."
    )
    assert (
        host_words("host2", CALM, [CALM])
        == "host2 has a load of 0.4 on 2 cores (the others: 0.4); nothing is throttled; eth0 at 1000 Mbit/s."
    )
    assert host_words("host2", {"cores": 1, "link": {"name": "eth0"}}, []) == (
        "host2 has a load of 0 on 1 core; nothing is throttled; eth0, whose speed it does not tell."
    )
    assert host_words("host2", {}, [CALM]) == ""


@pytest.mark.parametrize(
    ("throttle", "says"),
    [
        ("0x0000000000000040", "GPU 1 is slowed down by its temperature (hardware), at 91 degrees C"),
        ("0x0000000000000001", "nothing is throttled"),
        ("no", "nothing is throttled"),
    ],
)
def test_a_gpu_that_is_slowed_down(throttle: str, says: str) -> None:
    assert says in host_words(
        "host2", {**CALM, "gpus": [{"index": "1", "throttle": throttle, "temperature": "91"}, "x"]}, []
    )


# --- put together -----------------------------------------------------------------------------------------

JOB = {
    "name": "job",
    "ranks": [{"rank": rank, "host": f"host{rank + 1}", "state": "running", "exit_code": None} for rank in (0, 1)],
}


def answers(given: list[dict[str, Any]], *loads: Any) -> dict[str, Any]:
    return {
        one["host"]: {"ranks": [{"rank": rank, "record": one["record"]}], "load": facts}
        for rank, (one, facts) in enumerate(zip(given, loads))
    }


def test_a_slow_rank_with_its_host() -> None:
    given = job([0.05] * STEPS, [0.2] * STEPS)
    given[1]["record"]["throttled"] = 0.8
    made = diagnosis(JOB, answers(given, CALM, FACTS), "now")
    assert made["sentence"].startswith(
        "job moves, but rank 1 on host2 is slow: in the last 8 s the others waited for it 75% of the time"
    )
    assert (
        "Rank 1 on host2 is in train.py:37 main(). host2 has a load of 7.9 on 2 cores (the others: 0.4), "
        in made["sentence"]
    )
    assert "in 80% of the time (training_cpus)" in made["sentence"]
    assert (made["kind"], made["ranks"], made["hosts"], made["pace"]["slow"]) == ("slow", [1], ["host2"], [1])
    assert made["loads"]["host2"]["throttled"] == 0.8
    assert '"times"' not in str(made).replace("'", '"')


def test_a_rank_that_is_not_slow_says_nothing_of_its_host() -> None:
    made = diagnosis(JOB, answers(job([0.1] * STEPS, [0.1] * STEPS), CALM, "x"), "now")
    assert "a load of" not in made["sentence"]
    assert (made["pace"]["slow"], made["loads"]["host2"]) == ([], {})
