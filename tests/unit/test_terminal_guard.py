"""What a host says is shown without what a terminal would obey: through a playbook that is really run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.callback import terminal_guard

ROOT = Path(__file__).resolve().parents[2]
SAID = r"said \033]52;c;Y2xpcGJvYXJk\007 \033]0;title\007 \033[2J\033[31m \302\2335;1H end"


@pytest.mark.parametrize("colours", [False, True])
def test_nothing_that_a_terminal_would_obey_is_shown(colours: bool, tmp_path: Path) -> None:
    shell = {"ansible.builtin.shell": f"printf '{SAID}'", "args": {"executable": "/bin/sh"}, "register": "host"}
    said = "{{ host.stdout }}"
    tasks = [
        shell,
        {"ansible.builtin.debug": {"msg": said}, "loop": [said]},
        {"ansible.builtin.copy": {"content": said, "dest": str(tmp_path / "out")}, "diff": True},
        {"ansible.builtin.shell": f"printf '{SAID}' >&2; exit 1", "ignore_errors": True},
        {"ansible.builtin.assert": {"that": False, "fail_msg": said, "quiet": True}, "name": "The last one"},
    ]
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-v",
            "-i",
            "localhost,",
            "-c",
            "local",
            tmp_path / "play.json",
        ]
        + ["-e", f"ansible_python_interpreter={sys.executable}"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": str(int(colours))},
        capture_output=True,
        check=False,
    )
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode == 2, shown
    assert shown.count("said") >= 5
    assert ("\x1b[0;31m" in shown) is colours
    rest = re.sub(r"\x1b\[[0-9;]*m", "", shown) if colours else shown
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", rest) == []


@pytest.mark.parametrize(("colours", "shown"), [(True, "\x1b[31mab\x1b[0m"), (False, "ab")])
def test_every_line_goes_through_it_with_what_it_was_given(
    colours: bool, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    display = SimpleNamespace(display=lambda *args, **options: calls.append((args, options)))
    monkeypatch.setattr(terminal_guard, "Display", lambda: display)
    monkeypatch.setattr(terminal_guard, "ANSIBLE_COLOR", colours)
    terminal_guard.CallbackModule()
    display.display("\x1b[31ma\x1b[2Jb\x1b[0m", "red", stderr=True)
    assert calls == [((shown, "red"), {"stderr": True})]
