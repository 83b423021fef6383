"""Scripts of the examples, each with one stall planted on rank 1 and nothing else changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from by_path import ROOT

STEP = 12  # by then every rank trains


@dataclass(frozen=True)
class Stall:
    """`planted` stands in front of the line `before` of the script, indented as that is; `instead` takes its place.

    The verdict has to name the line with the text `line`, of rank 1 and its host, and to say `says`.
    """

    name: str
    before: str
    planted: str
    line: str
    kind: str
    says: str = ""
    example: str = "char_gpt"
    instead: bool = False
    stopped: bool = False  # rank 1 gets SIGSTOP, from outside
    torchrun: bool = False  # needs its part in it

    def plant(self, folder: Path) -> Path:
        lines = []
        found = 0
        for line in (ROOT / "examples" / self.example / "train.py").read_text().splitlines():
            if self.before and line.strip() == self.before:
                found += 1
                indent = line[: len(line) - len(line.lstrip())]
                lines += [indent + planted for planted in self.planted.splitlines()]
                if self.instead:
                    continue
            lines.append(line)
        assert found == (1 if self.before else 0), f"{self.before!r} is {found} lines of the example"
        path = folder / "train.py"
        path.write_text("\n".join(lines) + "\n")
        return path

    def number(self, script: Path) -> int:
        found = [number for number, line in enumerate(script.read_text().splitlines(), 1) if self.line in line]
        assert len(found) == 1, f"{self.line!r} is on lines {found}"
        return found[0]


LOSS = "loss = functional.cross_entropy(ddp(inputs).flatten(0, 1), targets.flatten())"
DRAW = "inputs, targets = (part.to(device) for part in batch(text, step, rank, args))"
HERE = f"if rank == 1 and step == {STEP}:"

STALLS = [
    Stall("a rank sleeps", LOSS, f"{HERE}\n    time.sleep(86400)", "time.sleep(86400)", "behind"),
    Stall("a loop without an end", LOSS, f"{HERE}\n    while True: pass  # without an end", "# without an end", "behind", "keeps a processor busy"),
    Stall("a lock that nobody gives back", LOSS, f"{HERE}\n    import threading\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire(timeout=86400)", "lock.acquire(timeout", "behind"),
    Stall("a file that does not answer (a pipe stands in for it)", LOSS, f"{HERE}\n    os.mkfifo('/tmp/pipe-' + str(os.getpid()))\n    open('/tmp/pipe-' + str(os.getpid())).read()", ").read()", "behind"),
    Stall("a program that is waited for", LOSS, f"{HERE}\n    import subprocess\n    subprocess.run(['sleep', '86400'])", "subprocess.run(", "behind"),
    Stall("a server that does not answer", LOSS, f"{HERE}\n    import socket\n    pair = socket.socketpair()\n    pair[0].recv(1)", "pair[0].recv(1)", "behind"),
    Stall("a collective that one rank skips", "optimizer.step()", f"if not (rank == 1 and step == {STEP}):\n    dist.barrier()", "loss.backward()", "order"),
    Stall("collectives in another order", "optimizer.step()", f"if {HERE[3:-1]}:\n    dist.barrier()  # first\nelse:\n    dist.all_reduce(torch.zeros(3))", "dist.barrier()  # first", "order", "barrier"),
    Stall("fewer steps on one rank", "for step in range(first, args.steps):", f"for step in range(first, args.steps if rank == 0 else {STEP}):", "dist.barrier()", "order", "barrier", instead=True),
    Stall("an exception that is swallowed", "loss.backward()", f"try:\n    if {HERE[3:-1]}:\n        raise ValueError\n    loss.backward()\nexcept ValueError:\n    time.sleep(86400)  # swallowed", "# swallowed", "behind", instead=True),
    Stall("a rank that exits with 0", 'dist.init_process_group("nccl" if cuda else "gloo")', "if os.environ['RANK'] == '1':\n    import sys\n    sys.exit(0)", "sys.exit(0)", "ended", "sys.exit(0)", torchrun=True),
    Stall("a rank that waits for a thread", LOSS, f"{HERE}\n    import threading\n    thread = threading.Thread(target=time.sleep, args=(86400,), daemon=True)\n    thread.start()\n    thread.join()", "thread.join()", "behind"),
    Stall("a rank that never joins", 'dist.init_process_group("nccl" if cuda else "gloo")', "if os.environ['RANK'] == '1':\n    time.sleep(86400)  # never joins", "# never joins", "behind"),
    Stall("a rank that waits in another group", LOSS, f"group = globals().setdefault('group', None) or dist.new_group([0, 1])\nglobals()['group'] = group\n{HERE}\n    dist.barrier(group=group)  # alone", "# alone", "behind", "barrier"),
    Stall("a rank that is stopped", "", "", "", "stopped", "SIGSTOP", stopped=True),
    Stall("a data loader that waits for a file (a pipe stands in for it)", "file, label = self.files[index]", "if os.environ['RANK'] == '1' and index % 8 == 3:\n    os.mkfifo(f'/tmp/pipe-{os.getpid()}')\n    open(f'/tmp/pipe-{os.getpid()}').read()", "').read()", "behind", "data loader's process", example="images"),
    Stall("a data loader that deadlocks", "file, label = self.files[index]", "if os.environ['RANK'] == '1' and index % 8 == 3:\n    import threading\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()  # again", "# again", "behind", "data loader's process", example="images"),
    Stall("fewer batches on one rank", "loss = functional.cross_entropy(ddp(images.to(device)), labels.to(device))", "if rank == 1 and epoch == 1:\n    break", "dist.all_reduce(counts)", "order", example="images"),
]  # fmt: skip

# Stalls that are planted on two lab hosts, and what is done to rank 1 there from outside.
PLANTED = ["a loop without an end", "a rank that exits with 0", "collectives in another order"]
ON_HOSTS = [
    *PLANTED,
    "a rank that is stopped",
    "a container that is paused",
    "a network that is cut",
    "a host that does not answer",
]
SLOW = ["slow: stopped for two thirds of the time, again and again", "slow: its data come late, step by step"]
# The rows of the table in docs/diagnosis.md.
EXPECTED = [*(stall.name for stall in STALLS), *SLOW, *(f"{name}, on lab hosts" for name in ON_HOSTS)]
