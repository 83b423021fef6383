"""Single values as docker reads and writes them: scalars of YAML, durations, sizes, commands. All errors are ValueError."""

from __future__ import annotations

import math
import re
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

# go-yaml, resolve.go. What else YAML 1.1 has for true and false (yes, on) is text to docker.
WORDS: dict[str, Any] = {
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
}
INTEGER = re.compile(
    r"(?P<sign>[-+]?)(?:0x(?P<x>[0-9a-f]+)|0b(?P<b>[01]+)|0o?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))", re.IGNORECASE
)
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
TIME = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:(?:[Tt](\d\d?):(\d\d?):(\d\d?)(\.\d+)?(Z|[-+]\d\d:\d\d))| (\d\d?):(\d\d?):(\d\d?)(\.\d+)?)?",
    re.ASCII,
)
BASES = {"x": 16, "b": 2, "o": 8, "d": 10}


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar. A time becomes the text that docker makes of it."""
    if text in WORDS:
        return WORDS[text]
    if not text or text[0] not in "+-.0123456789":
        return text
    plain = text if text[0] == "." else text.replace("_", "")
    found = INTEGER.fullmatch(plain)
    if found and text[0] != ".":
        number = next(
            int(digits, BASES[base]) for base, digits in found.groupdict().items() if base != "sign" and digits
        )
        number = -number if found["sign"] == "-" else number
        if -(2**63) <= number < (2**63 if found["sign"] else 2**64):
            return number
    if FLOAT.fullmatch(plain):
        value = float(plain)
        return value if math.isfinite(value) else text
    return _time_text(text) or text


def _time_text(text: str) -> str:
    found = TIME.fullmatch(text)
    if not found:
        return ""
    year, month, day, *rest = found.groups()
    hour, minute, second, fraction, zone = [*rest[:4], rest[4]] if rest[0] else [*rest[5:], None]
    try:
        moment = datetime(*(int(part or 0) for part in (year, month, day, hour, minute, second)))  # type: ignore[arg-type]
    except ValueError:
        return ""
    offset = "+0000 UTC" if zone in (None, "Z") else f"{zone.replace(':', '')} {zone.replace(':', '')}"
    decimals = (fraction or "").rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%d %H:%M:%S}{decimals} {offset}"


def text_of(value: Any) -> str:
    """As Go prints it. A bare true in a mapping is what its author meant by "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return "" if value is None else str(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    shown = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + int(exponent) - 1 if value else 0
    minus = "-" if sign else ""
    if power < -4 or power >= 6:
        mantissa = shown[0] + (f".{shown[1:]}" if len(shown) > 1 else "")
        return f"{minus}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
    plain = format(Decimal(repr(value)), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def duration(text: str) -> str:
    """A duration as Go prints it: 90s and 1m30s are the same."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("-", "+") else ("", text)
    total = nanoseconds(rest)
    return ("-" if sign == "-" and total else "") + _duration_text(total)


def nanoseconds(text: str) -> int:
    """Of a duration without a sign."""
    parts = PART.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise ValueError("is no duration such as 1m30s")
    return sum(int(Fraction(number.rstrip(".")) * UNITS[unit]) for number, unit in parts)


def _duration_text(nanoseconds: int) -> str:
    if nanoseconds < 10**9:
        unit = next((unit for unit in ("ms", "µs", "ns") if nanoseconds >= UNITS[unit]), "s")
        return _decimal(nanoseconds, UNITS[unit]) + unit
    minutes, rest = divmod(nanoseconds, UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, UNITS['s'])}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    decimals = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


SIZE = re.compile(r"(.*[0-9. ])([^0-9. ]*)", re.DOTALL)


def size(text: str) -> int:
    """Bytes of 512M, 1.5gb, 4 KiB or 100."""
    found = SIZE.fullmatch(text)
    unit = re.fullmatch(r"(?:b|([kmgtp])(?:i?b)?)?", found[2], re.IGNORECASE) if found else None
    number = found[1][:-1] if found and found[1].endswith(" ") else found[1] if found else ""
    if not unit or not re.fullmatch(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", number):
        raise ValueError("is no size such as 512M")
    if math.isinf(float(number)):
        raise ValueError("is too large for a size")
    return int(float(number) * 1024 ** " kmgtp".index((unit[1] or " ").lower()))


def integer(text: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        raise ValueError("is no whole number")
    return int(text)


def number(text: str) -> float:
    if not FLOAT.fullmatch(text):
        raise ValueError("is no number")
    return float(text)


def boolean(text: str) -> bool:
    if text.lower() in ("y", "yes", "true", "on"):
        return True
    if text.lower() in ("n", "no", "false", "off"):
        return False
    raise ValueError("is neither true nor false")


def words(text: str) -> list[str]:
    """The words of a command, as github.com/google/shlex splits it. Python's own keeps backslashes in quotes, and has no comments."""
    found: list[str] = []
    word: str | None = None
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character in " \t\r\n":
            if word is not None:
                found.append(word)
            word = None
        elif character == "#" and word is None:
            end = text.find("\n", position)
            position = len(text) if end < 0 else end + 1
        elif character == "\\":
            if position == len(text):
                raise ValueError("ends after a backslash")
            word = (word or "") + text[position]
            position += 1
        elif character in "\"'":
            quoted, position = _quoted(text, position, character)
            word = (word or "") + quoted
        else:
            word = (word or "") + character
    return found if word is None else [*found, word]


def _quoted(text: str, position: int, quote: str) -> tuple[str, int]:
    """What is between quotes, and where it goes on. Between double quotes a backslash protects any character."""
    made = ""
    while position < len(text):
        character = text[position]
        position += 1
        if character == quote:
            return made, position
        if character == "\\" and quote == '"' and position < len(text):
            character = text[position]
            position += 1
        made += character
    raise ValueError("has a quote without its end")
