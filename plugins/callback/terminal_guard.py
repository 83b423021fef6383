"""Keeps escape sequences of containers and hosts from the terminal of whoever runs a playbook."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.utils.color import ANSIBLE_COLOR
from ansible.utils.display import Display

from ..module_utils.text import printable

DOCUMENTATION = r"""
name: terminal_guard
type: notification
short_description: Keeps escape sequences of containers and hosts from the terminal
description:
  - Ansible shows messages, diffs and items of loops as a host sent them, with what a terminal would obey in them, such as OSC 52, which
    writes to the clipboard. This plugin takes it out of all that is shown, other than colours where Ansible uses them.
  - It works on Ansible's own C(Display), through which every line goes, whatever callback made it.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc,unused-ignore]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "terminal_guard"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        display = Display()
        show = display.display

        def show_printable(msg: str, *args: Any, **options: Any) -> None:
            show(printable(msg, colours=ANSIBLE_COLOR), *args, **options)

        display.display = show_printable
