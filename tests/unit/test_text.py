"""What containers write, made safe for a terminal."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.text import lines_of, printable, printable_all, short


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain, with\ttab\nand é 漢 🚀", "plain, with\ttab\nand é 漢 🚀"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]0;a title\x1b\\after", "after"),
        ("\x1b]52;c;Y2xpcGJvYXJk\x07", ""),
        ("\x1b]52;c;nobody ends it\nnext line", "\nnext line"),
        ("\x9b31mred", "red"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1bPq sixel \x1b\\after", "after"),
        ("\x1b(Bafter", "after"),
        ("\x1b7\x1b8\x1bcafter", "after"),
        ("lonely \x1b", "lonely "),
        ("bell\x07 backspace\x08 delete\x7f null\x00 next\x85", "bell backspace delete null next"),
        ("file\u202etxt.exe \u2066", "filetxt.exe "),
        ("file\u061ctxt", "filetxt"),
        ("dos\r\nline", "dos\nline"),
        (" 10%\r 20%\r100%", " 10%\n 20%\n100%"),
        ("visible\rhidden", "visible\nhidden"),
    ],
)
def test_no_terminal_obeys_it(raw: str, clean: str) -> None:
    assert printable(raw) == clean
    assert printable(clean) == clean


def test_colours_may_stay() -> None:
    raw = "\x1b[0;31mred\x1b[0m \x1b[2J\x1b]0;title\x07 \x1b[1;5H"
    assert printable(raw, colours=True) == "\x1b[0;31mred\x1b[0m  "


def test_no_control_character_is_left_of_any() -> None:
    everything = "".join(map(chr, range(0x300)))
    left = printable(everything)
    assert [ascii(letter) for letter in left if letter < " " or "\x7f" <= letter <= "\x9f"] == [
        r"'\t'",
        r"'\n'",
        r"'\n'",
    ]


def test_structures_are_cleaned_with_their_keys() -> None:
    raw = {"a\x1b[2J": ["\x07b", ("c\x00", 1, None)], "d": True}
    assert printable_all(raw) == {"a": ["b", ["c", 1, None]], "d": True}


def test_a_line_ends_where_the_engine_ends_it() -> None:
    odd = "a\x85b\u2028c\u2029d\x0be\x0cf\x1cg\rh"
    assert lines_of(f"{odd}\r\n\nend\n") == [odd, "", "end"]
    assert lines_of("end") == ["end"]
    assert lines_of("") == []


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("RUN pip install torch", "RUN pip install torch"),
        ("RUN pip install torch numpy", "RUN pip install torch ..."),
        ("RUN  pip\n install", "RUN pip install"),
        ("x" * 30, "x" * 21 + " ..."),
    ],
)
def test_a_line_is_cut_at_a_word(text: str, cut: str) -> None:
    assert short(text, 25) == cut
