"""A command line that says what is wrong in one sentence."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .process import try_to_write


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def number(kind: Callable[[str], Any], least: float, words: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be {words}, not {text!r}")
        return value

    return parse


count = number(int, 1, "a whole number of at least 1")
positive = number(float, 1e-12, "a number above 0")


def require_writable(parser: Parser, *directories: Path) -> None:
    for directory in dict.fromkeys(directories):
        try:
            try_to_write(directory)
        except OSError as error:
            parser.error(f"cannot write to {directory}: {error.strerror}")
