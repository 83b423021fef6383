"""Ctrl-C, as who sits at a terminal presses it."""

import os
import signal
import subprocess


def press_until_it_ends(process: "subprocess.Popen[str]", seconds: float = 60) -> str:
    """What the process says until it ends. It has to lead its process group.

    Python drops a Ctrl-C that comes while it forks, as Ansible does for each task and host. Who sits there presses again.
    """
    for _press in range(int(seconds // 10)):
        os.killpg(process.pid, signal.SIGINT)
        try:
            return process.communicate(timeout=10)[0] or ""
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"It goes on, {seconds:.0f} s after Ctrl-C.")
