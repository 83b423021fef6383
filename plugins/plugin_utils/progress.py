"""How far a task is that takes long: its action plugin notes that for each host, and the callback phases shows it.

They are processes of one run of Ansible, which share its directory for temporary files on the controller.
"""

from __future__ import annotations

import copy
import json
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ansible import constants as C
from ansible.errors import AnsibleError

from ..module_utils.text import short

EVERY = 1.0  # seconds between two looks
WIDTH = 70
MOST = 1000  # characters of what a host says


def place() -> Path:
    return Path(C.DEFAULT_LOCAL_TMP) / "progress"


def note(host: str, text: str, step: bool) -> None:
    """`step`: it is shown when it is new, and not only when the task is named again."""
    place().mkdir(mode=0o700, exist_ok=True)
    file = place() / quote(host, safe="")
    new = file.with_name(f"{file.name}.new~")
    new.write_text(json.dumps({"text": text, "step": step}), encoding="utf-8")
    os.replace(new, file)


def forget(host: str) -> None:
    with suppress(OSError):
        (place() / quote(host, safe="")).unlink()


def noted() -> dict[str, dict[str, Any]]:
    """By host, `text` and `step` of each that has noted something."""
    found = {}
    with suppress(OSError):
        for file in sorted(place().iterdir()):
            if not file.name.endswith("~"):
                with suppress(OSError, ValueError):
                    found[unquote(file.name)] = json.loads(file.read_text(encoding="utf-8"))
    return found


def second(connection: Any) -> Any:
    """A connection of the same kind, for looks beside what `connection` is about to do: it keeps passwords and prompts for what runs in itself."""
    return copy.copy(connection)


def builtin(action: Any, name: str) -> Any:
    """Ansible's own plugin of this name, for the task that `action` runs."""
    return action._shared_loader_obj.action_loader.get(
        f"ansible.builtin.{name}",
        task=action._task,
        connection=action._connection,
        play_context=action._play_context,
        loader=action._loader,
        templar=action._templar,
        shared_loader_obj=action._shared_loader_obj,
    )


@contextmanager
def watched(
    task_vars: dict[str, Any] | None, look: Callable[[], str], step: bool = False, width: int = WIDTH
) -> Iterator[None]:
    """Notes meanwhile what `look` returns, for the host of `task_vars`: how far it is, or nothing. Where that fails, the task goes on without."""
    host, ended = str((task_vars or {}).get("inventory_hostname", "")), threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY):
            with suppress(AnsibleError, OSError, ValueError):
                if (text := short(look(), width)) and not ended.is_set():
                    note(host, text, step)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(timeout=EVERY)
        forget(host)


def executed(action: Any, task_vars: dict[str, Any] | None, step: bool = False, width: int = WIDTH) -> dict[str, Any]:
    """The action's module, run with the option `progress`: a file, whose first line is shown meanwhile."""
    try:
        # Of the user who logs in: the file in it is read without becoming another, while the module runs.
        file = action._connection._shell.join_path(action._make_tmp_path(), "step")
    except AnsibleError:  # nobody sees how far it is
        done: dict[str, Any] = action._execute_module(task_vars=task_vars)
        return done
    beside = second(action._connection)

    def look() -> str:
        said: bytes = beside.exec_command(f"cat {shlex.quote(file)}", sudoable=False)[1]
        return next(iter(said[:MOST].decode("utf-8", "replace").splitlines()), "")

    with watched(task_vars, look, step=step, width=width):
        done = action._execute_module(module_args={**action._task.args, "progress": file}, task_vars=task_vars)
    return done
