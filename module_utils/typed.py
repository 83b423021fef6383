"""A command of Ansible's as a person types it where they stand, with what it needs to be found and to find the project.

For the controller: the console and a filter print commands by it.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .masking import mask

PLAIN = re.compile(r"[\w./:-]+", re.ASCII)


def variable(name: str, value: Any) -> list[str]:
    """For ansible-playbook. What Ansible would cut or take for something else goes as JSON."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return ["-e", f"{name}={text}" if PLAIN.fullmatch(text) else json.dumps({name: value})]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence to go after another one; empty where nothing known is like the word."""
    close = difflib.get_close_matches(word, sorted(known), 1)
    return f" Did you mean {close[0]}?" if close else ""


def near(path: Path) -> str:
    """A path as short as it can be typed here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def program() -> str:
    """ansible-playbook of this Python's own environment, else that of the search path; empty where there is none."""
    beside = Path(sys.executable).parent / "ansible-playbook"
    return str(beside) if beside.exists() else shutil.which("ansible-playbook") or ""


def typed(words: list[str], project: Path) -> str:
    """The command, of which the first word is program(). What looks secret is hidden, and has to be filled in again.

    Elsewhere than in the project's directory Ansible has to be told where its configuration is.
    """
    # Not by the search path, which `make` and the console change for what they start.
    own = os.environ.get("VIRTUAL_ENV", "") if sys.prefix != sys.base_prefix else sys.prefix
    known = bool(own) and Path(own).absolute() == Path(words[0]).absolute().parents[1]
    shown = mask(["ansible-playbook" if known else near(Path(words[0])), *map(str, words[1:])])
    text = shlex.join(map(str, shown))
    config = os.environ.get("ANSIBLE_CONFIG")
    if config is None and Path.cwd() != project:
        config = str(project / "ansible.cfg")
    elif config and Path.cwd() == project and Path(config).absolute() == project / "ansible.cfg":
        config = None  # where Ansible finds it by itself
    return f"ANSIBLE_CONFIG={shlex.quote(config)} {text}" if config else text
