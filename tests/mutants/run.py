"""Plants small mistakes in the product, one at a time, and says which of them no unit test notices: `make mutants`.

cosmic-ray makes the mistakes and runs the tests. Here is the choice of mistakes, of the tests for each, and the report.
mutmut, the other well-kept tool, imports itself into every file that it changes: ansible-playbook could not load them.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TypedDict

import coverage
import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import TestOutcome

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".mutants_cache"
SETTINGS = tomllib.loads((Path(__file__).parent / "settings.toml").read_text())
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".lab*", ".*_cache", "__pycache__", "artifacts", "backups")

Position = tuple[int, int]  # line and column
Mutation = tuple[Position, str, int]  # where, which operator, at which of its places


class Record(TypedDict):
    """What a test file did on the tree as it is."""

    passed: bool
    said: str
    seconds: float
    lines: dict[str, list[int]]


class RemoveStatement(Operator):  # type: ignore[misc]
    """Leaves out a step: a call, a raise, a change of an attribute or an item. cosmic-ray has no such operator."""

    def mutation_positions(self, node):  # type: ignore[no-untyped-def]
        if node.type == "simple_stmt":
            step = node.children[0]
            if step.type in ("atom_expr", "raise_stmt", "del_stmt") or (
                step.type == "expr_stmt" and step.children[0].type == "atom_expr"
            ):
                yield step.start_pos, step.end_pos

    def mutate(self, node, index):  # type: ignore[no-untyped-def]
        step = node.children[0]
        node.children[0] = parso.python.tree.Keyword("pass", step.start_pos, step.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls):  # type: ignore[no-untyped-def]
        return ()


@cache
def operators() -> dict[str, Operator]:
    names = list(SETTINGS["operators"])
    names += [f"ReplaceComparisonOperator_{change}" for change in SETTINGS["comparisons"]]
    names += [f"ReplaceBinaryOperator_{change}" for change in SETTINGS["calculations"]]
    return {name: get_operator(f"core/{name}")() for name in names} | {"RemoveStatement": RemoveStatement()}


@dataclass(frozen=True)
class Mutant:
    path: str
    line: int
    operator: str
    code: str = field(repr=False)
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.operator}: {self.old} -> {self.new}"


class Source:
    """One file of the product, and the places in it at which a mistake counts."""

    def __init__(self, tree: Path, path: str, seed: str) -> None:
        self.path = path
        self.code = (tree / path).read_text(encoding="utf-8")
        self.nodes = list(ast.walk(ast.parse(self.code)))
        self.random = random.Random(f"{seed} {path}")

    @cached_property
    def uncounted(self) -> list[tuple[Position, Position]]:
        """Where a change proves nothing: annotations, arguments of @dataclass, blocks of TYPE_CHECKING and __main__."""
        found: list[ast.expr | ast.stmt | None] = []
        for node in self.nodes:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    found.append(node.returns)
                case ast.arg() | ast.AnnAssign():
                    found.append(node.annotation)
                case ast.ClassDef():
                    found += [call for call in node.decorator_list if ast.unparse(call).startswith("dataclass(")]
                case ast.If() if any(word in ast.unparse(node.test) for word in ("TYPE_CHECKING", "__name__")):
                    found.append(node)
        return [((n.lineno, n.col_offset), (n.end_lineno or 0, n.end_col_offset or 0)) for n in found if n]

    @cached_property
    def places(self) -> list[list[Mutation]]:
        """In random order, each with its mutations, so that one place is drawn as often as another."""
        found = defaultdict(list)
        counts: dict[str, int] = defaultdict(int)
        for node in ast_nodes(get_ast(self.code)):
            for name, operator in operators().items():
                for start, end in operator.mutation_positions(node):
                    if not any(first <= start and end <= last for first, last in self.uncounted):
                        found[start, end].append((start, name, counts[name]))
                    counts[name] += 1
        places = [found[place] for place in sorted(found)]
        self.random.shuffle(places)
        return places

    def mutant(self, place: list[Mutation]) -> Mutant | None:
        """One of a place's mutations; none if it is no program."""
        (line, _), name, occurrence = self.random.choice(place)
        try:
            code = mutate_code(self.code, operators()[name], occurrence)
            compile(code, self.path, "exec")
        except (
            AttributeError,
            SyntaxError,
            ValueError,
        ):  # the first: of several dotted exceptions
            return None
        lines = list(difflib.ndiff(self.code.splitlines(), code.splitlines()))
        old, new = (" / ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in ("- ", "+ "))
        return Mutant(self.path, line, name, code, old, new)

    @cached_property
    def mutants(self) -> Iterator[Mutant]:
        return filter(None, map(self.mutant, self.places))

    @cached_property
    def bodies(self) -> set[int]:
        """The lines that run when something is called, not when the file is imported."""
        functions = [node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        return {line for f in functions for line in range(f.body[0].lineno, (f.end_lineno or 0) + 1)}

    def statement(self, line: int) -> range:
        """The smallest statement around a line, without its block: not each of its lines is seen to run."""
        around = [
            node
            for node in self.nodes
            if isinstance(node, ast.stmt | ast.ExceptHandler) and node.lineno <= line <= (node.end_lineno or 0)
        ]
        if not around:
            return range(line, line + 1)
        smallest = min(around, key=lambda node: (node.end_lineno or 0) - node.lineno)
        block = getattr(smallest, "body", None)
        return range(smallest.lineno, max(line, block[0].lineno - 1 if block else smallest.end_lineno or 0) + 1)


class Copy:
    """A copy of the tree, in which one thing at a time is run."""

    def __init__(self, original: Path, folder: Path) -> None:
        self.tree, self.temporary = folder / "tree", folder / "tmp"
        shutil.copytree(original, self.tree, ignore=NOT_COPIED, symlinks=True)

    def run(self, command: list[str], limit: float, **env: str) -> tuple[TestOutcome, str]:
        self.temporary.mkdir()
        marker = f"TMPDIR={self.temporary}"
        # The copy's ansible.cfg, or playbooks would use the plugins and modules of the working tree.
        env |= {"ANSIBLE_CONFIG": f"{self.tree}/ansible.cfg", "PYTHONDONTWRITEBYTECODE": "1"}
        settings = [marker, *(f"{name}={value}" for name, value in env.items())]
        try:
            result: tuple[TestOutcome, str] = run_tests(
                shlex.join(["env", "-C", str(self.tree), *settings, sys.executable, "-m", *command]), limit
            )
            return result
        finally:
            # torchrun gives its ranks a session of their own: who is still there keeps a core busy.
            for file in Path("/proc").glob("[0-9]*/environ"):
                with suppress(OSError):
                    if marker.encode() in file.read_bytes().split(b"\0"):
                        os.kill(int(file.parent.name), signal.SIGKILL)
            shutil.rmtree(self.temporary, ignore_errors=True)

    def record(self, test: str) -> Record:
        """What a test file runs of the product, in its own process, in its children and in Ansible's modules."""
        data, began = self.tree.parent / "coverage", time.monotonic()
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        settings = data / "settings"
        include = [f"{self.tree}/*", "*/ansible/legacy/*", "*/ansible_collections/ddp/*"]
        settings.write_text(
            f"[run]\nparallel = true\npatch = subprocess, _exit\ndata_file = {data}/python\n"
            "disable_warnings = no-data-collected, module-not-measured, module-not-imported\n"
            f"include = {', '.join(include)}\n"
        )
        ansible = json.dumps({"config": str(settings), "output": f"{data}/module"})
        command = ["coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-x", test]
        outcome, said = self.run(command, 900, _ANSIBLE_ANSIBALLZ_COVERAGE_CONFIG=ansible)
        lines: dict[str, set[int]] = defaultdict(set)
        for file in data.glob("*.*"):
            found = coverage.CoverageData(file)
            with suppress(coverage.exceptions.DataError):  # of a process that was killed while it wrote
                found.read()
                for path in found.measured_files():
                    lines[self.named(path)].update(found.lines(path) or ())
        passed = outcome == TestOutcome.SURVIVED
        kept = {
            path: sorted(lines[path])
            for path in lines
            if (self.tree / path).is_file() and not path.startswith("tests/")
        }
        return {"passed": passed, "said": "" if passed else said, "seconds": time.monotonic() - began, "lines": kept}

    def named(self, path: str) -> str:
        """A file's path in the tree; Ansible and ansible-test copy modules before they run them."""
        real = Path(path).resolve()
        if real.is_relative_to(self.tree.resolve()):
            return str(real.relative_to(self.tree.resolve()))
        for packed, folder in (("/module_utils/", "module_utils"), ("/modules/", "library"), ("/legacy/", "library")):
            if packed in path:
                return f"{folder}/{path.rpartition(packed)[2]}"
        return path

    def survives(self, mutant: Mutant, tests: dict[str, float]) -> bool:
        file = self.tree / mutant.path
        original = file.read_text(encoding="utf-8")
        file.write_text(mutant.code, encoding="utf-8")
        try:
            return all(
                self.run(["pytest", "-x", test], 30 + 1.5 * seconds)[0] == TestOutcome.SURVIVED
                for test, seconds in tests.items()
            )
        finally:
            file.write_text(original, encoding="utf-8")


class Tests:
    """The unit tests' files: whether they pass, how long they take, and which lines they run."""

    def __init__(self, tree: Path, copies: SimpleQueue[Copy], wanted: list[str]) -> None:
        self.tree, self.copies = tree, copies
        self.texts = {
            str(path.relative_to(tree)): path.read_text() for path in sorted((tree / "tests/unit").glob("test_*.py"))
        }
        CACHE.mkdir(exist_ok=True)
        for stale in set(CACHE.iterdir()) - {self.kept(test) for test in self.texts}:
            stale.unlink()
        files = [test for test in self.texts if any(fnmatch.fnmatch(test, pattern) for pattern in wanted)]
        with ThreadPoolExecutor(copies.qsize()) as pool:
            self.records = dict(zip(files, pool.map(self.record, files), strict=True))

    @cached_property
    def surroundings(self) -> str:
        """A hash of all that a test file's result hangs on, but for the test files."""
        total = hashlib.sha256(sys.version.encode())
        for path in sorted(self.tree.rglob("*")):
            top, *below = path.relative_to(self.tree).parts
            other_suite = (
                top == "tests" and below and below[0] not in ("unit", "swarm_stand_in") and path.parent.name != "tests"
            )
            if path.is_file() and top != "docs" and not other_suite and not path.name.startswith("test_"):
                total.update(str(path.relative_to(self.tree)).encode() + path.read_bytes())
        return total.hexdigest()

    def kept(self, test: str) -> Path:
        used = [text for other, text in self.texts.items() if Path(other).stem in self.texts[test] or other == test]
        return CACHE / f"{hashlib.sha256('|'.join([self.surroundings, test, *used]).encode()).hexdigest()}.json"

    def record(self, test: str) -> Record:
        kept = self.kept(test)
        if not kept.exists():
            copy = self.copies.get()
            try:
                record = copy.record(test)
            finally:
                self.copies.put(copy)
            if not record["passed"]:
                return record
            kept.write_text(json.dumps(record))
        return json.loads(kept.read_text())  # type: ignore[no-any-return]

    def of(self, source: Source, mutant: Mutant) -> dict[str, float]:
        """The test files that run the statement, quickest first; those that only import the file if no other does."""
        ran = {test: set(record["lines"].get(source.path, [])) for test, record in self.records.items()}
        if any(lines & source.bodies for lines in ran.values()):
            ran = {test: lines for test, lines in ran.items() if lines & source.bodies}
        statement = set(source.statement(mutant.line))
        chosen = {test: self.records[test]["seconds"] for test, lines in ran.items() if lines & statement}
        return dict(sorted(chosen.items(), key=lambda item: item[1]))


def draw(sources: list[Source], number: int, seed: str) -> list[Mutant]:
    """A few mutants of each file, and the rest wherever it falls; in an order that is fair however early it is cut."""
    drawn = [mutant for source in sources for mutant in islice(source.mutants, SETTINGS["least"])]
    shuffled = random.Random(seed)
    rest = [source for source in sources for _ in source.places[SETTINGS["least"] :]]
    shuffled.shuffle(rest)
    for source in rest:
        if len(drawn) >= number:
            break
        if (mutant := next(source.mutants, None)) is not None:
            drawn.append(mutant)
    shuffled.shuffle(drawn)
    return drawn[:number]


def percent(killed: int, number: int) -> int:
    return 100 * killed // number


def report(survived: dict[Mutant, str | None]) -> int:
    """Each file with its score and its survivors; `survived` says of a mutant why, or nothing if it was noticed."""
    known = tomllib.loads((Path(__file__).parent / "known.toml").read_text()).get("survivor", [])
    suites = {(entry["file"], entry["old"], entry["new"]): entry.get("suite") for entry in known}
    elsewhere, files = [], defaultdict(list)
    for mutant, why in survived.items():
        if why is not None and (suite := suites.get((mutant.path, mutant.old, mutant.new))):
            elsewhere.append(f"{mutant}   [{suite}]")
        else:
            files[mutant.path].append((mutant, why))
    low = []
    for path, results in sorted(files.items()):
        killed = sum(why is None for _, why in results)
        print(f"\n{path}: {killed} of {len(results)}, {percent(killed, len(results))} %")
        for mutant, why in sorted(results, key=lambda result: result[0].line):
            if why is not None:
                print(f"  {mutant}{why}")
        if len(results) >= SETTINGS["file_size"] and percent(killed, len(results)) < SETTINGS["file_goal"]:
            low.append(path)
    if elsewhere:
        print("\nNot counted, because a suite on live hosts was seen to fail on them:", *elsewhere, sep="\n  ")
    killed, number = (
        sum(counted(results) for results in files.values()) for counted in (lambda r: sum(w is None for _, w in r), len)
    )
    if not number:
        print("No mutant was run. MUTANTS, FILES and MINUTES say how many of which files may be.")
        return 2
    print(
        f"\nNoticed by the unit tests: {killed} of {number}, {percent(killed, number)} % (goal: {SETTINGS['goal']} %)."
    )
    if low:
        print(f"Below {SETTINGS['file_goal']} %: {', '.join(low)}.")
    return int(bool(low) or percent(killed, number) < SETTINGS["goal"])


def main() -> int:
    began = time.monotonic()
    number, minutes = int(os.environ.get("MUTANTS", "300")), float(os.environ.get("MINUTES", "60"))
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
    wanted = os.environ.get("FILES", "").split() or SETTINGS["files"]
    with tempfile.TemporaryDirectory(prefix="ddp-mutants-") as folder:
        tree = Copy(ROOT, Path(folder) / "0").tree
        # A link is the same file once more.
        files = [path for pattern in SETTINGS["files"] for path in sorted(tree.glob(pattern)) if not path.is_symlink()]
        scope = [str(path.relative_to(tree)) for path in files]
        if strange := [pattern for pattern in wanted if not fnmatch.filter(scope, pattern)]:
            print(f"FILES={' '.join(strange)}: no such file in {', '.join(SETTINGS['files'])}.")
            return 2
        sources = {path: Source(tree, path, seed) for path in scope if any(fnmatch.fnmatch(path, w) for w in wanted)}
        copies: SimpleQueue[Copy] = SimpleQueue()
        for name in range(int(os.environ.get("JOBS", "2"))):
            copies.put(Copy(tree, Path(folder) / f"{name + 1}"))
        print(
            f"SEED={seed} MUTANTS={number} MINUTES={minutes:g}. First each test file as it is: what does it run?",
            flush=True,
        )
        tests = Tests(tree, copies, os.environ.get("TESTS", "*").split())
        mutants = draw(list(sources.values()), number, seed)
        chosen = {mutant: tests.of(sources[mutant.path], mutant) for mutant in mutants}
        if failed := sorted({test for of in chosen.values() for test in of if not tests.records[test]["passed"]}):
            print(tests.records[failed[0]]["said"])
            print(f"On the tree as it is, without a mutant, these tests fail: {' '.join(failed)}. Mend them first.")
            return 2
        recorded = time.monotonic()
        print(
            f"{len(mutants)} mutants ('.' noticed, 's' survived), after {(recorded - began) / 60:.1f} minutes.",
            flush=True,
        )
        results: dict[Mutant, str | None] = {}

        def run(mutant: Mutant) -> None:
            if time.monotonic() - began > 60 * minutes:
                return
            copy = copies.get()
            try:
                why = "   [no unit test runs this line]" if not chosen[mutant] else ""
                results[mutant] = why if copy.survives(mutant, chosen[mutant]) else None
            finally:
                copies.put(copy)
            print("." if results[mutant] is None else "s", end="", flush=True)

        with ThreadPoolExecutor(copies.qsize()) as pool:
            list(pool.map(run, mutants))
        print(f"\n{(time.monotonic() - recorded) / max(1, len(results)):.1f} s for each mutant.")
    if len(results) < len(mutants):
        print(f"MINUTES={minutes:g} are over: {len(results)} of {len(mutants)} mutants were run.")
    return report(results)


if __name__ == "__main__":
    sys.exit(main())
