"""Samples per second: under the swarm and by hand, over the overlay and on the hosts' network, float32 and bfloat16 on the wire.

All in one run on the same two hosts, one after the other, three rounds. Two hosts on one machine share its cores, so what
they show is what each way costs beside the others; how fast your machines are, only yours can tell. `make bench` prints the
tables, and adds them to artifacts/throughput.md.
"""

import json
import statistics
import time
from collections.abc import Iterator

import pytest
from labs import ROOT, Lab, Play

ARGUMENTS = "6 6 --task digits --hidden 2048 --batch_size 32 --snapshot_path /snapshots/snapshot.pt"
ROUNDS = 3
SHAPED = "tc qdisc replace dev eth0 root tbf rate 1gbit burst 256kb latency 50ms"
WAYS = [(way, gradients) for gradients in ("float32", "bfloat16") for way in ("torchrun by hand", "host", "overlay")]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("bench", lab_releases={"host2": "bookworm"}).running("docker", "swarm", "image") as lab:
        yield lab


def arguments(gradients: str) -> str:
    return ARGUMENTS + (" --compress bf16" if gradients == "bfloat16" else "")


def measured(lab: Lab, volume: str) -> float:
    """The median over the epochs of the newest run. The first epoch warms up."""
    path = f"/var/lib/docker/volumes/{volume}/_data"
    rows = [json.loads(line) for line in lab.on("host1", "cat", f"{path}/metrics.jsonl").splitlines()]
    assert rows[-1]["event"] == "end"
    for host in ("host1", "host2"):
        lab.on(host, "sh", "-c", f"rm -rf {path}/*")
    return statistics.median(row["samples_per_s"] for row in rows if row["event"] == "epoch" and row["epoch"] > 0)


def by_hand(lab: Lab, gradients: str) -> float:
    """As someone would who has torchrun and the same image, and no swarm."""
    image = "my-ddp-trainer:latest"
    address = lab.on("host1", "docker", "info", "--format", "{{.Swarm.NodeAddr}}").strip()
    run = "docker run --rm --network host --shm-size 1g --volume bench:/snapshots --env GLOO_SOCKET_IFNAME=eth0"
    for rank, host in ((1, "host2"), (0, "host1")):
        command = (
            f"torchrun --nproc_per_node=1 --nnodes=2 --node_rank={rank} --master_addr={address} --master_port=12400"
        )
        detach = "--detach" if rank else ""
        lab.on(
            host, "sh", "-c", f"{run} {detach} {image} {command} training_code.py {arguments(gradients)}", timeout=600
        )
    return measured(lab, "bench")


def under_swarm(lab: Lab, play: Play, mode: str, gradients: str) -> float:
    settings = {"training_stack": f"bench-{mode}", "training_network_mode": mode, "training_args": arguments(gradients)}
    run = play("playbooks/training.yml", training_wait_for="complete", training_fresh=True, **settings)
    assert run.rc == 0, run.stdout[-4000:]
    return measured(lab, f"bench-{mode}_snapshots")


@pytest.mark.parametrize("wire", ["unlimited", "1 Gbit/s"])
def test_throughput(lab: Lab, wire: str, capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("host1", "host2"):
        lab.on(
            host,
            "sh",
            "-c",
            SHAPED if wire != "unlimited" else "tc qdisc delete dev eth0 root",
            check=wire != "unlimited",
        )
    seen: dict[tuple[str, str], list[float]] = {key: [] for key in WAYS}
    for _ in range(ROUNDS):
        for way, gradients in WAYS:
            one = by_hand(lab, gradients) if way == "torchrun by hand" else under_swarm(lab, lab.play, way, gradients)
            seen[way, gradients].append(one)
            time.sleep(1)
    base = statistics.median(seen[WAYS[0]])
    lines = [f"| {wire}: way | gradients | samples/s, median of {ROUNDS} | each round | of the first line |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for (way, gradients), values in seen.items():
        middle = statistics.median(values)
        each = ", ".join(f"{value:.0f}" for value in values)
        lines.append(f"| {way} | {gradients} | {middle:.0f} | {each} | {middle / base:.2f} |")
    text = "\n".join(lines) + "\n"
    (ROOT / "artifacts").mkdir(exist_ok=True)
    with (ROOT / "artifacts" / "throughput.md").open("a") as file:
        file.write(text)
    with capsys.disabled():
        print(f"\n{text}")
    assert all(len(values) == ROUNDS and min(values) > 0 for values in seen.values())
