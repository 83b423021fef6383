"""Waits until a stack has reached its goal, or says what it waited for."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Callable
from typing import Any

from ..brief import log_below
from ..docker.cli import DockerCli
from ..logs import is_of_the_starter, matching, moment_of, states
from .explain import describe_task, find_failures, hint_for, sentence, timed_log
from .live import FAILED_STATES, Live, ServiceState, Slot, Task, read_live, same_template

POLL = 1.0
# Seconds: one that has failed after a longer life than this is no crash loop.
LONGEST_LOOP = 60.0
READY_LOG_LINES = 2000


class StackFailure(Exception):
    """The stack is not as asked; `failures` is the structured why. `timed_out`: nothing has failed for good, and the stack goes on."""

    def __init__(self, message: str, failures: list[dict[str, Any]] | None = None, timed_out: bool = False) -> None:
        super().__init__(message)
        self.failures = failures or []
        self.timed_out = timed_out


def why_failed(state: ServiceState) -> str:
    slot = next((slot for slot in state.slots if slot.verdict == "failed"), None)
    if slot is None:
        return f"update {state.update_state}"
    where = where_of(slot)
    if slot.task.exit_code:
        return f"failed{where} with exit code {slot.task.exit_code}"
    return f"{slot.task.state}{where}" + (f" ({slot.task.error})" if slot.task.error else "")


def _task_lines(state: ServiceState) -> list[str]:
    return [f"{slot.name} {slot.verdict}" for slot in state.slots]


class Waiter:
    """Looks at the stack again and again until it is as asked, has failed, or time is up."""

    def __init__(
        self,
        docker: DockerCli,
        stack: str,
        services: list[str],
        params: dict[str, Any],
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`tell` is given, at each look, whom it waits for."""
        self.docker = docker
        self.stack = stack
        self.wanted = sorted(f"{stack}_{name}" for name in services)
        self.params = params
        self.goal: str = params["wait_for"]
        self.pattern = re.compile(params["ready_pattern"]) if params.get("ready_pattern") else None
        # Seconds after which a task without such a line counts all the same.
        self.within: int | None = params.get("ready_within")
        self.ready: set[str] = set()
        self.settled = False
        # Tasks whose whole log was read, because it is longer than what is read at each look.
        self.searched: set[str] = set()
        # Since when each task has been seen as running, and as ready.
        self.since: dict[str, float] = {}
        self.tell = tell
        # Of each running task that is not ready, the last line with its time.
        self.said: dict[str, tuple[str, str]] = {}

    def until_reached(self, live: Live, old_updates: set[str], settled: bool) -> Live:
        """`settled`: nothing was done, so that what has been running for long enough need not be watched again."""
        deadline = time.monotonic() + self.params["wait_timeout"]
        self.settled = settled
        while True:
            live = self._only_wanted(live)
            if find_failures(None, live, 0, old_updates):
                raise self._failed(live, old_updates)
            if self._reached(live) and (self._stable(live) or (settled and self._old_enough(live))):
                return live
            if time.monotonic() >= deadline:
                raise self._timed_out(live)
            self.report(live)
            time.sleep(POLL)
            live = read_live(self.docker, self.stack, networks=False)

    def report(self, live: Live) -> None:
        if self.tell is None:
            return
        states = live.states()
        waits = [name for name in self.wanted if name not in live.services]
        waits += [
            f"{name_of(state, slot)}{where_of(slot)} ({slot.task.state}){age_of(self.said.get(slot.task.id))}"
            for state in states
            for slot in state.slots
            if not self._is_good(slot, self._is_ready(slot))
        ]
        waits += [state.full_name for state in states if state.missing]
        more = f" and {len(waits) - 1} more" if len(waits) > 1 else ""
        watched = f"its tasks run, and are watched for {self.params['stability_period']} s"
        self.tell(f"{waits[0]}{more}" if waits else watched)

    def _is_good(self, slot: Slot, ready: bool) -> bool:
        return slot.verdict == "complete" or (self.goal == "running" and slot.verdict == "running" and ready)

    def _only_wanted(self, live: Live) -> Live:
        live.services = {name: service for name, service in live.services.items() if name in self.wanted}
        return live

    def _reached(self, live: Live) -> bool:
        states = live.states()
        good = len(states) == len(self.wanted) and all(state.reached(self.goal) for state in states)
        return good and (not self._look_into_logs(states) or self.within is not None)

    def _look_into_logs(self, states: list[ServiceState]) -> list[str]:
        """The services with a running task whose log has not said yet that it is ready."""
        if self.pattern is None or self.goal != "running":
            return []
        running = [slot for state in states for slot in state.slots if slot.verdict == "running"]
        self.ready |= {s.task.id for s in running if self._is_ready(s) or self._says_ready(s.task.id, self.pattern)}
        return self.unready(states)

    def unready(self, states: list[ServiceState]) -> list[str]:
        """The same, by what was seen at the last look."""
        return [
            state.name
            for state in states
            if any(slot.verdict == "running" and not self._is_ready(slot) for slot in state.slots)
        ]

    def _says_ready(self, task: str, pattern: re.Pattern[str]) -> bool:
        said = timed_log(self.docker, task, READY_LOG_LINES)
        self.said[task] = said[-1] if said else ("", "")
        lines = [text for _stamp, text in said]
        if says(pattern, lines):
            return True
        if len(lines) < READY_LOG_LINES or task in self.searched or (self.settled and self.within is not None):
            return False
        self.searched.add(task)
        # The engine rotates logs: of a task that was there before, the line may be gone for good.
        return self.settled or says(pattern, [text for _stamp, text in timed_log(self.docker, task, None)])

    def _stable(self, live: Live) -> bool:
        if self.goal == "complete":
            return True
        now = time.monotonic()
        running = [slot for state in live.states() for slot in state.slots if slot.verdict == "running"]
        for slot in running:
            self.since.setdefault(slot.task.id, now)
        return all(now - self.since[slot.task.id] >= self._trial(slot, live) for slot in running)

    def _old_enough(self, live: Live) -> bool:
        """Stable by the clock: saves watching a stack that has been up for long. Hosts' clocks may differ a little."""
        now = time.time()
        return all(
            now - epoch(slot.task.updated) >= self._trial(slot, live)
            for state in live.states()
            for slot in state.slots
            if slot.verdict == "running"
        )

    def _trial(self, slot: Slot, live: Live) -> float:
        """For how many seconds a task must run before it counts: where attempts before it have failed, longer than these lived."""
        lives = [epoch(task.updated) - epoch(task.created) for task in failed_attempts(slot, live.tasks)]
        least = self.params["stability_period"] if self.within is None or self._is_ready(slot) else self.within
        return float(least) + min(max(lives, default=0.0), LONGEST_LOOP)

    def _failed(self, live: Live, old_updates: set[str]) -> StackFailure:
        # A moment later swarm knows more: the task that broke an update, the peers that failed with it.
        time.sleep(POLL)
        now = self._only_wanted(read_live(self.docker, self.stack, networks=False))
        lines: int = self.params["log_lines"]
        failures = find_failures(self.docker, now, lines, old_updates) or find_failures(
            self.docker, live, lines, old_updates
        )
        several = any(state.wanted > 1 for state in live.states())
        return StackFailure("\n".join(sentence(failure, several) for failure in failures), failures)

    def _timed_out(self, live: Live) -> StackFailure:
        states = live.states()
        failures: list[dict[str, Any]] = []
        waits: list[str] = [f"{name} does not exist" for name in self.wanted if name not in live.services]
        for state in states:
            waits += [f"{state.full_name} lacks {state.missing} of {state.wanted} tasks"] if state.missing else []
            for slot in state.slots:
                earlier = failed_attempts(slot, live.tasks)
                ready = self._is_ready(slot) or self.within is not None
                if slot.verdict == "complete" or (self._is_good(slot, ready) and not earlier):
                    continue
                pattern = self.pattern.pattern if self.pattern and not ready else ""
                text = waiting_for(slot, live.tasks, self.goal, pattern)
                hint = hint_for(state, slot.task) or (hint_for(state, earlier[0]) if earlier else "")
                name = name_of(state, slot)
                waits.append(f"{name} {text}" + (f" - {hint}" if hint else ""))
                told = slot.task if slot.verdict != "running" or not earlier else earlier[0]
                entry = describe_task(self.docker, state, told, self.params["log_lines"])
                entry["error"] = entry["error"] or text
                entry["hint"] = hint
                failures.append(entry)
        if not waits:
            least = "stability_period" if not self.unready(states) else f"ready_within ({self.within} s)"
            waits.append(f"its tasks have not been running for {least} yet")
        goal = "complete" if self.goal == "complete" else "running"
        message = f"Stack {self.stack} is not {goal} after {self.params['wait_timeout']} s: {'; '.join(waits)}"
        for failure in failures:
            if failure["log"]:
                message += f"\n{log_below(failure['log'], failure['service'] + ' on ' + failure['node'])}"
        return StackFailure(message, failures, timed_out=True)

    def _is_ready(self, slot: Slot) -> bool:
        return self.pattern is None or slot.task.id in self.ready


def name_of(state: ServiceState, slot: Slot) -> str:
    return f"{state.full_name}.{slot.name}" if state.wanted > 1 else state.full_name


def where_of(slot: Slot) -> str:
    return f" on {slot.task.node}" if slot.task.node else ""


def age_of(said: tuple[str, str] | None) -> str:
    """How old a task's last line is, and what it says."""
    at = moment_of(said[0]) if said else 0.0
    return f", last line {max(0.0, time.time() - at):.0f} s ago: {states(said[1])[-1].strip()}" if said and at else ""


def waiting_for(slot: Slot, tasks: list[Task], goal: str, pattern: str) -> str:
    """What one task is waiting for, as the end of a sentence."""
    task, where = slot.task, where_of(slot)
    since = f" since {task.updated[:19]}Z" if task.updated else ""
    if slot.verdict == "outdated":
        return f"still runs the previous definition{where}"
    if task.state in ("new", "allocated", "pending"):
        return f"is not scheduled: {task.error or 'swarm gives no reason'}"
    if task.state == "preparing":
        return f"is preparing{where}{since} (fetching or checking the image)"
    earlier = next(iter(failed_attempts(slot, tasks)), None)
    before = ""
    if earlier:
        code = f" with exit code {earlier.exit_code}" if earlier.exit_code else ""
        before = f"; its last attempt {earlier.state}{code}" + (f": {earlier.error}" if earlier.error else "")
    if task.state == "running":
        if goal == "running" and pattern:
            return f"is running{where}, but its log has no line that matches {pattern!r}{before}"
        return f"is running again{where}{since}{before}" if before else f"is still running{where}{since}"
    return f"is {'about to be restarted' if slot.verdict == 'restarting' else task.state}{where}{since}{before}"


def failed_attempts(slot: Slot, tasks: list[Task]) -> list[Task]:
    """Those that were made as this one is, newest first."""
    own = (t for t in tasks if t.service == slot.task.service and t.slot == slot.name and t.id != slot.task.id)
    return [t for t in own if t.state in FAILED_STATES and same_template(t.spec, slot.task.spec)]


def says(pattern: re.Pattern[str], lines: list[str]) -> bool:
    """Whether a line matches that the program itself wrote."""
    return any(matching(pattern, line) for line in lines if not is_of_the_starter(line))


def epoch(stamp: str) -> float:
    """Seconds since 1970 of an RFC 3339 time in UTC, as the engine writes it; now, if there is none."""
    try:
        return calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return time.time()
