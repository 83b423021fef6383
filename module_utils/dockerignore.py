"""What a .dockerignore leaves out of a build context. Standard library only.

The rules are those of docker's own reader (https://github.com/moby/patternmatcher), which are not gitignore's: a pattern is of the whole
path, '**' stands for any number of directories, the last pattern that fits decides, and letters in another case are other letters.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

BUILD_FILES = ("Dockerfile", ".dockerignore")
# What an expression means something by, and a pattern does not.
ESCAPED = ".+()|{}$"


class BadPattern(ValueError):
    """A line that docker refuses too."""


@dataclass(frozen=True)
class Pattern:
    text: str
    back: bool = False  # with '!': it takes back what an earlier one has left out
    expression: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "expression", re.compile(expression_of(self.text), re.DOTALL))
        except (re.error, IndexError) as error:
            raise BadPattern(f"{self.text!r} is no pattern") from error

    def fits(self, path: str) -> bool:
        return self.expression.fullmatch(path) is not None

    def reaches_into(self, directory: str) -> bool:
        return any(sign in self.text for sign in "*?[\\") or f"{self.text}/".startswith(f"{directory}/")


def expression_of(pattern: str) -> str:
    """A regular expression for whole paths."""
    # '**' at the beginning, and no other sign behind it, is of any path that ends so, even within a name.
    rest = pattern[2:]
    if pattern.startswith("**") and not any(sign in rest for sign in "*?[]\\"):
        plain = re.escape(rest.removeprefix("/"))
        return f"(?:.*/)?{plain}" if rest.startswith("/") else f".*{plain}"
    made, at = "", 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1 + pattern.startswith("/", at + 1)
            made += "(?:.*/)?" if at < len(pattern) else ".*"
        elif letter == "*":
            made += "[^/]*"
        elif letter == "?":
            made += "[^/]"
        elif letter == "\\":
            made += re.escape(pattern[at])
            at += 1
        else:
            made += f"\\{letter}" if letter in ESCAPED or (letter == "^" and not made.endswith("[")) else letter
    return made


def patterns_of(text: str) -> list[Pattern]:
    """Those of a .dockerignore. BadPattern names the one that is none."""
    found = []
    for line in text.removeprefix("\ufeff").split("\n"):
        if line.startswith("#") or not line.strip():
            continue
        entry = line.strip()
        back = entry.startswith("!")
        name = entry[back:].strip()
        if not name:
            raise BadPattern("'!' alone is no pattern")
        clean = posixpath.normpath(name).lstrip("/")
        found.append(Pattern(clean or "/", back))
    return found


class Ignored:
    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = [*patterns, *(Pattern(name, back=True) for name in BUILD_FILES)]
        # Of a pattern, a directory is asked about once for each path in it.
        self.fits = cache(Pattern.fits)

    def leaves_out(self, path: str) -> bool:
        """A path below the context, with '/' between its parts. A pattern that fits a directory is of all that is in it."""
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        out = False
        for pattern in self.patterns:
            if pattern.back == out and any(self.fits(pattern, name) for name in above):
                out = not pattern.back
        return out

    def kept(self, root: Path) -> Iterator[str]:
        """What is sent: files, links, and the directories that nothing sent is in. Sockets and the like are not."""
        return self._kept(root, "")

    def _kept(self, directory: Path, prefix: str) -> Iterator[str]:
        for entry in os.scandir(directory):
            name = prefix + entry.name
            out = self.leaves_out(name)
            if entry.is_dir(follow_symlinks=False):
                if out and not any(pattern.back and pattern.reaches_into(name) for pattern in self.patterns):
                    continue
                inside = list(self._kept(Path(entry.path), f"{name}/"))
                yield from inside or ([] if out else [name])
            elif not out and (entry.is_symlink() or entry.is_file()):
                yield name
