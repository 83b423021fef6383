"""What a swarm does by itself while time passes: schedule, start, restart, update, roll back, take down."""

from __future__ import annotations

import copy
import heapq
from typing import Any

from swarm_stand_in.store import Clock, Raw, Store, labels_of, stamp

STATES = "new allocated pending assigned accepted preparing ready starting running complete shutdown failed rejected"
ORDER = {state: number for number, state in enumerate([*STATES.split(), "remove", "orphaned"])}
ENDED = ("complete", "shutdown", "failed", "rejected", "orphaned")
STEP = 0.2  # seconds between two states of a task that starts
STOPPING = 1.0  # seconds that a container takes to stop
HISTORY = 5
SECOND = 1_000_000_000
# State, exit code, what swarm says of it, and for how many seconds it ran until then.
Outcome = tuple[str, int, str] | tuple[str, int, str, float]


class Swarm(Store):
    """By a service's full name, `outcomes` tells how its tasks end, and `updates` how an update of it goes."""

    def __init__(self, clock: Clock, seed: int = 20) -> None:
        super().__init__(clock, seed)
        self.outcomes: dict[str, Outcome | list[Outcome]] = {}
        self.updates: dict[str, str] = {}
        self.stubborn = False  # containers do not stop
        self.stop_codes: dict[str, int] = {}  # exit code of a container that is stopped, by a service's full name
        self._events: list[tuple[float, int, str, tuple[Any, ...]]] = []
        self._number = 0

    # Time

    def later(self, seconds: float, what: str, *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.clock.now + seconds, self._number, what, arguments))

    def catch_up(self) -> None:
        """Do what has become due."""
        until = self.clock.now
        while self._events and self._events[0][0] <= until:
            self.clock.now, _number, what, arguments = heapq.heappop(self._events)
            getattr(self, f"_{what}")(*arguments)
        self.clock.now = until

    def settle(self, seconds: float = 120) -> None:
        """Time passes, and nobody looks."""
        self.clock.now += seconds
        self.catch_up()

    # Services

    def create_service(self, spec: Raw) -> Raw:
        service = {**self.meta(), "Spec": spec, "Endpoint": {"Spec": {}}}
        if set(spec["Mode"]) & {"ReplicatedJob", "GlobalJob"}:
            service["JobStatus"] = {"JobIteration": {"Index": 0}, "LastExecution": stamp(self.clock.now)}
        self.services[service["ID"]] = service
        self._fill(service)
        return service

    def update_service(self, service: Raw, spec: Raw) -> None:
        """With the spec's next version an update's status is gone, also if nothing has changed."""
        service["PreviousSpec"] = service["Spec"]
        service["Spec"] = copy.deepcopy(spec)
        service.pop("UpdateStatus", None)
        self.touch(service)
        if "JobStatus" in service:
            # Also if nothing has changed.
            service["JobStatus"]["JobIteration"]["Index"] += 1
        self._fill(service, updating=True)

    def edit(self, full_name: str, change: Any) -> None:
        """Somebody else's hand: `change` gets the Spec."""
        service = self.named("service", full_name)
        spec = copy.deepcopy(service["Spec"])
        change(spec)
        self.update_service(service, spec)

    def remove_service(self, service: Raw) -> None:
        del self.services[service["ID"]]
        for task in self.tasks.values():
            if task["ServiceID"] == service["ID"]:
                task["DesiredState"] = "remove"
                self.later(STOPPING, "forget", task["ID"])

    def _forget(self, identifier: str) -> None:
        task = self.tasks.get(identifier)
        if task is None:
            return
        lives = task["Status"]["State"] not in ENDED
        if lives and (self.stubborn or not self.reachable(task)):
            self.later(STOPPING, "forget", identifier)
            return
        del self.tasks[identifier]
        self.containers.pop(task["Status"].get("ContainerStatus", {}).get("ContainerID", ""), None)

    def reachable(self, task: Raw) -> bool:
        node = self.nodes.get(task.get("NodeID", ""))
        return node is None or node["Status"]["State"] == "ready"

    # Tasks

    def _fill(self, service: Raw, updating: bool = False) -> None:
        """A task for each place, and none for what is no place."""
        slots = self._slots(service)
        dirty = []
        for slot in sorted({self._slot(task) for task in self._own(service)} - slots):
            for task in self._live(service, slot):
                self._stop(task, "remove")
        for slot in sorted(slots):
            if slot in self.nodes and self.nodes[slot]["Spec"]["Availability"] == "pause":
                # What is there of a global service stays as it is.
                continue
            live = self._live(service, slot)
            fits = [task for task in live if self._fits(task, service)]
            newest = max(self._own(service, slot), key=lambda task: task["Born"], default=None)
            if fits or (not live and newest is not None and self._fits(newest, service) and updating):
                continue
            for task in live:
                self._stop(task, "shutdown")
            dirty.append(self._new_task(service, slot, "ready" if live else "running", STOPPING if live else 0)["ID"])
        if dirty and updating:
            service["UpdateStatus"] = {
                "State": "updating",
                "StartedAt": stamp(self.clock.now),
                "Message": "update in progress",
            }
            forced = self.updates.get(service["Spec"]["Name"])
            if forced:
                self.later(STEP / 2, "force", service["ID"], forced, dirty[0])
            else:
                self.later(STOPPING + 5 * STEP + self._monitor(service), "end_update", service["ID"], "completed")

    def _slots(self, service: Raw) -> set[str]:
        mode = service["Spec"]["Mode"]
        if "Global" in mode or "GlobalJob" in mode:
            template, places = service["Spec"]["TaskTemplate"], {task.get("NodeID") for task in self._own(service)}
            # A paused node keeps what it has.
            kept = [
                key for key, node in self.nodes.items() if node["Spec"]["Availability"] == "pause" and key in places
            ]
            return {*kept, *(key for key, node in self.nodes.items() if self._suits(node, template))}
        if "ReplicatedJob" in mode:
            count = mode["ReplicatedJob"].get("TotalCompletions", 1)
        else:
            count = mode["Replicated"].get("Replicas", 1)
        return {str(number + (0 if "ReplicatedJob" in mode else 1)) for number in range(count)}

    def _own(self, service: Raw, slot: str | None = None) -> list[Raw]:
        own = [task for task in self.tasks.values() if task["ServiceID"] == service["ID"]]
        return [task for task in own if slot is None or self._slot(task) == slot]

    @staticmethod
    def _slot(task: Raw) -> str:
        return str(task["Place"])

    def _live(self, service: Raw, slot: str) -> list[Raw]:
        return [t for t in self._own(service, slot) if t["DesiredState"] in ("ready", "running", "complete")]

    def _fits(self, task: Raw, service: Raw) -> bool:
        """Swarm keeps a task whose node fits a new placement; one that has no node yet is made anew (swarmkit's IsTaskDirty)."""
        template = service["Spec"]["TaskTemplate"]
        one, other = {**task["Template"], "Placement": None}, {**template, "Placement": None}
        node = self.nodes.get(task.get("NodeID", ""))
        iteration = (service.get("JobStatus") or {}).get("JobIteration", {}).get("Index", 0)
        same_round = task.get("JobIteration", {}).get("Index", 0) == iteration
        suits = task["Template"] == template if node is None else self._suits(node, template, now=False)
        return one == other and same_round and suits

    def _suits(self, node: Raw, template: Raw, now: bool = True) -> bool:
        if now and (node["Status"]["State"] != "ready" or node["Spec"]["Availability"] != "active"):
            return False
        known = {
            "node.id": node["ID"],
            "node.hostname": node["Description"]["Hostname"],
            "node.role": node["Spec"]["Role"],
            **{f"node.labels.{key}": value for key, value in node["Spec"]["Labels"].items()},
        }
        for constraint in (template.get("Placement") or {}).get("Constraints") or []:
            name, operator, value = constraint.replace("==", " == ").replace("!=", " != ").split()
            if (known.get(name, "") == value) != (operator == "=="):
                return False
        return True

    def _new_task(self, service: Raw, slot: str, desired: str, delay: float) -> Raw:
        """With a delay it is scheduled and prepared at once, and started when the delay is over."""
        spec = service["Spec"]
        place: Raw = {"NodeID": slot} if slot in self.nodes else {"Slot": int(slot)}
        # JSON leaves the first slot of a job out.
        place = {key: value for key, value in place.items() if value}
        if "JobStatus" in service and desired == "running":
            desired = "complete"
        job = {"JobIteration": dict(service["JobStatus"]["JobIteration"])} if "JobStatus" in service else {}
        task = {
            **self.meta(),
            "Labels": {},
            "Spec": task_spec(spec["TaskTemplate"]),
            "ServiceID": service["ID"],
            **place,
            **job,
            "Status": {"Timestamp": stamp(self.clock.now), "State": "new", "Message": "created", "PortStatus": {}},
            "DesiredState": desired,
            "NetworksAttachments": [],
            # Not swarm's: what the stand-in has to know of it.
            "Template": copy.deepcopy(spec["TaskTemplate"]),
            "ServiceLabels": dict(labels_of("service", service)),
            "ServiceName": spec["Name"],
            "Outcome": (*self._outcome(spec["Name"]), STEP)[:4],
            "Born": self._number,
            "Place": slot,
        }
        self._number += 1
        self.tasks[task["ID"]] = task
        for old in sorted(self._own(service, slot), key=lambda item: item["Born"])[:-HISTORY]:
            if old["Status"]["State"] in ENDED:
                del self.tasks[old["ID"]]
        self.later(STEP, "schedule", task["ID"])
        if desired == "ready":
            self.later(delay, "go", task["ID"])
        return task

    def attach(self, hostname: str, name: str, network: str) -> Raw:
        """A container of no service, on an attachable network. Swarm keeps a task for it, of the kind attachment."""
        node, target = self.node(hostname)["ID"], str(self.named("network", network)["Id"])
        container = self.identifier(64)
        template = {"NetworkAttachmentSpec": {"ContainerID": container}, "Networks": [{"Target": target}]}
        task = {
            **self.meta(),
            "Labels": {},
            "Spec": {**copy.deepcopy(template), "ForceUpdate": 0, "Runtime": "attachment"},
            "NodeID": node,
            "Status": {"Timestamp": stamp(self.clock.now), "State": "running", "Message": "started", "PortStatus": {}},
            "DesiredState": "running",
            "NetworksAttachments": [
                {"Network": {"ID": target, "Spec": {"Name": network}}, "Addresses": [f"10.0.1.{self._number % 256}/24"]}
            ],
            "ServiceID": "",
            "Template": template,
            "ServiceLabels": {},
            "ServiceName": "",
            "Outcome": ("running", 0, "", STEP),
            "Born": self._number,
            "Place": "",
        }
        self._number += 1
        self.tasks[task["ID"]] = task
        self.containers[container] = {"ID": container, "Name": name, "Labels": {}, "Node": node, "Task": task["ID"]}
        return task

    def detach(self, task: Raw) -> None:
        del self.tasks[task["ID"]]

    def _outcome(self, full_name: str) -> Outcome:
        planned = self.outcomes.get(full_name, ("running", 0, ""))
        if isinstance(planned, list):
            return planned.pop(0) if len(planned) > 1 else planned[0]
        return planned

    def _schedule(self, identifier: str) -> None:
        task = self._due(identifier)
        if task is None:
            return
        state, _code, error, _lasting = task["Outcome"]
        found = [node for node in self.nodes.values() if self._suits(node, task["Template"])]
        if state == "pending" or not found:
            error = error or f"no suitable node (scheduling constraints not satisfied on {len(self.nodes)} nodes)"
            self._say(task, "pending", "pending task scheduling", error)
            return
        if task["Place"] not in self.nodes:
            # A retry goes to another node, where there is one.
            earlier = {old.get("NodeID") for old in self._own(self.services[task["ServiceID"]], task["Place"])}
            fresh = [node for node in found if node["ID"] not in earlier]
            task["NodeID"] = (fresh if "JobIteration" in task and fresh else found)[0]["ID"]
        self._say(task, "assigned", "scheduler assigned task to node")
        self.later(STEP, "prepare", identifier)

    def _prepare(self, identifier: str) -> None:
        task = self._due(identifier)
        if task is not None:
            self._say(task, "preparing", "preparing")
            if task["Outcome"][0] == "rejected":
                self.later(STEP, "end", identifier)
            elif task["Outcome"][0] != "preparing":
                self.later(STEP, "prepared", identifier)

    def _prepared(self, identifier: str) -> None:
        task = self._due(identifier)
        if task is not None:
            self._say(task, "ready", "prepared")
            if task["DesiredState"] in ("running", "complete"):
                self._start(task)

    def _go(self, identifier: str) -> None:
        task = self._due(identifier)
        if task is not None:
            task["DesiredState"] = "complete" if "JobIteration" in task else "running"
            if task["Status"]["State"] == "ready":
                self._start(task)

    def _start(self, task: Raw) -> None:
        container, identifier = self.identifier(64), task["ID"]
        self._say(task, "starting", "starting")
        task["Status"]["ContainerStatus"] = {"ContainerID": container, "PID": 0, "ExitCode": 0}
        name = f"{task['ServiceName']}.{task.get('Slot') or task.get('NodeID', '')}.{identifier}"
        labels = {**task["Template"]["ContainerSpec"].get("Labels", {}), "com.docker.swarm.task.id": identifier}
        labels["com.docker.swarm.service.name"] = task["ServiceName"]
        labels["com.docker.swarm.service.id"] = task["ServiceID"]
        about = {"ID": container, "Name": name, "Labels": labels, "Node": task["NodeID"], "Task": identifier}
        self.containers[container] = about
        if task["Outcome"][0] != "starting":
            self.later(STEP, "run", identifier)

    def _run(self, identifier: str) -> None:
        task = self._due(identifier)
        if task is not None:
            self._say(task, "running", "started")
            if task["Outcome"][0] != "running":
                self.later(task["Outcome"][3], "end", identifier)

    def _due(self, identifier: str) -> Raw | None:
        task = self.tasks.get(identifier)
        wanted = task is not None and task["DesiredState"] in ("ready", "running", "complete") and self.reachable(task)
        return task if wanted else None

    def _end(self, identifier: str) -> None:
        task = self._due(identifier)
        if task is None:
            return
        state, code, error, _lasting = task["Outcome"]
        self._say(task, state, {"complete": "finished", "failed": "started"}.get(state, "preparing"), error)
        if "ContainerStatus" in task["Status"]:
            task["Status"]["ContainerStatus"]["ExitCode"] = code
        service = self.services[task["ServiceID"]]
        if not self._restart(task, service, state) and not (state == "complete" and "JobStatus" in service):
            task["DesiredState"] = "shutdown"
        self._judge_update(task, service)

    def _restart(self, task: Raw, service: Raw, state: str) -> bool:
        template = service["Spec"]["TaskTemplate"]
        policy = template.get("RestartPolicy") or {}
        condition = policy.get("Condition") or "any"
        slot = self._slot(task)
        earlier = [old for old in self._own(service, slot) if old["Template"] == task["Template"] and old is not task]
        attempts = policy.get("MaxAttempts") or 0
        wanted = condition == "any" or (condition == "on-failure" and state != "complete")
        if "JobStatus" in service and state == "complete":
            wanted = False
        if not wanted or (attempts and len(earlier) >= attempts) or not self._fits(task, service):
            return False
        task["DesiredState"] = "shutdown"
        delay = policy.get("Delay", 5 * SECOND) / SECOND
        self._new_task(service, slot, "ready", delay)
        return True

    def _stop(self, task: Raw, desired: str) -> None:
        task["DesiredState"] = desired
        self.later(STOPPING, "stopped", task["ID"], desired)

    def _stopped(self, identifier: str, desired: str) -> None:
        task = self.tasks.get(identifier)
        if task is None or task["Status"]["State"] in ENDED or self.stubborn or not self.reachable(task):
            return
        self._say(task, "shutdown", "shutdown")
        if task["Status"].get("ContainerStatus"):
            name = self.services[task["ServiceID"]]["Spec"]["Name"] if task["ServiceID"] in self.services else ""
            task["Status"]["ContainerStatus"]["ExitCode"] = self.stop_codes.get(name, 137)
        if desired == "remove":
            self._forget(identifier)

    def _say(self, task: Raw, state: str, message: str, error: str = "") -> None:
        status = task["Status"]
        status.update(State=state, Timestamp=stamp(self.clock.now), Message=message)
        status.pop("Err", None)
        status.update({"Err": error} if error else {})
        self.touch(task)

    # Updates

    def _monitor(self, service: Raw) -> float:
        return float(((service["Spec"].get("UpdateConfig") or {}).get("Monitor") or 5 * SECOND) / SECOND)

    def _judge_update(self, task: Raw, service: Raw) -> None:
        """A task that ends while its update is watched breaks it, also if it ended well."""
        update = service.get("UpdateStatus") or {}
        state = update.get("State")
        if state not in ("updating", "rollback_started") or not self._fits(task, service):
            return
        because = f"due to failure or early termination of task {task['ID']}"
        action = (service["Spec"].get("UpdateConfig") or {}).get("FailureAction") or "pause"
        if state == "rollback_started":
            update.update(State="rollback_paused", Message=f"rollback paused {because}")
        elif action == "pause":
            update.update(State="paused", Message=f"update paused {because}")
        elif action == "rollback":
            service["Spec"], service["PreviousSpec"] = service["PreviousSpec"], service["Spec"]
            self.touch(service)
            self._fill(service, updating=True)
            service["UpdateStatus"] = {
                "State": "rollback_started",
                "StartedAt": stamp(self.clock.now),
                "Message": f"update rolled back {because}",
            }
            self.later(STOPPING + 5 * STEP + self._monitor(service), "end_update", service["ID"], "rollback_completed")

    def _end_update(self, identifier: str, state: str) -> None:
        service = self.services.get(identifier)
        expected = {"completed": "updating", "rollback_completed": "rollback_started"}[state]
        if service is None or (service.get("UpdateStatus") or {}).get("State") != expected:
            return
        began = service["UpdateStatus"]["StartedAt"]
        service["UpdateStatus"] = {
            "State": state,
            "StartedAt": began,
            "CompletedAt": stamp(self.clock.now),
            "Message": "update completed" if state == "completed" else "rollback completed",
        }
        self.touch(service)

    def _force(self, identifier: str, state: str, task: str) -> None:
        if identifier in self.services:
            message = f"update {state} due to failure or early termination of task {task}"
            self.services[identifier]["UpdateStatus"].update(State=state, Message=message)


def task_spec(template: Raw) -> Raw:
    """Inspected, a task leaves out what a service spells out."""
    spec = copy.deepcopy({key: value for key, value in template.items() if key not in ("Runtime", "Networks")})
    container = spec["ContainerSpec"]
    for name, default in (("DNSConfig", {}), ("StopGracePeriod", 10 * SECOND)):
        if container.get(name) == default:
            del container[name]
    if "Networks" in template:
        spec["Networks"] = copy.deepcopy(template["Networks"])
    return spec
