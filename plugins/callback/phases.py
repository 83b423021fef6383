"""Shows a playbook in few lines: what changed, what the roles have to say, why it failed, how long each part took."""

from __future__ import annotations

import atexit
import os
import re
import signal
import threading
import time
from collections import Counter
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.template import Templar

from ..filter.playbook_command import playbook_command
from ..filter.project import beside
from ..filter.ssh_command import connection_trouble, no_answer
from ..module_utils.brief import brief
from ..module_utils.text import printable
from ..plugin_utils import progress

DOCUMENTATION = r"""
name: phases
type: stdout
short_description: Shows what changed, what there is to read, and why it failed
description:
  - For each play, one line for each host and task that changed something, and the messages of the roles, each line as it is, so that
    commands can be copied. A play in which nothing changed takes one line.
  - A failure comes last, with at most 20 lines of log.
  - With C(-v), or C(ANSIBLE_STDOUT_CALLBACK=default), all is shown as Ansible does it.
extends_documentation_fragment: [default_callback, result_format_callback]
options:
  heartbeat:
    description:
      - Seconds after which a task that still runs is named, with the time that it has taken. It is named again after twice as long, every
        30 seconds at least in the first ten minutes, and every five minutes at least after them. 0 never names it.
    type: float
    default: 15
    env: [{name: DDP_HEARTBEAT}]
    ini: [{section: callback_phases, key: heartbeat}]
"""

LONG = 5.0  # seconds from which on the time of a task is shown
# Seconds between two signs of life of a task, while people may wait for it and later, and how long they do.
SHORT_SILENCE = 30.0
LONGEST_SILENCE = 300.0
PATIENCE = 600.0
HOSTS = 4  # that are named in a sign of life
DEBUG = ("debug", "ansible.builtin.debug", "ansible.legacy.debug")
# Tasks that fail by doing what their name says.
ENDS = ("fail", "assert")
DONE_BY_IT = re.compile(r"(?:Refuse|Report)\b", re.IGNORECASE)


class CallbackModule(Default):  # type: ignore[misc,unused-ignore]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "ddp.swarm.phases"

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.shown = "", False
        self.playbook: Any = None
        self.task: Any = None
        # Whether a task of the phase has begun, and one of the run that tags have chosen.
        self.begun = self.chosen = False
        self.began = self.task_began = time.monotonic()
        self.times: list[tuple[str, float]] = []
        self.changes: Counter[str] = Counter()
        self.failed: dict[str, tuple[str, str, list[str]]] = {}
        self.said: set[tuple[str, str]] = set()
        self.unreached: set[str] = set()
        self.ended = False
        self.lock = threading.RLock()
        self.waits: threading.Timer | None = None
        self.looks: threading.Timer | None = None
        # Of the task that runs, the step at which each host was shown.
        self.steps: dict[str, str] = {}
        # Of the task that runs: the hosts that are at it, and which try of how many it is.
        self.busy: list[str] = []
        self.tries = ""
        self.watch_streams()

    @property
    def whole(self) -> bool:
        return bool(self._display.verbosity)

    def watch_streams(self) -> None:
        """What an action plugin shows meanwhile comes from its process by Display, and past every callback: its phase comes before it."""
        show, here = self._display.display, os.getpid()

        def under_its_phase(msg: str, *args: Any, **options: Any) -> None:
            if os.getpid() == here and not options.get("stderr"):
                self.show_phase()
            show(msg, *args, **options)

        self._display.display = under_its_phase

    def show_phase(self) -> None:
        with self.lock:
            if not self.shown and self.phase:
                self.shown = True
                self._display.display(printable(self.phase), color=C.COLOR_HIGHLIGHT)

    def emit(self, text: str, colour: str | None = None) -> None:
        """`text` may be what a container wrote."""
        with self.lock:
            self.show_phase()
            self._display.display("  " + printable(text).replace("\n", "\n  "), color=colour)

    # Phases

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self.playbook = playbook
        atexit.register(self.has_been_interrupted)
        if self.whole or not context.CLIARGS.get("check"):
            super().v2_playbook_on_start(playbook)
        else:
            self._display.display("In check mode: what would change, and nothing is.", color=C.COLOR_HIGHLIGHT)

    def has_been_interrupted(self) -> None:
        """Ansible tells no plugin of Ctrl-C. It has then given the signal back to the system (TaskQueueManager._signal_handler)."""
        if not self.ended and signal.getsignal(signal.SIGINT) is signal.SIG_DFL and not context.CLIARGS.get("check"):
            said = (
                self.left_job()
                or "The same command goes on from what is done. A job that was started runs on: playbooks/status.yml shows it."
            )
            self._display.display(said, color=C.COLOR_HIGHLIGHT)

    def left_job(self) -> str:
        """What to say of the job that is followed; empty where none is."""
        if not (self.task and self.busy and follows(self.task)):
            return ""
        manager = self._play.get_variable_manager()
        host = manager._inventory.get_host(self.busy[0])
        variables = manager.get_vars(play=self._play, host=host, task=self.task)
        job = Templar(loader=self.playbook._loader, variables=variables).template(self.task.args["stack"])
        project, sources = str(beside(self.playbook._basedir)), manager._inventory._sources
        follow, end = (
            playbook_command(f"playbooks/{name}.yml", project, sources, training_stack=str(job))
            for name in ("follow", "stop")
        )
        return f"The job {job} goes on by itself.\nFollow: {follow}\nEnd: {end}"

    def v2_playbook_on_play_start(self, play: Any) -> None:
        if self.whole:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        self.end_phase()
        self.phase, self.shown, self.began = play.get_name().strip() or "Play", False, time.monotonic()
        self.begun = False

    def end_phase(self) -> None:
        self.be_quiet()
        if self.phase and (self.begun or self.shown):
            took, idle = time.monotonic() - self.began, not self.shown and not self.failed
            self.times.append((self.phase, took))
            self.shown = True
            if idle:
                self._display.display(f"{printable(self.phase)}: nothing to change ({took:.0f} s)", color=C.COLOR_OK)
        self.phase = ""

    # Tasks

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        if self.whole:
            super()._task_start(task, prefix)
            return
        self.begun = True
        self.chosen = self.chosen or "always" not in task.tags or "always" in context.CLIARGS.get("tags", ())
        self._task_type_cache[task._uuid] = prefix
        self._last_task_name = task.get_name().strip()
        self.task_began = time.monotonic()
        self.be_quiet()
        self.busy, self.tries, self.steps = [], "", {}
        self.task = task
        if not follows(task):
            seconds = float(self.get_option("heartbeat"))
            self.wait(task.get_name().strip(), seconds)
            self.look(seconds)

    def wait(self, name: str, seconds: float) -> None:
        if seconds <= 0:
            return
        began = self.task_began

        def beat() -> None:
            with self.lock:
                if self.waits is timer:
                    took = time.monotonic() - began
                    self.emit(f"... {name} ({took:.0f} s){self.waits_for()}", C.COLOR_SKIP)
                    self.wait(name, next_wait(seconds, took))

        with self.lock:
            self.waits = timer = threading.Timer(seconds, beat)
            timer.daemon = True
            timer.start()

    def look(self, seconds: float) -> None:
        """Again and again while the task runs, for the steps that its hosts come to."""
        if seconds <= 0:
            return

        def show() -> None:
            with self.lock:
                if self.looks is timer:
                    for host, one in progress.noted().items():
                        if one["step"] and self.steps.get(host) != one["text"]:
                            self.steps[host] = one["text"]
                            self.emit(
                                f"... {host}: {one['text']} ({time.monotonic() - self.task_began:.0f} s)", C.COLOR_SKIP
                            )
                    self.look(seconds)

        with self.lock:
            self.looks = timer = threading.Timer(progress.EVERY, show)
            timer.daemon = True
            timer.start()

    def waits_for(self) -> str:
        """The hosts that have not answered, as far as there is room for their names, with how far they are where that is known."""
        hosts, more, far = list(self.busy[:HOSTS]), len(self.busy) - HOSTS, progress.noted()
        named = ", ".join(f"{host} ({far[host]['text']})" if host in far else host for host in hosts) + (
            f" and {more} more" if more > 0 else ""
        )
        return (f": waits for {named}" if named else "") + (f", {self.tries}" if self.tries else "")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if self.whole:
            super().v2_runner_on_start(host, task)
        else:
            self.busy = [*self.busy, host.get_name()]

    def has_answered(self, result: Any) -> None:
        self.busy = [host for host in self.busy if host != result.host.get_name()]

    def be_quiet(self) -> None:
        with self.lock:
            for timer in (self.waits, self.looks):
                if timer:
                    timer.cancel()
            self.waits = self.looks = None

    def _print_task_banner(self, task: Any) -> None:
        """What Ansible's own code does before it shows a diff."""
        if self.whole:
            super()._print_task_banner(task)
            return
        self._last_task_banner = task._uuid
        self.emit(f"{task.get_name().strip()}:")

    def done(self, task: Any) -> str:
        took = time.monotonic() - self.task_began
        return str(task.get_name()).strip() + (f" ({took:.0f} s)" if took >= LONG else "")

    def place(self, result: Any) -> str:
        """The host on which it was done. Of a loop, which may have been to several, Ansible does not tell: then the host for which."""
        told = (result.result.get("_ansible_delegated_vars") or {}).get("ansible_delegated_host")
        asked = str(result.task.delegate_to or "")
        return str(told or (asked if "{{" not in asked else "") or result.host.get_name())

    def subject(self, result: Any) -> str:
        """The host for which it was done, and the other one on which, if there is one. A task for all is that of its place."""
        host, place = result.host.get_name(), self.place(result)
        return place if result.task.run_once or place == host else f"{host} (on {place})"

    def v2_runner_on_ok(self, result: Any) -> None:
        self.has_answered(result)
        if self.whole:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings(result.result)
        if isinstance(result.task, TaskInclude):
            return
        if result.task.action in DEBUG:
            if not result.task.loop:
                self.say(result)
            if not result.result.get("changed"):
                return
        if result.result.get("changed"):
            self.changes[self.place(result)] += 1
            if result.task.action not in DEBUG:
                self.emit(f"{self.subject(result)}: {self.done(result.task)}", C.COLOR_CHANGED)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if self.whole:
            super().v2_runner_item_on_ok(result)
        elif result.task.action in DEBUG:
            self.say(result)

    def say(self, result: Any) -> None:
        """A message of a role: to whoever reads along, once, however many hosts say it."""
        own = {key: value for key, value in result.result.items() if key not in NOT_SAID and not key.startswith("_")}
        value = result.result["msg"] if "msg" in result.result else next(iter(own.values()), "")
        if "censored" in result.result:
            return
        texts = value if isinstance(value, list) and all(isinstance(text, str) for text in value) else None
        if texts is None:
            texts = [value if isinstance(value, str) else self._dump_results({"value": value})]
        host = result.host.get_name()
        text = "\n".join(text.rstrip("\n") for text in texts)
        if not text.strip():
            return
        if not (result.task.run_once or host in text):
            text = f"{host}: {text}"
        if (result.task._uuid, text) not in self.said:
            self.said.add((result.task._uuid, text))
            self.emit(text)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self.has_answered(result)
        if self.whole:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        if self.whole:
            super().v2_runner_item_on_skipped(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self.whole:
            super().v2_playbook_on_include(included_file)

    def v2_runner_retry(self, result: Any) -> None:
        if self.whole:
            super().v2_runner_retry(result)
            return
        told = result.result
        self.tries = (
            f"{told['attempts']} of {told['retries']} tries" if "attempts" in told and "retries" in told else ""
        )

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """A play for hosts that --limit leaves out, or that this swarm does not have."""
        if self.whole:
            super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if self.whole:
            super().v2_playbook_on_no_hosts_remaining()

    # Failures

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self.has_answered(result)
        if self.whole:
            super().v2_runner_on_failed(result, ignore_errors)
        else:
            self.note(result, "failed", ignore_errors)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if self.whole:
            super().v2_runner_item_on_failed(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.has_answered(result)
        if self.whole:
            super().v2_runner_on_unreachable(result)
        else:
            self.note(result, "could not be reached", bool(result.task.ignore_unreachable))

    def note(self, result: Any, how: str, ignored: bool) -> None:
        """One line where it happens; the reason comes at the end, unless a rescue finds a way."""
        self._handle_warnings(result.result)
        said = brief(result.result)
        if how != "failed":
            said = [connection_trouble(said[0]), *said[1:]]
            # A run may ask a host again and again that it can do without.
            if ignored and self.place(result) in self.unreached:
                return
            self.unreached.add(self.place(result))
        ends = how == "failed" and result.task.action.rpartition(".")[2] in ENDS
        meant = bool(ends and DONE_BY_IT.match(str(result.task.name)))
        told = f"{self.subject(result)}: {self.done(result.task)}{'' if meant else f': {how}'}"
        if ignored:
            left = "and go on all the same" if meant else "and is left at that"
            self.emit(told if "censored" in result.result else f"{told}, {left}: {said[0]}", C.COLOR_SKIP)
            return
        self.emit(told, C.COLOR_ERROR)
        if how != "failed":
            said = [no_answer(self.variables(self.place(result)), self.place(result), said[0]), *said[1:]]
        self.failed[result.host.get_name()] = (
            self.phase,
            f"{self.subject(result)}: {result.task.get_name().strip()}{'' if meant else f' {how}'}",
            said,
        )

    def variables(self, host: str) -> dict[str, Any]:
        """What the inventory says of a host; nothing where that is no host of it."""
        manager = self._play.get_variable_manager()
        known = manager._inventory.get_host(host)
        said: dict[str, Any] = manager.get_vars(play=self._play, host=known, include_hostvars=False) if known else {}
        # What is yet to be computed says nothing to a person.
        return {name: value for name, value in said.items() if "{{" not in str(value)}

    # The end

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self.ended = True
        if self.whole:
            super().v2_playbook_on_stats(stats)
            return
        self.end_phase()
        ended = [host for host in sorted(self.failed) if stats.failures.get(host) or stats.dark.get(host)]
        check = bool(context.CLIARGS.get("check"))
        counts = ", ".join(f"{host} {number}" for host, number in sorted(self.changes.items()))
        show = self._display.display
        show("")
        if counts:
            show(f"{'Would change' if check else 'Changed'}: {counts}", color=C.COLOR_CHANGED)
        elif not ended and by_tags() and not self.chosen:
            show(
                f"No task was chosen by {printable(by_tags())}, so nothing was looked at. --list-tags names the tags that there are.",
                color=C.COLOR_ERROR,
            )
        elif not ended:
            show("There is nothing to change.", color=C.COLOR_OK)
        if self.chosen and (unknown := unknown_tags(self.playbook)):
            show(
                f"No task has the tag{'s' if len(unknown) > 1 else ''} {printable(', '.join(unknown))}. --list-tags names the tags that there are.",
                color=C.COLOR_ERROR,
            )
        long = [f"{name} {took:.0f} s" for name, took in self.times if took >= 1]
        show(f"Time: {printable(', '.join(long)) or 'less than a second'}")
        # Of hosts that failed alike, one stands for all.
        alike: list[list[str]] = []
        for host in ended:
            same = next((hosts for hosts in alike if self.failed_alike(hosts[0], host)), None)
            if same:
                same.append(host)
            else:
                alike.append([host])
        for number, hosts in enumerate(alike):
            if number == SHOWN:
                show(
                    f"And others failed: {', '.join(h for hs in alike[SHOWN:] for h in hs)}",
                    color=C.COLOR_ERROR,
                )
                break
            phase, where, said = self.failed[hosts[0]]
            also = f" (as on {', '.join(hosts[1:])})" if hosts[1:] else ""
            show(f"\n{printable(f'{phase}, {where}{also}')}:", color=C.COLOR_ERROR)
            # The sentence is first, and the reason, after the log that ends with it, is last.
            if len(alike) > 1 and len(said) > SHORT:
                said = [said[0], "...", *said[2 - SHORT :]]
            for line in said:
                show(f"  {printable(line)}", color=C.COLOR_ERROR)
        if ended:
            show("Ansible's whole output: the same command with -v")

    def failed_alike(self, one: str, other: str) -> bool:
        """Whether two hosts say the same, but for their own names and what is called by a number."""
        said = {host: "\n".join(self.failed[host][2]) for host in (one, other)}
        return said[one] == said[other] or without_names(said[one], one) == without_names(said[other], other)


def follows(task: Any) -> bool:
    """Whether it follows a job, and shows itself how far that is."""
    return bool(task.action.rpartition(".")[2] == "training_follow")


def next_wait(before: float, took: float) -> float:
    """Seconds until a task that has taken so long is named again."""
    return max(before, min(before * 2, SHORT_SILENCE if took < PATIENCE else LONGEST_SILENCE))


def without_names(said: str, host: str) -> str:
    said = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b", "#", said)
    return re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "@", said)


def unknown_tags(playbook: Any) -> list[str]:
    """Those of --tags that no task of the plays has: typing errors beside tags that there are."""
    asked = set(context.CLIARGS.get("tags") or ()) - {"all", "always", "never", "tagged", "untagged"}
    if not asked or not playbook:
        return []
    blocks = [block for play in playbook.get_plays() for block in play.compile()]
    while blocks:
        one = blocks.pop()
        asked -= set(one.tags)
        blocks += [inner for part in ("block", "rescue", "always") for inner in getattr(one, part, None) or []]
    return sorted(asked)


def by_tags() -> str:
    """The options that choose tasks by their tags, as they were given."""
    tags = [tag for tag in context.CLIARGS.get("tags") or () if tag != "all"]
    given = {"--tags": tags, "--skip-tags": context.CLIARGS.get("skip_tags") or ()}
    return " ".join(f"{option} {','.join(sorted(values))}" for option, values in given.items() if values)


SHOWN = 3  # failures that differ
SHORT = 6  # lines of each
NOT_SAID = ("changed", "failed", "skipped", "ansible_loop_var", "item", "warnings", "deprecations", "invocation")
