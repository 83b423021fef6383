"""The last lines of a command, as a person wants them."""

import time

from ddp_launcher.progress import KEPT, MOST, Output

TRACEBACK = """[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 3, in <module>
[rank1]:     main()
[rank1]: RuntimeError: the loss is nan
"""
TORCHRUN = (
    "E1129 ... failed (exitcode: 1)\n"
    + "Traceback (most recent call last):\n"
    + '  File "run.py"\n' * 40
    + "ChildFailedError: \n"
)


def output(text: str, stream: int = 1) -> Output:
    made = Output()
    made.add(stream, text.encode())
    return made


def test_the_first_traceback_and_what_was_before_it() -> None:
    before = "".join(f"step {number}\n" for number in range(9))
    lines = output(before + TRACEBACK + TORCHRUN).last()
    assert lines == ["step 6", "step 7", "step 8", *TRACEBACK.splitlines()]


def test_of_a_long_one_its_end() -> None:
    lines = output("Traceback (most recent call last):\n" + "  deep\n" * 50 + "ValueError: x\nafter\n").last()
    assert lines == ["  deep"] * (MOST - 1) + ["ValueError: x"]


def test_without_one_the_last_lines_also_of_standard_output() -> None:
    assert output("a\nb\n").last() == ["a", "b"]
    assert output("a\nb", 0).last() == ["a", "b"]
    assert len(output("x\n" * 99).last()) == MOST
    assert Output().last() == []


def test_a_progress_bar_shows_its_last_state() -> None:
    assert output("\r 1%|\r 2%|\r 3%|\nend\r\n").lines() == [" 3%|", "end"]


def test_what_is_kept_is_bounded_and_begins_with_a_whole_line() -> None:
    made = Output()
    for _ in range(3):
        made.add(1, b"0123456789\n" * 5000)
    assert len(made.kept[1]) == KEPT
    assert set(made.lines()) == {"0123456789"}
    made.add(1, b"x" * (KEPT - 1) + b"\n")
    made.add(1, b"")
    assert len(made.kept[1]) == KEPT


def test_silence() -> None:
    made = Output()
    made.time -= 100
    assert made.silent > 99
    made.add(0, b"x")
    assert made.silent < 1 < time.monotonic()
