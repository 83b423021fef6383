"""What a swarm keeps: nodes, networks, services, tasks, configs and secrets, with identifiers and times."""

from __future__ import annotations

import calendar
import copy
import random
import time as real
from typing import Any

NAMESPACE = "com.docker.stack.namespace"
IMAGE_LABEL = "com.docker.stack.image"
Raw = dict[str, Any]


class Clock:
    """The module `time` of a test: nobody waits, and whoever sleeps makes time pass in the swarm as well."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.now = start
        self.began = start
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - self.began + 1000

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    strptime = staticmethod(real.strptime)
    strftime = staticmethod(real.strftime)
    gmtime = staticmethod(real.gmtime)


def stamp(moment: float) -> str:
    """As Go writes it: nanoseconds, without zeros at the end."""
    nanoseconds = f"{int(moment * 1000) % 1000:03}".rstrip("0")
    return real.strftime("%Y-%m-%dT%H:%M:%S", real.gmtime(moment)) + (f".{nanoseconds}Z" if nanoseconds else "Z")


def moment_of(text: str) -> float:
    seconds, _dot, rest = text.rstrip("Z").partition(".")
    return calendar.timegm(real.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{rest or 0}")


class Store:
    """Objects by identifier. Nothing here decides anything."""

    def __init__(self, clock: Clock, seed: int = 20) -> None:
        self.clock = clock
        self.random = random.Random(seed)
        self.version = 10
        self.nodes: dict[str, Raw] = {}
        self.networks: dict[str, Raw] = {}
        self.services: dict[str, Raw] = {}
        self.tasks: dict[str, Raw] = {}
        self.configs: dict[str, Raw] = {}
        self.secrets: dict[str, Raw] = {}
        self.containers: dict[str, Raw] = {}

    def identifier(self, length: int = 25) -> str:
        letters = "0123456789abcdef" if length == 64 else "abcdefghijklmnopqrstuvwxyz0123456789"
        return "".join(self.random.choice(letters) for _ in range(length))

    def meta(self, identifier: str | None = None) -> Raw:
        self.version += 1
        now = stamp(self.clock.now)
        made = {"Version": {"Index": self.version}, "CreatedAt": now, "UpdatedAt": now}
        return {"ID": identifier or self.identifier(), **made}

    def touch(self, item: Raw) -> None:
        self.version += 1
        item["Version"] = {"Index": self.version}
        item["UpdatedAt"] = stamp(self.clock.now)

    def kind(self, kind: str) -> dict[str, Raw]:
        found: dict[str, Raw] = getattr(self, f"{kind}s")
        return found

    def add_node(self, hostname: str, role: str = "worker", state: str = "ready", engine: str = "26.1.5") -> Raw:
        address = f"192.0.2.{len(self.nodes) + 1}"
        node = {
            **self.meta(),
            "Spec": {"Labels": {}, "Role": role, "Availability": "active"},
            "Description": {
                "Hostname": hostname,
                "Platform": {"Architecture": "x86_64", "OS": "linux"},
                "Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 8_000_000_000},
                "Engine": {"EngineVersion": engine, "Plugins": []},
                "TLSInfo": {},
            },
            "Status": {"State": state, "Addr": address},
        }
        if role == "manager":
            leads = not any("ManagerStatus" in other for other in self.nodes.values())
            node["ManagerStatus"] = {"Reachability": "reachable", "Addr": f"{address}:2377"}
            node["ManagerStatus"].update({"Leader": True} if leads else {})
        self.nodes[node["ID"]] = node
        return node

    def node(self, hostname: str) -> Raw:
        (found,) = [node for node in self.nodes.values() if node["Description"]["Hostname"] == hostname]
        return found

    def hostname(self, identifier: str) -> str:
        node = self.nodes.get(identifier)
        return str(node["Description"]["Hostname"]) if node else ""

    def add_network(self, name: str, driver: str = "overlay", scope: str = "swarm", **settings: Any) -> Raw:
        network = {
            "Name": name,
            "Id": self.identifier(25 if scope == "swarm" else 64),
            "Created": stamp(self.clock.now),
            "Scope": scope,
            "Driver": driver,
            "EnableIPv6": False,
            "IPAM": {
                "Driver": "default",
                "Options": None,
                "Config": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}],
            },
            "Internal": False,
            "Attachable": False,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": None if scope == "swarm" else {},
            "Options": {},
            "Labels": {},
            **settings,
        }
        self.networks[network["Id"]] = network
        return network

    def add_content(self, kind: str, name: str, data: str, labels: dict[str, str]) -> Raw:
        """A config or a secret. The text is in clear here; whoever shows it encodes or hides it."""
        item = {**self.meta(), "Spec": {"Name": name, "Labels": labels, "Data": data}}
        self.kind(kind)[item["ID"]] = item
        return item

    def find(self, kind: str, reference: str, prefixes: bool = True) -> Raw | None:
        """By full identifier, by name, or by the one identifier that begins so: in this order, as swarm does."""
        items = self.kind(kind)
        if reference in items:
            return items[reference]
        named = [item for item in items.values() if name_of(kind, item) == reference]
        if named:
            return named[0]
        begun = [item for key, item in items.items() if key.startswith(reference)] if prefixes and reference else []
        return begun[0] if len(begun) == 1 else None

    def named(self, kind: str, name: str) -> Raw:
        """The object of this name, which is there."""
        (found,) = [item for item in self.kind(kind).values() if name_of(kind, item) == name]
        return found

    def of_stack(self, kind: str, stack: str) -> dict[str, Raw]:
        """Name to object, by the label's value."""
        found = [item for item in self.kind(kind).values() if labels_of(kind, item).get(NAMESPACE) == stack]
        return {name_of(kind, item): item for item in found}

    def tasks_of(self, full_name: str) -> list[Raw]:
        """Newest first."""
        service = self.named("service", full_name)
        own = [task for task in self.tasks.values() if task["ServiceID"] == service["ID"]]
        return sorted(own, key=lambda task: int(task["Born"]), reverse=True)

    def everything(self, but: str) -> Raw:
        """All that does not belong to one stack, to be compared with what it is later."""
        kept: Raw = {}
        for kind in ("service", "network", "config", "secret"):
            for identifier, item in self.kind(kind).items():
                if labels_of(kind, item).get(NAMESPACE) != but:
                    kept[f"{kind} {name_of(kind, item)} {identifier}"] = copy.deepcopy(item)
        services = {item["ID"] for key, item in kept.items() if key.startswith("service ")}
        for identifier, task in self.tasks.items():
            if task["ServiceID"] in services:
                kept[f"task {identifier}"] = (task["DesiredState"], task["Status"]["State"])
        return kept


def name_of(kind: str, item: Raw) -> str:
    if kind == "node":
        return str(item["Description"]["Hostname"])
    if kind in ("network", "container"):
        return str(item["Name"])
    return "" if kind == "task" else str(item["Spec"]["Name"])


def labels_of(kind: str, item: Raw) -> dict[str, str]:
    if kind == "task":
        return dict(item.get("ServiceLabels") or {})
    held = item if kind in ("network", "container") else item["Spec"]
    return dict(held.get("Labels") or {})
