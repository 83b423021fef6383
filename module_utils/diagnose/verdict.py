"""One sentence about a job that stands still, out of what each rank's launcher or host has told. Also read by the controller's modules.

Everything that is read here may have been written by a container: it is looked at as data, and shown as plain text.
Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

from . import nccl

LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3", "/lib64/python3", "<frozen", "<string>")
WAITS_FOR_RANKS = ("/torch/distributed/", "/torch/nn/parallel/distributed.py")
LOADER, LOADER_LOOP = "/torch/utils/data/dataloader.py", "/torch/utils/data/_utils/worker.py"
# What starts ranks, and waits for them.
AGENTS = ("/torch/distributed/run.py", "/torch/distributed/elastic/", "/accelerate/commands/", "/deepspeed/launcher/")
# What the kernel's functions in which a process waits are about.
KERNEL = (
    (r"nfs|rpc_", "NFS"),
    (r"fuse|request_wait_answer", "a FUSE file system"),
    (r"sb_start|freeze|percpu_rwsem", "a frozen file system"),
)
BUSY = 0.7
# How a rank ends that has lost another: what it writes then is no reason.
CONSEQUENCE = re.compile(r"Connection (?:closed|reset) by peer|Broken pipe|remote process exited|NCCL watchdog")
# The same of an error's own line: these words stand in other lines of a log too.
LOST_ANOTHER = re.compile(
    rf"{CONSEQUENCE.pattern}|Connection (?:closed|reset|refused)|closed by peer|[Tt]imed out|timeout"
    r"|ncclRemoteError|ncclSystemError|unhandled system error|Socket closed|NCCL communicator was aborted"
    r"|DistNetworkError|DistStoreError|SIGTERM"
)
SAME_SIZES = ("all_reduce", "allreduce", "broadcast")


def plain(value: Any, limit: int = 160) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(value)[:limit])


def items(value: Any, limit: int = 4096) -> list[Any]:
    return value[:limit] if isinstance(value, list) else []


def fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**62 else None


@dataclass(frozen=True)
class Place:
    file: str
    line: int
    function: str

    def __str__(self) -> str:
        name = "" if self.function in ("<module>", "") else f" {self.function}()"
        return f"{posixpath.basename(self.file)}:{self.line}{name}"


def places(frames: Any) -> list[Place]:
    """From the innermost on."""
    found = []
    for frame in items(frames, 100):
        if isinstance(frame, list) and len(frame) == 3 and isinstance(frame[0], str) and number(frame[1]) is not None:
            found.append(Place(plain(frame[0], 400), frame[1], plain(frame[2], 80)))
    return found


def is_library(place: Place) -> bool:
    return any(part in place.file for part in LIBRARIES)


def own(stack: list[Place]) -> Place | None:
    """The innermost line of the user's own code, or of any where there is none."""
    mine = [place for place in stack if not is_library(place)]
    return next(iter(mine or stack), None)


@dataclass
class Collective:
    seq: int
    op: str
    sizes: str
    ended: bool

    def __str__(self) -> str:
        return f"{self.op} #{self.seq}"

    @property
    def kind(self) -> str:
        """What has to be the same on all ranks."""
        return f"{self.op} {self.sizes}" if self.op in SAME_SIZES else self.op


@dataclass
class Group:
    """A process group as one rank has it."""

    title: str = ""
    ranks: list[int] = field(default_factory=list)
    calls: dict[int, Collective] = field(default_factory=dict)
    # By number when it was entered, in nanoseconds since 1970 by the host's clock, and the seconds on the device, 0 if unknown: of more of them.
    times: dict[int, tuple[int, float]] = field(default_factory=dict)

    @property
    def entered(self) -> int:
        return max(self.calls, default=0)

    @property
    def open(self) -> Collective | None:
        return next((self.calls[seq] for seq in sorted(self.calls) if not self.calls[seq].ended), None)


def groups_of(collectives: Any) -> dict[str, Group]:
    found = {}
    for name, said in list(fields(fields(collectives).get("groups")).items())[:256]:
        group = found[plain(name, 80)] = Group(plain(fields(said).get("title"), 80))
        group.ranks = [int(word) for word in re.findall(r"\d{1,6}", str(fields(said).get("ranks"))[:4000])]
        for entry in map(fields, items(fields(said).get("entries"))):
            seq, op = number(entry.get("seq")), plain(entry.get("op"), 60).rpartition(":")[2]
            if seq is not None and not entry.get("p2p"):
                group.calls[seq] = Collective(seq, op, plain(entry.get("sizes"), 80), entry.get("ended") is True)
        for row in items(fields(said).get("times")):
            seq, began, *more = [*items(row, 3), None, None][:3]
            if number(seq) is not None and number(began):
                took = more[0] / 1e3 if isinstance(more[0], (int, float)) and 0 < more[0] < 1e9 else 0.0
                group.times[seq] = (began, took)
    return found


class Worker:
    """A rank's process, with those that it has started."""

    def __init__(self, rank: int, host: str, said: dict[str, Any], helpers: list[dict[str, Any]]) -> None:
        self.rank, self.host, self.said, self.helpers = rank, host, said, helpers
        threads = items(said.get("threads"), 100)
        self.stacks = [places(fields(thread).get("frames")) for thread in threads]
        self.stack = self.stacks[0] if self.stacks else []
        self.groups = groups_of(said.get("collectives"))

    @property
    def name(self) -> str:
        return f"rank {self.rank} on {self.host}"

    @property
    def place(self) -> Place | None:
        return own(self.stack)

    @property
    def stopped(self) -> bool:
        return self.said.get("state") in ("T", "t")

    @property
    def waits_for_ranks(self) -> bool:
        return any(part in place.file for place in self.stack for part in WAITS_FOR_RANKS)

    @property
    def open(self) -> list[tuple[str, Collective]]:
        return [(name, call) for name, group in self.groups.items() if (call := group.open)]

    def where(self) -> str:
        """Where it is, and what it does there."""
        words = f"in {self.place}" if self.place else "nobody knows where, for it gives no stacks"
        inner = self.stack[0] if self.stack else None
        if inner and inner != self.place:
            words += f", which has called {inner}"
        if any(LOADER in place.file for place in self.stack):
            return words + self.loader()
        return words + doing(self.said)

    def loader(self) -> str:
        """Of the processes that load data, the first that does something else than wait for work."""
        for one in self.helpers:
            place = own(loads(one))
            if one.get("state") in ("T", "t") or place:
                at = f"is in {place}" if place else "gives no stacks"
                return f". Its data loader's process {plain(one.get('pid'), 12)} {at}{doing(one)}"
        return ", and waits for its data loader" + ("" if self.helpers else ", of which no process is there")

    def line(self) -> dict[str, Any]:
        """For programs."""
        loaders = self.helpers if any(LOADER in place.file for place in self.stack) else []
        place = next((found for one in loaders if (found := own(loads(one)))), self.place)
        return shown_place(place) if place else {}


def shown_place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "function": place.function}


def main_stack(process: dict[str, Any]) -> list[Place]:
    return places(fields(next(iter(items(process.get("threads"))), None)).get("frames"))


def loads(process: dict[str, Any]) -> list[Place]:
    """What a data loader's process has called. Empty while it waits for work: what it was forked from has a stack, too."""
    stack = main_stack(process)
    loop = next((index for index, place in enumerate(stack) if LOADER_LOOP in place.file), len(stack))
    called = stack[:loop]
    waits = loop < len(stack) and any("/multiprocessing/queues.py" in place.file for place in called)
    return [] if waits and all(is_library(place) for place in called) else called


def doing(process: dict[str, Any]) -> str:
    state, waits, cpu = process.get("state"), plain(process.get("waits"), 60), process.get("cpu")
    if state in ("T", "t"):
        return ", and it is stopped (SIGSTOP): kill -CONT lets it go on"
    system = next((words for pattern, words in KERNEL if re.search(pattern, waits)), "")
    if system or state == "D":
        return f", and waits for {system or 'a disk or a device'} in the kernel" + (f" ({waits})" if waits else "")
    if process.get("runs") is True or (isinstance(cpu, (int, float)) and cpu > BUSY):
        return ", and keeps a processor busy: it computes, or loops without an end"
    return ""


@dataclass
class Node:
    """A host's part: its number, its processes, or why there is nothing of them."""

    number: int
    host: str
    why: str = ""
    workers: list[Worker] = field(default_factory=list)
    exits: list[dict[str, Any]] = field(default_factory=list)
    started: bool = False


def is_agent(process: dict[str, Any]) -> bool:
    return any(part in place.file for place in main_stack(process) for part in AGENTS)


def node_of(given: dict[str, Any], index: int) -> Node:
    record, host = fields(given.get("record")), plain(given.get("host"), 80)
    node = Node(index, host, plain(given.get("why") or record.get("why") or "", 300))
    processes = [fields(one) for one in items(record.get("processes"), 400)]
    node.exits = [fields(one) for one in items(record.get("exits"), 64)]
    node.started = bool(processes)
    ranks = sorted({one["rank"] for one in processes if number(one.get("rank")) is not None})
    if ranks:
        for rank in ranks:
            first, *others = [one for one in processes if one.get("rank") == rank]
            node.workers.append(Worker(rank, host, first, others))
    else:
        # A command that tells its processes no rank: those that have talked to others, else the one that began it.
        talked = [one for one in processes if fields(one.get("collectives")).get("groups")]
        talked = talked or [one for one in processes if not is_agent(one)]
        for one in talked[:1]:
            node.workers.append(Worker(index, host, one, [other for other in processes if other is not one]))
    return node


@dataclass
class Verdict:
    kind: str
    sentence: str
    culprits: list[Worker] = field(default_factory=list)
    place: dict[str, Any] = field(default_factory=dict)
    ranks: list[int] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        blamed = self.culprits[:16]
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "ranks": self.ranks or [worker.rank for worker in blamed],
            "hosts": self.hosts or [worker.host for worker in blamed],
            "places": [self.place] if self.place else [worker.line() for worker in blamed],
        }


def several(words: list[str], limit: int = 3) -> str:
    shown = words[:limit] + ([f"{len(words) - limit} more"] if len(words) > limit else [])
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def waiting(workers: list[Worker], what: str = "") -> str:
    """Who waits, and where."""
    if not workers:
        return ""
    at = f" ({workers[0].place})" if workers[0].place else ""
    return f"{several([one.name for one in workers])} {'waits' if len(workers) == 1 else 'wait'}{what}{at}"


def judge(given: list[dict[str, Any]]) -> Verdict:
    """`given` has for each host, in the order of the ranks, `host`, and `record` or `why` there is none."""
    nodes = [node_of(fields(one), index) for index, one in enumerate(given)]
    workers = [worker for node in nodes for worker in node.workers]
    steps = (absent(nodes, workers), stopped(workers), mixed_up(workers), behind(workers), outside(workers))
    verdict = next((found for found in steps if found), unknown(workers))
    verdict.sentence = " ".join(
        filter(None, [verdict.sentence, nccl.told([fields(one).get("record") for one in given])])
    )
    return verdict


def absent(nodes: list[Node], workers: list[Worker]) -> Verdict | None:
    others = waiting([worker for worker in workers if worker.open or worker.waits_for_ranks], " for it")
    then = f". {others[0].upper()}{others[1:]}." if others else "."
    several_here = any(len(node.workers) > 1 for node in nodes)
    gone = [node for node in nodes if not node.workers]
    # One that ended by itself is why the others ended: they lost it.
    for node in sorted(gone, key=lambda node: not node.exits):
        name = f"each rank on {node.host}" if several_here else f"rank {node.number} on {node.host}"
        if node.started:
            return ended(name, node.number, node, node.exits, then)
        sentence = f"{name} cannot be asked: {node.why or 'it has no process'}{then}"
        return Verdict("absent", sentence, ranks=[node.number], hosts=[node.host])
    # One of several on a host.
    here = {worker.rank for worker in workers}
    for node in nodes:
        for note in node.exits:
            rank = str(note.get("rank"))[:6]
            if rank.isdecimal() and int(rank) not in here and several_here:
                return ended(f"rank {int(rank)} on {node.host}", int(rank), node, [note], then)
    return None


def ended(name: str, rank: int, node: Node, exits: list[dict[str, Any]], then: str) -> Verdict:
    noted = [(one, own(places(one.get("frames")))) for one in exits]
    for note, place in noted[-1:]:
        if place:
            sentence = f"{name} has ended by itself: sys.exit({plain(note.get('status'), 80)}) in {place}{then}"
            return Verdict("ended", sentence, place=shown_place(place), ranks=[rank], hosts=[node.host])
    return Verdict(
        "ended",
        f"{name} has ended, and what has started it waits for the others{then}",
        ranks=[rank],
        hosts=[node.host],
    )


def stopped(workers: list[Worker]) -> Verdict | None:
    found = [worker for worker in workers if worker.stopped]
    if not found:
        return None
    return Verdict("stopped", f"{found[0].name} is {found[0].where()}.", found)


def members(name: str, workers: list[Worker]) -> list[Worker]:
    having = [worker for worker in workers if name in worker.groups]
    ranks = {rank for worker in having for rank in worker.groups[name].ranks}
    if ranks:
        return [worker for worker in workers if worker.rank in ranks]
    return workers if any(worker.groups[name].title == "default_pg" for worker in having) else having


def mixed_up(workers: list[Worker]) -> Verdict | None:
    """The first collective that is not the same one on all."""
    for name in sorted({name for worker in workers for name in worker.groups}):
        having = [worker for worker in workers if name in worker.groups]
        seqs = sorted(set.intersection(*(set(worker.groups[name].calls) for worker in having)))
        for seq in seqs:
            kinds: dict[str, list[Worker]] = {}
            for worker in having:
                kinds.setdefault(worker.groups[name].calls[seq].kind, []).append(worker)
            if len(kinds) < 2:
                continue
            most, *others = sorted(kinds.values(), key=lambda group: (-len(group), group[0].rank))
            rest = [worker for group in others for worker in group]
            here, there = most[0].groups[name].calls[seq], rest[0].groups[name].calls[seq]
            unlike = f"{there} of {there.sizes}" if there.op == here.op else str(there)
            alike = f"{here} of {here.sizes}" if there.op == here.op else str(here)
            sentence = (
                f"{several([worker.name for worker in rest])} entered {unlike} where {several([worker.name for worker in most])} entered {alike}: "
                f"the ranks' collectives differ in order, or in number. {sentence_of(rest[0])} {sentence_of(most[0])}"
            )
            return Verdict("order", sentence, [*rest, *most])
    return None


def sentence_of(worker: Worker) -> str:
    return f"{worker.name[0].upper()}{worker.name[1:]} is {worker.where()}."


def behind(workers: list[Worker]) -> Verdict | None:
    """Who did not enter what others wait in."""
    ends = []
    for name in sorted({name for worker in workers for name, _call in worker.open}):
        group = members(name, workers)
        inside = [worker for worker in group if name in worker.groups and worker.groups[name].open]
        furthest = max(inside, key=lambda worker: worker.groups[name].entered)
        call = furthest.groups[name].open
        assert call
        late = [worker for worker in group if worker.groups.get(name, Group()).entered < call.seq]
        inside = [worker for worker in inside if worker not in late]
        if late:
            # One that waits in another group is held up there.
            blamed = [worker for worker in late if not worker.open] or late
            them = several([worker.name for worker in blamed])
            words = sentence_of(blamed[0]) if len(blamed) > 1 else f"It is {blamed[0].where()}."
            sentence = f"{them} did not enter {call}, in which {waiting(inside)}. {words}"
            if any(worker.open for worker in blamed):
                sentence = sentence[:-1] + f", in {blamed[0].open[0][1]}: the ranks wait for each other."
            return Verdict("behind", sentence, blamed)
        ends.append((call, inside, len(inside) == len(group)))
    for call, inside, all_of_them in ends:
        if all_of_them:
            names = several([worker.name for worker in inside])
            return Verdict(
                "wire",
                f"{names} are all in {call} ({inside[0].place}), and it does not end: nothing arrives between them.",
                inside,
            )
        names = several([worker.name for worker in inside])
        return Verdict("left", f"{waiting(inside)} in {call}, which the others have left.", inside)
    return None


def outside(workers: list[Worker]) -> Verdict | None:
    """Nobody is in a collective that torch has recorded, but some wait for others elsewhere in torch.distributed."""
    there = [worker for worker in workers if worker.waits_for_ranks]
    elsewhere = [worker for worker in workers if worker not in there]
    if there and elsewhere:
        inner = next((place for place in there[0].stack if any(part in place.file for part in WAITS_FOR_RANKS)), None)
        sentence = f"{waiting(there)} in {inner.function if inner else 'torch.distributed'}() for {elsewhere[0].name}, which is {elsewhere[0].where()}."
        return Verdict("behind", sentence, elsewhere)
    if there:
        return Verdict("wire", f"All ranks wait for each other: {' '.join(map(sentence_of, there[:4]))}", there)
    return None


def unknown(workers: list[Worker]) -> Verdict:
    if not workers:
        return Verdict("unknown", "No rank could be asked.")
    return Verdict("busy", f"No rank waits for another. {' '.join(map(sentence_of, workers[:4]))}", workers)
