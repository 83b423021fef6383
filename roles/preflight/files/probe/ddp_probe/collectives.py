"""What is asked of torch: a group, sums that are known, and how long it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .connections import own_connections
from .contract import SLOW_MB_S
from .sizes import HUGE, LARGE, MIDDLE, SMALL

COMPUTE_SECONDS = 0.4
COMPUTE_SUSPECT = 2.0
# A GPU shows its limits of power and temperature when it is hot, and differs less from its like.
HEAT_SECONDS = 5.0
HEAT_SUSPECT = 1.15


def collectives(order: dict[str, Any], say: Callable[..., None]) -> None:
    import torch
    import torch.distributed as dist

    rank, world = int(order["rank"]), int(order["world_size"])
    nccl = order["backend"] == "nccl"
    limit = float(order["group_timeout"])
    began = time.monotonic()
    store = dist.TCPStore(  # type: ignore[attr-defined]
        order["master"], int(order["port"]), world, rank == 0, timedelta(seconds=limit), wait_for_workers=False
    )
    if rank == 0:
        say("store")
    # First by the store, where absence has a name; a backend would only say that it timed out.
    store.set(f"here/{rank}", "1")
    missing = list(range(world))
    while missing and time.monotonic() < began + limit:
        missing = [other for other in missing if not store.check([f"here/{other}"])]
        if missing:
            time.sleep(0.05)
    if missing:
        say("missing", missing=missing)
        raise RuntimeError("missing from the process group: " + ", ".join(order["members"][other] for other in missing))
    if nccl:
        torch.cuda.set_device(order["device"])
    device = torch.device("cuda", order["device"]) if nccl else torch.device("cpu")
    dist.init_process_group(
        order["backend"],
        store=dist.PrefixStore("probe", store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=min(limit, 20)),
    )

    def reduce(tensor: Any, op: Any = dist.ReduceOp.SUM) -> float:
        start = time.perf_counter()
        dist.all_reduce(tensor, op=op)
        if nccl:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    # NCCL connects at the first collective, so that the group has formed only after one.
    reduce(torch.ones(1, device=device))
    say("group", backend=order["backend"], seconds=round(time.monotonic() - began, 3), connections=own_connections())

    # On a slow network the largest would take many seconds, and say no more. All ranks have to agree on its size.
    rate = torch.tensor([float(order.get("pair_mb_s") or SLOW_MB_S)], device=device, dtype=torch.float32)
    reduce(rate, dist.ReduceOp.MIN)
    large = size_for(float(rate), HUGE if nccl else LARGE)

    # Every rank adds another share, and none the mean: its own share times the number of ranks must not look like the sum.
    shares = [*range(1, world), world + 1]
    for nominal in (SMALL, MIDDLE, LARGE, *([HUGE] if nccl else [])):
        size = min(nominal, large)
        # Every element differs from its neighbours; sums stay exact in float32.
        base = torch.arange(size // 4, device=device, dtype=torch.int32).remainder_(97).add_(1).float()
        seconds = reduce(tensor := base * shares[rank])
        wanted = base * sum(shares)
        right = bool(torch.equal(tensor, wanted))
        wrong = 0 if right else int((tensor != wanted).sum())
        say(
            f"reduce {nominal}",
            bytes=size,
            right=right,
            observed=f"sum {float(tensor[0]):g} at element 0" + (f", {wrong} elements wrong" if wrong else ""),
            expected=f"{float(wanted[0]):g}",
            seconds=round(seconds, 6),
        )

    # Bus bandwidth as nccl-tests defines it (doc/PERFORMANCE.md): bytes / seconds * 2(n-1)/n.
    payload = torch.ones(large // 4, device=device)
    # The slowest rank's time decides for all how often to repeat, or they would not call the same number of times.
    first = torch.tensor([reduce(payload)], device=device, dtype=torch.float32)
    reduce(first, dist.ReduceOp.MAX)
    repeats = max(1, min(8, int(1.5 / max(float(first), 1e-4))))
    times = [reduce(payload) for _ in range(repeats)]
    best = min(times)
    tiny = torch.ones(1, device=device)
    trips = [reduce(tiny) for _ in range(30)]
    say(
        "bandwidth",
        bytes=large,
        repeats=repeats,
        seconds=round(statistics.median(times), 6),
        best_seconds=round(best, 6),
        bus_bandwidth_mb_s=round(large / statistics.median(times) * 2 * (world - 1) / world / 1e6, 1),
        best_bus_bandwidth_mb_s=round(large / best * 2 * (world - 1) / world / 1e6, 1),
        latency_us=round(statistics.median(trips) * 1e6, 1),
    )

    # All at once, so that what slows the whole machine slows all. A second time if one is far behind: once is chance.
    work = heat if nccl else compute
    own = work(torch, device)
    slowest, fastest = (torch.tensor([own["seconds"]], device=device, dtype=torch.float32) for _ in range(2))
    reduce(slowest, dist.ReduceOp.MAX)
    reduce(fastest, dist.ReduceOp.MIN)
    if float(slowest) > (HEAT_SUSPECT if nccl else COMPUTE_SUSPECT) * float(fastest):
        again = work(torch, device)
        own = min(own, again, key=lambda result: float(result["seconds"]))
    say("compute", **own)
    dist.barrier()
    if rank == 0:
        # Rank 0 holds the store: it goes last, when everybody has said goodbye.
        end = time.monotonic() + 5
        while time.monotonic() < end and not all(store.check([f"bye/{other}"]) for other in range(1, world)):
            time.sleep(0.02)
    else:
        store.set(f"bye/{rank}", "1")
    say("end")


def size_for(rate: float, largest: int) -> int:
    """Bytes of the largest all-reduce: what takes about a second at most at so many MB/s, by powers of two."""
    size = largest
    while size > rate * 1e6 and (size > LARGE or (rate < SLOW_MB_S and size > MIDDLE)):
        size //= 2
    return size


def compute(torch: Any, device: Any) -> dict[str, Any]:
    """Seconds that a matrix product takes on average: a hogged core shows in the average, not in the best case."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    left = torch.ones(256, 256, device=device)
    measured = repeated(lambda: left @ left, COMPUTE_SECONDS)
    torch.set_num_threads(threads)
    return {**measured, "device": "cpu"}


def heat(torch: Any, device: Any) -> dict[str, Any]:
    """The same of a GPU that is worked until it is hot, in the numbers that training computes with."""
    half = torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    left = torch.ones(8192, 8192, device=device, dtype=half)

    def product() -> None:
        left @ left
        torch.cuda.synchronize()

    return {**repeated(product, HEAT_SECONDS), "device": "cuda", "name": torch.cuda.get_device_name(device)}


def repeated(work: Callable[[], Any], seconds: float) -> dict[str, Any]:
    work()
    rounds = 0
    best = float("inf")
    began = now = time.perf_counter()
    while now < began + seconds:
        start = now
        work()
        now = time.perf_counter()
        best = min(best, now - start)
        rounds += 1
    return {"seconds": round((now - began) / rounds, 6), "best_seconds": round(best, 6), "rounds": rounds}
