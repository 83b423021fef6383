"""A terminal of tmux, in which a person would type, and its screens, kept in artifacts/console."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

from by_path import ROOT
from rich.console import Console
from rich.text import Text

SCREENS = ROOT / "artifacts" / "console"


class Terminal:
    """A shell in the project's directory, of so many columns and rows."""

    def __init__(self, columns: int, rows: int, environment: dict[str, str]) -> None:
        self.name = f"ddp-console-{os.getpid()}"
        self.size = (columns, rows)
        given = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
        self.tmux("new-session", "-d", "-s", self.name, "-x", str(columns), "-y", str(rows), *given, "bash --norc")
        self.tmux("set-option", "-t", self.name, "status", "off")
        self.tmux("resize-window", "-t", self.name, "-x", str(columns), "-y", str(rows))
        self.commands = 0
        self.type(f"cd {shlex.quote(str(ROOT))}; PS1='$ '; clear")

    def tmux(self, *words: str) -> str:
        # A server of its own: whoever else uses tmux here is not met.
        command = ["tmux", "-L", self.name, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
        self.tmux("resize-window", "-t", self.name, "-x", str(columns), "-y", str(rows))

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", self.name, "-l", text)
        self.tmux("send-keys", "-t", self.name, "Enter")

    def interrupt(self) -> None:
        self.tmux("send-keys", "-t", self.name, "C-c")

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", self.name)

    def keep(self, name: str) -> str:
        """The screen, also in a file whose name has the terminal's size."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        columns, rows = self.size
        screen = self.screen()
        lines = screen.splitlines()
        assert len(lines) <= rows
        assert all(len(line) <= columns for line in lines)
        Path(SCREENS / f"{name}-{columns}x{rows}.txt").write_text(screen)
        Path(SCREENS / f"{name}-{columns}x{rows}.svg").write_text(self.picture())
        return screen

    def picture(self) -> str:
        """The screen in its colours, as a drawing that fetches nothing."""
        console = Console(width=self.size[0], record=True, file=io.StringIO(), force_terminal=True)
        for line in self.tmux("capture-pane", "-p", "-e", "-t", self.name).rstrip().splitlines():
            console.print(Text.from_ansi(line), no_wrap=True, crop=True)
        return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="./ddp watch"), flags=re.DOTALL)

    def waits_for(self, pattern: str, seconds: float = 300) -> str:
        """The screen that has the pattern."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, screen := self.screen(), re.MULTILINE):
            assert time.monotonic() < deadline, f"no {pattern} in:\n{screen}"
            time.sleep(0.5)
        return screen

    def begin(self, command: str) -> None:
        """Types a command whose end ended() can tell."""
        self.commands += 1
        self.type(f"clear; {command}; echo ended-$(( {self.commands} )) $?")

    def ended(self, seconds: float = 300) -> int:
        screen = self.waits_for(rf"^ended-{self.commands} (\d+)", seconds)
        return int(re.findall(rf"^ended-{self.commands} (\d+)", screen, re.MULTILINE)[-1])

    def runs(self, command: str, name: str, seconds: float = 300) -> tuple[int, str]:
        self.begin(command)
        code = self.ended(seconds)
        return code, self.keep(name)

    def close(self) -> None:
        self.tmux("kill-server")
