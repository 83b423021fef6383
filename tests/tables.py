"""Brings the tables of docs/faults.md and docs/diagnosis.md up to what the suites have last written: artifacts/faults.json and hangs.md.

    make faults hangs
    python tests/tables.py

A row that no run has written stays as it is; one that there is no result of says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hangs.stalls import EXPECTED
from planted import FAULTS

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = "not run since"
FAULT_HEAD = ["fault", "located", "cured by its hint", "what was reported"]
STALL_HEAD = ["planted on rank 1", "what is said"]
Rows = dict[str, list[str]]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def line(row: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in row) + " |"


def cut(text: str, first: str) -> tuple[str, Rows, str]:
    """A page's text before its table whose first column is named so, the rows by their first cells, and the text behind it."""
    lines = text.splitlines(keepends=True)
    begin = next(number for number, row in enumerate(lines) if row.startswith("|") and cells(row)[0] == first)
    end = next((number for number in range(begin, len(lines)) if not lines[number].startswith("|")), len(lines))
    rows = {cells(row)[0]: cells(row)[1:] for row in lines[begin + 2 : end]}
    return "".join(lines[:begin]), rows, "".join(lines[end:])


def drawn(head: list[str], rows: Rows) -> str:
    return "".join(
        f"{row}\n"
        for row in (line(head), line(["---"] * len(head)), *(line([name, *row]) for name, row in rows.items()))
    )


def faults_page(text: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows of the list of faults in its order, then those of what else the suite plants."""
    before, known, behind = cut(text, "fault")
    # As the table was before it told what was located and cured.
    known = {name: [NOT_RUN, NOT_RUN, *row] if len(row) == 1 else row for name, row in known.items()}
    rows: Rows = {fault.name: known.get(fault.name, [NOT_RUN] * 3) for fault in FAULTS}
    rows |= {name: row for name, row in known.items() if name not in rows}
    for name, one in results.items():
        rows[name] = [one["located"] or "no", one["cured"] or "–", one["said"]]
    listed = [rows[fault.name] for fault in FAULTS]
    run = [row for row in listed if row[0] != NOT_RUN]
    curable = [row for row in run if row[1] in ("yes", "no")]
    totals = (
        f"Of {len(FAULTS)} faults that are planted on two hosts, {sum(row[2] == NOT_RUN for row in listed)} have no result here. Of the {len(run)} "
        f"whose place and cure were noted, {sum(row[0] != 'no' for row in run)} were located, and {sum(row[1] == 'yes' for row in curable)} of the "
        f"{len(curable)} that have a cure were cured by their hints."
    )
    rest = [paragraph.strip("\n") for paragraph in behind.split("\n\n") if not paragraph.lstrip().startswith("Of ")]
    return f"{before}{drawn(FAULT_HEAD, rows)}\n" + "\n\n".join([totals, *filter(None, rest)]) + "\n"


def diagnosis_page(text: str, said: Rows) -> str:
    before, known, behind = cut(text, STALL_HEAD[0])
    rows: Rows = {name: [NOT_RUN] for name in EXPECTED}
    rows |= known
    rows |= said
    return before + drawn(STALL_HEAD, rows) + behind


def main() -> None:
    results, hangs = ROOT / "artifacts/faults.json", ROOT / "artifacts/hangs.md"
    faults, diagnosis = ROOT / "docs/faults.md", ROOT / "docs/diagnosis.md"
    faults.write_text(faults_page(faults.read_text(), json.loads(results.read_text()) if results.exists() else {}))
    said = cut(hangs.read_text(), STALL_HEAD[0])[1] if hangs.exists() else {}
    diagnosis.write_text(diagnosis_page(diagnosis.read_text(), said))


if __name__ == "__main__":
    main()
