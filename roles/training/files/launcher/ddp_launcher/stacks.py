"""Where each process of a rank is: its Python stacks, what it waits for, and the collectives that torch has recorded.

A process answers by what `inside` has put into it. All of it lies in a directory of memory, which this container alone has.
"""

from __future__ import annotations

import fcntl
import json
import os
import pkgutil
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .files import OWN
from .inside import SIGNAL_BELOW_LAST
from .log import say
from .ras import address_of, report

SIGNAL = signal.SIGRTMAX - SIGNAL_BELOW_LAST
ANSWER_SECONDS = 1.0  # for the stacks of one process
QUIET_SECONDS = 0.15  # without a further byte: then a process has said all
TRACE_SECONDS = 4.0
CLOCK, RESULTS = "clock.json", "results"
METRICS_BYTES = 2**16
CPU_SECONDS = 1.0  # over which use of the processor is measured
PROCESSES, THREADS, FRAMES = 200, 24, 50
ANSWER_BYTES = 2**22

THREAD = re.compile(r"(Current thread|Thread) 0x[0-9a-f]+.*\(most recent call first\):")
FRAME = re.compile(r'  File "(.{0,600})", line (\d{1,9}|\?\?\?) in (.{0,600})')


def prepare(folder: str, environment: dict[str, str]) -> None:
    """What is started with this environment can be asked afterwards."""
    folder = os.path.realpath(folder)
    source = pkgutil.get_data(__package__, "inside.py")
    assert source
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder, 0o700)
    for name, content in (("sitecustomize.py", source), ("stacks", b""), ("launcher", str(os.getpid()).encode())):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = folder + (os.pathsep + path if path else "")
    if "TORCH_NCCL_TRACE_BUFFER_SIZE" not in environment:
        environment.setdefault("TORCH_FR_BUFFER_SIZE", "2000")


def try_to_prepare(folder: str, environment: dict[str, str]) -> None:
    if folder:
        try:
            prepare(folder, environment)
        except OSError as error:
            say(f"nobody can ask this rank where it hangs: {error.strerror}: {error.filename}")


def keep_dumps(results: str, environment: dict[str, str]) -> None:
    """What torch writes of NCCL's collectives when one of them times out goes to the volume, instead of being lost with the container."""
    folder = os.path.join(results, OWN, "dumps")
    with suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        for name in ("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE"):
            environment.setdefault(name, os.path.join(folder, "rank"))
        environment.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")


# --- processes ----------------------------------------------------------------------------------------------


def text_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(2**18).decode(errors="replace")
    except OSError:
        return ""


class Process:
    """One that the launcher has started, directly or not."""

    def __init__(self, pid: int, stat: str) -> None:
        head, _bracket, tail = stat.rpartition(")")
        fields = tail.split()
        self.pid, self.name, self.state, self.parent = pid, head.partition("(")[2], fields[0], int(fields[1])
        self.ticks = int(fields[11]) + int(fields[12])

    def is_asked(self, path: str) -> bool:
        """Whether it has taken the signal, which would kill it otherwise, and has where to write still open, as no other program has."""
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)", text_of(f"/proc/{self.pid}/status"), re.MULTILINE)
        if not found or not int(found[1], 16) >> (SIGNAL - 1) & 1:
            return False
        folder = f"/proc/{self.pid}/fd"
        return any(os.readlink(f"{folder}/{number}") == path for number in sorted(os.listdir(folder), key=int)[-64:])

    def variable(self, name: str) -> int | None:
        found = re.search(rf"(?:^|\0){name}=(\d{{1,6}})(?:\0|$)", text_of(f"/proc/{self.pid}/environ"))
        return int(found[1]) if found else None

    def shown(self) -> dict[str, Any]:
        numbers = {name: self.variable(name.upper()) for name in ("rank", "local_rank", "world_size")}
        waits = text_of(f"/proc/{self.pid}/wchan").strip("\0\n 0")
        return {
            "pid": self.pid,
            "parent": self.parent,
            "name": self.name,
            "state": self.state,
            "waits": waits,
            **numbers,
        }


def all_processes() -> dict[int, Process]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            stat = text_of(f"/proc/{name}/stat")
            with suppress(ValueError, IndexError):
                found[int(name)] = Process(int(name), stat)
    return found


def below(top: int) -> list[Process]:
    """Those that descend from it, each after its parent."""
    everyone = all_processes()
    found, last = [], [top]
    while last:
        children = sorted(pid for pid, one in everyone.items() if one.parent in last and one.state not in "ZX")
        found += [everyone[pid] for pid in children]
        last = children
    return found[:PROCESSES]


# --- their stacks -------------------------------------------------------------------------------------------


def size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def said_since(path: str, before: int, seconds: float) -> str:
    """What has been added, once nothing is any more. Empty if nothing was."""
    end, last, since = time.monotonic() + seconds, before, time.monotonic()
    while True:
        now, moment = size(path), time.monotonic()
        if now != last:
            last, since = now, moment
        if last > before and moment > since + QUIET_SECONDS or moment > end:
            break
        time.sleep(0.01)
    with open(path, "rb") as file:
        file.seek(before)
        return file.read(min(last - before, ANSWER_BYTES)).decode(errors="replace")


def ask(process: Process, path: str) -> str:
    """One that is stopped goes on for the moment of its answer, and is stopped again."""
    before = size(path)
    if process.state == "T":
        os.kill(process.pid, SIGNAL)
        os.kill(process.pid, signal.SIGCONT)
        try:
            end = time.monotonic() + ANSWER_SECONDS / 2
            while size(path) == before and time.monotonic() < end:
                time.sleep(0.001)
        finally:
            os.kill(process.pid, signal.SIGSTOP)
        return said_since(path, before, 0)
    threads = [process.pid]
    with suppress(OSError):
        threads += [number for number in map(int, os.listdir(f"/proc/{process.pid}/task")) if number != process.pid]
    for thread in threads[:3]:
        # A signal for the process, which this thread takes if it can: the first may be stuck in the kernel.
        os.kill(thread, SIGNAL)
        said = said_since(path, before, ANSWER_SECONDS)
        if said:
            return said
    return ""


def parsed(text: str, folder: str) -> list[dict[str, Any]]:
    """The threads, the main thread first, each from its innermost frame on. That of `inside` is left out."""
    threads: list[dict[str, Any]] = []
    for line in text.splitlines():
        if THREAD.fullmatch(line):
            threads.append({"frames": []})
        elif threads and (found := FRAME.fullmatch(line)):
            frame = [found[1], 0 if found[2] == "???" else int(found[2]), found[3]]
            if len(threads[-1]["frames"]) < FRAMES:
                threads[-1]["frames"].append(frame)
    threads = [one for one in reversed(threads) if one["frames"] and not one["frames"][-1][0].startswith(folder)]
    return threads[:THREADS]


# --- what torch has recorded --------------------------------------------------------------------------------


def asked_for_trace(folder: str, process: Process) -> bool:
    with suppress(OSError):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, f"{process.pid}.trace"))
        os.close(os.open(os.path.join(folder, f"{process.pid}.ask"), os.O_WRONLY | os.O_NONBLOCK))
        return True
    return False


def read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(ANSWER_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def traces(folder: str, processes: list[Process], seconds: float = TRACE_SECONDS) -> dict[int, dict[str, Any]]:
    waited = [one.pid for one in processes if one.state != "T" and asked_for_trace(folder, one)]
    end = time.monotonic() + seconds
    paths = {pid: os.path.join(folder, f"{pid}.trace") for pid in waited}
    while time.monotonic() < end and not all(map(os.path.exists, paths.values())):
        time.sleep(0.02)
    found = {pid: read_json(path) for pid, path in paths.items()}
    return {pid: said or {"why": f"no answer in {seconds:g} s"} for pid, said in found.items()}


def clear(folder: str) -> None:
    """What processes have left that are gone. Where they called sys.exit stays."""
    with suppress(OSError):
        for name in os.listdir(folder):
            pid, _dot, kind = name.partition(".")
            if pid.isdecimal() and kind != "exit" and not os.path.exists(f"/proc/{pid}"):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, name))


# --- whether it gets the processors that it may use ----------------------------------------------------------


def throttling() -> dict[str, int]:
    """Of this container's cgroup: periods in which it wanted to run, and those in which it had used up its share."""
    text = text_of("/sys/fs/cgroup/cpu.stat") or text_of("/sys/fs/cgroup/cpu/cpu.stat")
    return {
        name: int(value) for name, value in re.findall(r"^(nr_periods|nr_throttled) (\d{1,18})$", text, re.MULTILINE)
    }


def throttled_since(before: dict[str, int]) -> float:
    """The fraction of the periods since then."""
    now = throttling()
    periods = now.get("nr_periods", 0) - before.get("nr_periods", 0)
    return round((now.get("nr_throttled", 0) - before.get("nr_throttled", 0)) / periods, 2) if periods > 0 else 0.0


# --- all of it ----------------------------------------------------------------------------------------------


@contextmanager
def one_asks(folder: str) -> Iterator[int]:
    """Not two at once, whose answers would be mixed. Gives the launcher's process."""
    with open(os.path.join(folder, "launcher"), encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield int(file.read(20))


def look(folder: str) -> dict[str, Any]:
    """A record of the rank. OSError where no launcher has prepared this folder."""
    with one_asks(folder) as top:
        return look_below(folder, top)


def collectives(folder: str) -> dict[str, Any]:
    """The part of a record that tells how fast the rank is."""
    with one_asks(folder) as top:
        processes = below(top)
        recorded = traces(folder, processes)
    shown = [{**one.shown(), "collectives": recorded[one.pid]} for one in processes if recorded.get(one.pid)]
    clock = read_json(os.path.join(folder, CLOCK))
    about = {"schema": 1, "time": time.time(), "host": socket.gethostname(), "clock": clock}
    return {**about, "epochs": epochs(folder, processes), "processes": shown}


def epoch_of(line: bytes) -> dict[str, float]:
    """A line that was cut off is none."""
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        if line.startswith(b'{"event": "epoch"'):
            value = json.loads(line)
            return {name: float(value[name]) for name in ("epoch", "seconds", "comm_seconds", "time")}
    return {}


def epochs(folder: str, processes: list[Process]) -> dict[str, Any]:
    """By rank the last epoch in the metrics of the project's trainer: what it took, and how much of that for transfers."""
    results = text_of(os.path.join(folder, RESULTS))
    found = {}
    for rank in sorted({rank for one in processes if (rank := one.variable("RANK")) is not None}) if results else []:
        name = "metrics.jsonl" if rank == 0 else f"metrics-rank{rank}.jsonl"
        with suppress(OSError):
            descriptor = os.open(os.path.join(results, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                file.seek(max(0, os.fstat(descriptor).st_size - METRICS_BYTES))
                lines = file.read(METRICS_BYTES).split(b"\n")
            epoch = next(filter(None, map(epoch_of, reversed(lines))), None)
            if epoch:
                found[str(rank)] = epoch
    return found


def nccl_report(processes: list[Process], recorded: dict[int, dict[str, Any]]) -> str:
    """Of several ranks here, one answers for the job. Where nobody uses NCCL, whatever listens there is something else."""
    users = [one for one in processes if '"nccl:' in json.dumps(recorded.get(one.pid, {}))]
    homes = [home for one in users if (home := address_of(text_of(f"/proc/{one.pid}/environ")))]
    return report(homes[0]) if homes else ""


def look_below(folder: str, top: int) -> dict[str, Any]:
    clear(folder)
    began, processes, before = time.monotonic(), below(top), throttling()
    path = os.path.join(os.path.realpath(folder), "stacks")
    os.truncate(path, 0)
    recorded = traces(folder, processes)
    shown = []
    for process in processes:
        one = process.shown()
        one["threads"] = []
        with suppress(OSError):
            if process.is_asked(path):
                one["threads"] = parsed(ask(process, path), folder)
        one["collectives"] = recorded.get(process.pid, {})
        shown.append(one)
    time.sleep(max(0.0, began + CPU_SECONDS - time.monotonic()))
    seconds, later = time.monotonic() - began, {one.pid: one for one in below(top)}
    for process, one in zip(processes, shown):
        ticks = later[process.pid].ticks - process.ticks if process.pid in later else 0
        one["cpu"] = round(ticks / os.sysconf("SC_CLK_TCK") / seconds, 2)
        # Where others want the processor too, it may get little of it.
        one["runs"] = process.state == "R" and process.pid in later and later[process.pid].state == "R"
    nccl = nccl_report(processes, recorded)
    exits = [read_json(os.path.join(folder, name)) for name in sorted(os.listdir(folder)) if name.endswith(".exit")]
    about = {
        "schema": 1,
        "time": time.time(),
        "host": socket.gethostname(),
        "clock": read_json(os.path.join(folder, CLOCK)),
    }
    about.update(epochs=epochs(folder, processes), throttled=throttled_since(before), nccl=nccl)
    return {**about, "processes": shown, "exits": exits[-16:]}


def dump(folder: str) -> int:
    """For `--dump`: the record as one line, or a sentence."""
    try:
        record = look(folder)
    except (OSError, ValueError) as error:
        record = {"schema": 1, "why": f"no launcher of this rank can be asked: {error}"}
    print(json.dumps(record))
    return 0 if "processes" in record else 1
