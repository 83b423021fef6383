"""A command that stands in for docker: it answers what it is told, and keeps how it was called."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.release import __version__ as ansible_version
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerCli, DockerError

# From 2.20 on a module's result has its arguments only if that is asked for.
INJECT = {"_ansible_inject_invocation": True} if tuple(map(int, ansible_version.split(".")[:2])) >= (2, 20) else {}

SCRIPT = '''#!{python}
"""Stands in for docker."""
import json, os, sys
from pathlib import Path
place = Path({place!r})
number = len(list(place.glob("*.call")))
given = "" if os.isatty(0) or sys.argv[1] not in ("load", "build", "login") else f"{{number:03}}.stdin"
if given:
    (place / given).write_bytes(sys.stdin.buffer.read())
(place / f"{{number:03}}.call").write_text(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ), "stdin": given}}))
for start, out, code in json.loads((place / "answers.json").read_text()):
    if sys.argv[1 : 1 + len(start.split())] == start.split():
        (sys.stderr if code else sys.stdout).buffer.write(out.encode("latin-1"))
        sys.exit(code)
sys.exit("this stand-in for docker has no answer to: " + " ".join(sys.argv[1:]))
'''


class StandIn:
    """`answers` maps the first words of a command to what it prints, each character a byte, or to its complaint and an exit code."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        place.mkdir()
        command = place / "docker"
        command.write_text(SCRIPT.format(python=sys.executable, place=str(place)))
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")

    def answer(self, answers: dict[str, str | tuple[str, int]]) -> None:
        lines = [(start, *((told, 0) if isinstance(told, str) else told)) for start, told in answers.items()]
        (self.place / "answers.json").write_text(json.dumps(lines))

    def calls(self, *start: str) -> list[dict[str, Any]]:
        """Those whose command begins with these words; `stdin` is what they were given."""
        found = [json.loads(path.read_text()) for path in sorted(self.place.glob("*.call"))]
        for call in found:
            call["stdin"] = (self.place / call["stdin"]).read_bytes() if call["stdin"] else b""
        return [call for call in found if tuple(call["argv"][: len(start)]) == start]


class Told(DockerCli):
    """The same without a process: what a command prints, by its first words, or (what it complains of, exit code)."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.asked = answers, list[tuple[str, ...]]()

    def run(self, *args: str, check: bool = True, **_options: Any) -> CompletedDocker:
        self.asked.append(args)
        said = next(said for start, said in self.answers.items() if " ".join(args).startswith(start))
        complaint, code = said if isinstance(said, tuple) else ("", 0)
        if code and check:
            raise DockerError(complaint)
        return CompletedDocker(code, "" if code else said if isinstance(said, str) else json.dumps(said), complaint)


def log_of_host(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a module writes to the host's log."""
    lines: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda *words: lines.append(str(words)))
    monkeypatch.setattr("ansible.module_utils.basic.has_journal", False)
    return lines


def run(module: Any, capsys: pytest.CaptureFixture[str], **params: Any) -> dict[str, Any]:
    """The result of a module, as Ansible gets it. None leaves a parameter out."""
    with (
        patch_module_args({**INJECT, **{name: value for name, value in params.items() if value is not None}}),
        pytest.raises(SystemExit),
    ):
        module.main()
    said = capsys.readouterr().out
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result
