"""The tables of what was planted: no row is missing, and none is made up."""

from __future__ import annotations

from by_path import ROOT
from hangs.stalls import EXPECTED
from planted import FAULTS
from tables import NOT_RUN, cut, diagnosis_page, faults_page

MEND = "python tests/tables.py brings the tables up to date"
FAULTS_PAGE = "# Page\n\nWords.\n\n| fault | what was reported |\n| --- | --- |\n| {name} | said before |\n| another test's | said |\n"


def test_every_fault_and_every_stall_has_a_row() -> None:
    text = (ROOT / "docs/faults.md").read_text()
    assert [fault.name for fault in FAULTS if fault.name not in cut(text, "fault")[1]] == [], MEND
    assert faults_page(text, {}) == text, MEND
    text = (ROOT / "docs/diagnosis.md").read_text()
    assert [name for name in EXPECTED if name not in cut(text, "planted on rank 1")[1]] == [], MEND
    assert diagnosis_page(text, {}) == text, MEND


def test_what_was_run_takes_the_place_of_what_was_there() -> None:
    first, second, third = (fault.name for fault in FAULTS[:3])
    results = {
        second: {"located": "layer 8, host1", "cured": "yes", "seconds": 9.0, "said": "a | b"},
        third: {"located": "", "cured": "", "seconds": 9.0, "said": "nothing"},
    }
    page = faults_page(FAULTS_PAGE.format(name=first), results)
    _before, rows, behind = cut(page, "fault")
    assert rows[first] == [NOT_RUN, NOT_RUN, "said before"]
    assert rows[second] == ["layer 8, host1", "yes", "a / b"]
    assert rows[third] == ["no", "–", "nothing"]
    assert rows[FAULTS[3].name] == [NOT_RUN] * 3
    assert rows["another test's"] == [NOT_RUN, NOT_RUN, "said"]
    assert "Of the 2 whose place and cure were noted, 1 were located, and 1 of the 1 that have a cure" in behind
    assert f"{len(FAULTS) - 3} have no result here" in behind
    assert faults_page(page, {}) == page


def test_the_rows_of_stalls() -> None:
    page = "| planted on rank 1 | what is said |\n| --- | --- |\n| a rank sleeps | before |\n\nWords.\n"
    found = diagnosis_page(page, {EXPECTED[1]: ["now"]})
    _before, rows, behind = cut(found, "planted on rank 1")
    assert (rows["a rank sleeps"], rows[EXPECTED[1]], rows[EXPECTED[-1]]) == (["before"], ["now"], [NOT_RUN])
    assert behind == "\nWords.\n"
