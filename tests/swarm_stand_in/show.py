"""How docker shows what a swarm keeps: rows of a listing, and whole objects."""

from __future__ import annotations

import base64
import copy
from typing import TYPE_CHECKING

from swarm_stand_in.orchestrator import SECOND, Swarm
from swarm_stand_in.store import NAMESPACE, Raw, labels_of, moment_of
from swarm_stand_in.template import NotPlayed, Row, render

if TYPE_CHECKING:
    from swarm_stand_in.command import Docker
    from swarm_stand_in.flags import Parsed

# Title and field of the columns that are shown without a format.
COLUMNS = {
    "service": "ID:ID NAME:Name MODE:Mode REPLICAS:Replicas IMAGE:Image PORTS:Ports",
    "node": "ID:ID HOSTNAME:Hostname STATUS:Status AVAILABILITY:Availability MANAGER_STATUS:ManagerStatus "
    "ENGINE_VERSION:EngineVersion",
    "network": "NETWORK_ID:ID NAME:Name DRIVER:Driver SCOPE:Scope",
    "config": "ID:ID NAME:Name CREATED:CreatedAt UPDATED:UpdatedAt",
    "secret": "ID:ID NAME:Name DRIVER:Driver CREATED:CreatedAt UPDATED:UpdatedAt",
    "container": "CONTAINER_ID:ID IMAGE:Image COMMAND:Command CREATED:RunningFor STATUS:Status PORTS:Ports NAMES:Names",
    "task": "ID:ID NAME:Name IMAGE:Image NODE:Node DESIRED_STATE:DesiredState CURRENT_STATE:CurrentState ERROR:Error "
    "PORTS:Ports",
    "stack": "NAME:Name SERVICES:Services",
}


def listing(rows: list[Row], columns: str, parsed: Parsed, version: tuple[int, ...]) -> str:
    template = parsed.one("format")
    if parsed.has("quiet"):
        return "".join(f"{row['ID']}\n" for row in rows)
    if template.startswith("table"):
        raise NotPlayed("the stand-in makes no table by a template")
    if template == "json" and version >= (23,):
        template = "{{json .}}"
    if template:
        return "".join(f"{render(template, row)}\n" for row in rows)
    titles, fields = zip(*(column.split(":") for column in columns.split()), strict=True)
    table = [[title.replace("_", " ") for title in titles], *([str(row[field]) for field in fields] for row in rows)]
    widths = [max(len(line[number]) for line in table) for number in range(len(titles))]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in table
    )


def ago(docker: Docker, stamped: str) -> str:
    seconds = int(docker.swarm.clock.now - moment_of(stamped))
    if seconds < 1:
        return "Less than a second ago"
    return f"{seconds} seconds ago" if seconds < 60 else f"{seconds // 60} minutes ago"


def joined(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def row(docker: Docker, kind: str, item: Raw, whole: bool = False) -> Row:
    swarm, labels = docker.swarm, labels_of(kind, item)
    fields = getattr(_Rows, kind)(docker, swarm, item, whole)
    go_type = {"task": "*task.taskContext", "container": "*formatter.ContainerContext"}
    return Row(go_type.get(kind, f"*{kind}.{kind}Context"), fields, labels)


class _Rows:
    """The fields of a row, by kind."""

    @staticmethod
    def service(docker: Docker, swarm: Swarm, item: Raw, whole: bool) -> Raw:
        mode, count = _mode(item["Spec"]["Mode"])
        own = [task for task in swarm.tasks.values() if task["ServiceID"] == item["ID"]]
        running = sum(t["Status"]["State"] == "running" and t["DesiredState"] == "running" for t in own)
        wanted = count if count is not None else len({task.get("NodeID") for task in own})
        ports = item["Spec"].get("EndpointSpec", {}).get("Ports") or []
        return {
            "ID": item["ID"][:12],
            "Image": item["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"],
            "Mode": mode,
            "Name": item["Spec"]["Name"],
            "Ports": ", ".join(f"*:{p.get('PublishedPort', 0)}->{p['TargetPort']}/{p['Protocol']}" for p in ports),
            "Replicas": f"{running}/{wanted}",
        }

    @staticmethod
    def node(docker: Docker, swarm: Swarm, item: Raw, whole: bool) -> Raw:
        manager = item.get("ManagerStatus") or {}
        return {
            "Availability": item["Spec"]["Availability"].capitalize(),
            "EngineVersion": item["Description"]["Engine"]["EngineVersion"],
            "Hostname": item["Description"]["Hostname"],
            "ID": item["ID"],
            "ManagerStatus": "Leader" if manager.get("Leader") else manager.get("Reachability", "").capitalize(),
            "Self": item["Description"]["Hostname"] == docker.host,
            "Status": item["Status"]["State"].capitalize(),
            "TLSStatus": "Ready",
        }

    @staticmethod
    def network(docker: Docker, swarm: Swarm, item: Raw, whole: bool) -> Raw:
        fields = {
            "CreatedAt": item["Created"].replace("T", " ").replace("Z", " +0000 UTC"),
            "Driver": item["Driver"],
            "ID": item["Id"] if whole else item["Id"][:12],
            "IPv4": "true",
            "IPv6": "false",
            "Internal": "true" if item["Internal"] else "false",
            "Labels": joined(item["Labels"]),
            "Name": item["Name"],
            "Scope": item["Scope"],
        }
        return {key: value for key, value in fields.items() if key != "IPv4" or docker.numbers >= (28,)}

    @staticmethod
    def config(docker: Docker, swarm: Swarm, item: Raw, whole: bool) -> Raw:
        return {
            "CreatedAt": ago(docker, item["CreatedAt"]),
            "ID": item["ID"],
            "Labels": joined(item["Spec"]["Labels"]),
            "Name": item["Spec"]["Name"],
            "UpdatedAt": ago(docker, item["UpdatedAt"]),
        }

    @staticmethod
    def secret(docker: Docker, swarm: Swarm, item: Raw, whole: bool) -> Raw:
        return {**_Rows.config(docker, swarm, item, whole), "Driver": ""}

    @staticmethod
    def container(docker: Docker, swarm: Swarm, item: Raw, whole: bool) -> Raw:
        task = swarm.tasks.get(item["Task"])
        return {
            "Command": '""',
            "ID": item["ID"] if whole else item["ID"][:12],
            "Image": task["Template"].get("ContainerSpec", {}).get("Image", "") if task else "",
            "Labels": joined(item["Labels"]),
            "Names": item["Name"],
            "Ports": "",
            "RunningFor": "1 second ago",
            "State": state_of(swarm, item),
            "Status": "Up 1 second" if state_of(swarm, item) == "running" else "Exited (0) 1 second ago",
        }

    @staticmethod
    def task(docker: Docker, swarm: Swarm, item: Raw, whole: bool) -> Raw:
        status = item["Status"]
        error = status.get("Err", "")
        error = f'"{error}"' if error else ""
        return {
            "CurrentState": f"{status['State'].capitalize()} {ago(docker, status['Timestamp']).lower()}",
            "DesiredState": item["DesiredState"].capitalize(),
            "Error": error if whole or len(error) <= 30 else f'{error[:29]}…"'.replace('""', '"'),
            "ID": item["ID"] if whole else item["ID"][:12],
            "Image": item["Template"].get("ContainerSpec", {}).get("Image", ""),
            "Name": f"{item['ServiceName']}.{item.get('Slot') or item.get('NodeID', '')}",
            "Node": swarm.hostname(item.get("NodeID", "")),
            "Ports": "",
        }


def state_of(swarm: Swarm, container: Raw) -> str:
    task = swarm.tasks.get(container["Task"])
    state = task["Status"]["State"] if task else "exited"
    return {"running": "running", "starting": "created"}.get(state, "exited")


def _mode(mode: Raw) -> tuple[str, int | None]:
    if "Replicated" in mode:
        return "replicated", mode["Replicated"].get("Replicas", 1)
    if "ReplicatedJob" in mode:
        return "replicated job", mode["ReplicatedJob"]["TotalCompletions"]
    return ("global" if "Global" in mode else "global job"), None


def inspected(swarm: Swarm, kind: str, item: Raw, defaults: bool) -> Raw:
    """A copy of what docker prints; with `defaults`, as the untyped `docker inspect` shows a service."""
    shown = copy.deepcopy(item)
    if kind == "task":
        for key in ("Template", "ServiceLabels", "ServiceName", "Outcome", "Born", "Place"):
            del shown[key]
    if kind in ("config", "secret"):
        data = shown["Spec"].pop("Data")
        if kind == "config":
            shown["Spec"]["Data"] = base64.b64encode(data.encode("utf-8", "surrogateescape")).decode()
    if kind == "container":
        running = state_of(swarm, item)
        shown = {
            "Id": item["ID"],
            "Name": f"/{item['Name']}",
            "State": {"Status": running},
            "Config": {"Labels": item["Labels"]},
        }
    if kind == "service" and defaults:
        _fill_in(shown["Spec"])
    if kind == "service" and "PreviousSpec" in shown:
        container = shown["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]
        if not container.get("DNSConfig"):
            container.pop("DNSConfig", None)
    return shown


def _fill_in(spec: Raw) -> None:
    template = spec["TaskTemplate"]
    template["ContainerSpec"].setdefault("StopGracePeriod", 10 * SECOND)
    policy = template.setdefault("RestartPolicy", {})
    for key, value in (("Condition", "any"), ("Delay", 5 * SECOND), ("MaxAttempts", 0)):
        policy.setdefault(key, value)
    for key in ("UpdateConfig", "RollbackConfig"):
        given = {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5 * SECOND, "MaxFailureRatio": 0}
        spec[key] = {**given, "Order": "stop-first", **spec.get(key, {})}


def stack_rows(docker: Docker) -> list[Row]:
    counts: dict[str, int] = {}
    for service in docker.swarm.services.values():
        stack = service["Spec"]["Labels"].get(NAMESPACE)
        if stack:
            counts[stack] = counts.get(stack, 0) + 1
    rows = [
        {"Name": name, "Namespace": "", "Orchestrator": "Swarm", "Services": str(counts[name])}
        for name in sorted(counts)
    ]
    return [Row("*formatter.stackContext", fields) for fields in rows]
