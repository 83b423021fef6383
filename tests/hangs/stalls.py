"""Scripts of the examples, each with one stall planted on rank 1, and nothing else changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from by_path import ROOT

STEP = 12  # by then every rank trains


@dataclass(frozen=True)
class Stall:
    """`before` is a line of the script, in front of which `planted` stands, indented as it is. `line` is what the verdict has to name."""

    name: str
    before: str
    planted: str
    line: str  # the text of the source line in the planted script
    kind: str
    example: str = "char_gpt"
    says: str = ""
    args: tuple[str, ...] = ()
    after: str = ""  # what is done to rank 1 from outside: "stop", "cut"
    replaces: bool = False

    def plant(self, folder: Path) -> Path:
        source = (ROOT / "examples" / self.example / "train.py").read_text()
        if not self.before:
            planted = source
        else:
            assert source.count(self.before + "\n") == 1, f"{self.before!r} is not one line of the example"
            indent = self.before[: len(self.before) - len(self.before.lstrip())]
            lines = "".join(f"{indent}{line}\n" for line in self.planted.splitlines())
            planted = source.replace(self.before + "\n", lines + ("" if self.replaces else self.before + "\n"))
        path = folder / "train.py"
        path.write_text(planted)
        return path

    def number(self, script: Path) -> int:
        found = [number for number, line in enumerate(script.read_text().splitlines(), 1) if self.line in line]
        assert len(found) == 1, f"{self.line!r} is on lines {found}"
        return found[0]


LOSS = "        loss = functional.cross_entropy(ddp(inputs).flatten(0, 1), targets.flatten())"
HERE = f"if rank == 1 and step == {STEP}:"

STALLS = [
    Stall("a rank sleeps", LOSS, f"{HERE}\n    time.sleep(86400)", "time.sleep(86400)", "behind"),
    Stall("endless loop", LOSS, f"{HERE}\n    while True: pass", "while True: pass", "behind", says="keeps a processor busy"),
    Stall(
        "a collective that one rank skips", "        optimizer.step()",
        f"if not (rank == 1 and step == {STEP}):\n    dist.all_reduce(loss.detach().clone())  # the mean", "if not (rank", "order",
    ),
]  # fmt: skip
