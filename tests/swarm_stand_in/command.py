"""The docker command: words and standard input in, exit code and the two streams out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm_stand_in import compose, show, stacks
from swarm_stand_in.flags import Parsed, Refused, parse
from swarm_stand_in.orchestrator import ENDED, Swarm
from swarm_stand_in.store import Raw, labels_of, moment_of, name_of
from swarm_stand_in.template import NotPlayed, Row, TemplateError, render

NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
FILTERS = {
    "service": ("id", "label", "mode", "name", "runtime"),
    "node": ("id", "label", "membership", "name", "node.label", "role"),
    "config": ("id", "label", "name"),
    "secret": ("id", "label", "name", "names"),
    "network": ("dangling", "driver", "id", "label", "name", "scope", "type"),
    "container": ("id", "label", "name", "status", "network", "exited", "is-task"),
    "task": ("id", "name", "node", "desired-state", "label", "service", "runtime"),
}
SOCKET = "unix:///var/run/docker.sock"
COST = 0.05  # seconds that a command takes


class Failed(Exception):
    """Docker's words, its exit code and what it has printed before."""

    def __init__(self, said: str, code: int = 1, out: str = "") -> None:
        super().__init__(said)
        self.code = code
        self.out = out


class Docker:
    """One command line, of one host of the swarm.

    `refuse`: what the engine answers to all but `info`. `info`: what `info` says of the swarm then. `refusals`: what it
    answers to a command, by its first words, once for each item. `busy_networks`: how many more removals of networks
    fail.
    `silent`: commands that a swarm without a quorum never answers; their callers must not wait for ever.
    `off`: no engine answers.
    """

    def __init__(self, swarm: Swarm, version: str = "26.1.5", host: str = "host0") -> None:
        self.swarm = swarm
        self.engine = version
        self.host = host
        self.calls: list[tuple[str, ...]] = []
        self.seen: list[dict[str, Any]] = []
        self.refuse = ""
        self.info: Raw | None = None
        self.refusals: dict[str, list[str]] = {}
        self.busy_networks = 0
        self.logs: dict[str, list[tuple[str, str, str]]] = {}
        self.silent: tuple[str, ...] = ()
        self.off = False
        self.shuffled = True

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.engine.split(".")[:2])

    def run(
        self,
        argv: list[str] | tuple[str, ...],
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
    ) -> tuple[int, str, str]:
        environment = {} if environment is None else environment
        self.swarm.settle(COST)
        try:
            parsed = parse(list(argv), self.numbers)
            self.calls.append(tuple(argv[len(argv) - self._length(argv) :]))
            self.seen.append({"argv": tuple(argv), "stdin": stdin, "env": dict(environment), "directory": directory})
            return self._answer(parsed, stdin, environment, directory)
        except Refused as error:
            self.calls.append(tuple(argv))
            return error.code, "", f"{error}\n"
        except TemplateError as error:
            return 1, "", f"{error}\n"
        except compose.ComposeRefused as error:
            return 1, "", f"{error}\n"
        except Failed as error:
            return error.code, error.out, f"{error}\n" if str(error) else ""

    def is_silent(self, argv: list[str] | tuple[str, ...]) -> bool:
        words = " ".join(argv[len(argv) - self._length(argv) :])
        return any(f"{words} ".startswith(f"{start} ") for start in self.silent)

    @staticmethod
    def _length(argv: list[str] | tuple[str, ...]) -> int:
        """Words from the command on, without the connection's."""
        rest = list(argv)
        while rest and rest[0].startswith("-"):
            word = rest.pop(0)
            if "=" not in word and word.lstrip("-") not in ("tls", "tlsverify", "debug", "D"):
                rest.pop(0)
        return len(rest)

    def _answer(
        self, parsed: Parsed, stdin: str, environment: Mapping[str, str], directory: str | None
    ) -> tuple[int, str, str]:
        socket = parsed.connection.get("host", [SOCKET])[-1]
        if self.off or socket != SOCKET:
            return self._cannot_connect(parsed, socket)
        for start, answers in self.refusals.items():
            if f"{parsed.command} ".startswith(f"{start} ") and answers:
                raise Failed(f"Error response from daemon: {answers.pop(0)}")
        if self.refuse and parsed.command not in ("info", "version"):
            raise Failed(f"Error response from daemon: {self.refuse}")
        if parsed.command in stacks.COMMANDS:
            return stacks.COMMANDS[parsed.command](self, parsed, stdin, environment, directory)
        group, _space, verb = parsed.command.partition(" ")
        name = f"_{verb}_{group}" if verb else f"_{group}"
        if verb in ("ls", "rm"):
            return getattr(self, f"_{verb}")(group, parsed)  # type: ignore[no-any-return]
        if verb == "inspect":
            return self._inspect_kind(group, parsed)
        if group in ("config", "secret") and verb == "create":
            return self._create(group, parsed, stdin)
        return getattr(self, name)(parsed)  # type: ignore[no-any-return]

    def _cannot_connect(self, parsed: Parsed, socket: str) -> tuple[int, str, str]:
        said = f"Cannot connect to the Docker daemon at {socket}. Is the docker daemon running?"
        if parsed.command != "info":
            raise Failed(said)
        if self.numbers >= (28,):
            about = {
                "Name": "",
                "ServerVersion": "",
                "DockerRootDir": "",
                "Swarm": {"NodeID": "", "LocalNodeState": ""},
            }
            return 1, json.dumps(about) + "\n", f"{said}\n"
        about = {"ServerErrors": [said], "ClientInfo": {"Debug": False}}
        return 0, json.dumps(about) + "\n", f"{said}\n" if self.numbers >= (23,) else ""

    # Listings

    def listed(self, kind: str, parsed: Parsed) -> list[Raw]:
        """What the filters leave; each must be true, of several values of one filter any may be."""
        wanted: dict[str, list[str]] = {}
        for given in parsed.flags.get("filter", []):
            if given:
                name, _sign, value = given.partition("=")
                wanted.setdefault(name.strip().lower(), []).append(value.strip())
        for name in wanted:
            if name not in FILTERS[kind]:
                raise Failed(
                    f"Error response from daemon: {'I' if self.numbers < (23,) else 'i'}nvalid filter '{name}'"
                )
        if kind == "task":
            wanted.setdefault("runtime", ["container"])
        found = [item for item in self.swarm.kind(kind).values() if self._matches(kind, item, wanted)]
        return sorted(found, key=lambda item: name_of(kind, item))

    @staticmethod
    def _matches(kind: str, item: Raw, wanted: dict[str, list[str]]) -> bool:
        identifier = str(item.get("ID") or item.get("Id"))
        labels = labels_of(kind, item)
        for name, values in wanted.items():
            if name == "label":
                # Each of them; one without a value asks for the key alone.
                for value in values:
                    key, sign, text = value.partition("=")
                    if key not in labels or (sign and text and labels[key] != text):
                        return False
                    if kind in ("network", "container") and sign and labels[key] != text:
                        return False
            elif name in ("name", "names"):
                own = name_of(kind, item)
                fits = [own.startswith(value) if kind != "network" else value.strip("^$") in own for value in values]
                if not any(fits):
                    return False
            elif name == "id":
                if not any(identifier.startswith(value) for value in values):
                    return False
            elif name in ("driver", "scope"):
                if item[name.capitalize()] not in values:
                    return False
            elif name == "desired-state":
                if item["DesiredState"] not in values:
                    return False
            elif name == "runtime":
                if item["Spec"].get("Runtime", "container") not in values:
                    return False
            elif name == "role":
                if item["Spec"]["Role"] not in values:
                    return False
            else:
                raise NotPlayed(f"the stand-in does not know the filter {name} of {kind}s")
        return True

    def _ls(self, kind: str, parsed: Parsed) -> tuple[int, str, str]:
        rows = [show.row(self, kind, item, parsed.has("no-trunc")) for item in self.listed(kind, parsed)]
        return 0, show.listing(rows, show.COLUMNS[kind], parsed, self.numbers), ""

    def _ps(self, parsed: Parsed) -> tuple[int, str, str]:
        mine = self.swarm.node(self.host)["ID"]
        found = [item for item in self.listed("container", parsed) if item["Node"] == mine]
        if not parsed.has("all"):
            found = [item for item in found if show.state_of(self.swarm, item) == "running"]
        rows = [show.row(self, "container", item, parsed.has("no-trunc")) for item in found]
        return 0, show.listing(rows, show.COLUMNS["container"], parsed, self.numbers), ""

    def _ps_node(self, parsed: Parsed) -> tuple[int, str, str]:
        found = [item for item in self.listed("task", parsed) if item.get("NodeID") in parsed.operands]
        if not parsed.has("quiet"):
            raise NotPlayed("the stand-in lists a node's tasks by their identifiers only")
        rows = [show.row(self, "task", item, parsed.has("no-trunc")) for item in found]
        return 0, show.listing(rows, show.COLUMNS["task"], parsed, self.numbers), ""

    # Objects

    def no_such(self, kind: str, reference: str) -> str:
        if self.numbers < (23,):
            return f"Error: No such {kind}: {reference}"
        return f"Error response from daemon: {kind} {reference} not found"

    def _not_found(self, command: str, kind: str, reference: str) -> str:
        if command == "service inspect":
            return f"Error: no such service: {reference}"
        return self.no_such(kind, reference) if kind else f"Error: No such object: {reference}"

    def _inspect(self, parsed: Parsed) -> tuple[int, str, str]:
        """Of any kind, or of the one that is asked for."""
        kind = parsed.one("type")
        known = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")
        if kind and self.numbers < (28,) and (kind not in known or kind == "config"):
            raise Failed(f'"{kind}" is not a valid value for --type')
        if kind and kind not in known:
            joined = '", "'.join(known)
            raise Failed(f'unknown type: "{kind}": must be one of "{joined}"')
        return self._inspect_kind(kind, parsed)

    def _inspect_kind(self, kind: str, parsed: Parsed) -> tuple[int, str, str]:
        kinds = [kind] if kind else ["container", "network", "service", "task", "node", "secret", "config"]
        found, missing = [], []
        for reference in parsed.operands:
            if kind == "node" and reference == "self":
                reference = self.swarm.node(self.host)["ID"]
            item = next((each for each in ((k, self.swarm.find(k, reference)) for k in kinds) if each[1]), None)
            if item is None:
                missing.append(self._not_found(parsed.command, kind, reference))
            else:
                found.append(show.inspected(self.swarm, item[0], item[1] or {}, defaults=parsed.command == "inspect"))
        if parsed.has("pretty"):
            raise NotPlayed("the stand-in does not print prettily")
        for item in found if parsed.has("verbose") else []:
            item["Services"] = self._attached(item["Id"])
        template = parsed.one("format")
        # These commands of an old docker say so of their own complaints.
        status = self.numbers < (28,) and parsed.command.split()[0] in ("config", "secret", "node", "service")
        if template and template != "json":
            # A template is read against docker's own types, in which an identifier is always called ID.
            found = [{**item, "ID": item["Id"]} if "Id" in item else item for item in found]
            typed = f"swarm.{kind.title()}" if kind in ("config", "secret", "node", "service") else ""
            try:
                out = "".join(f"{render(template, Row(typed, item) if typed else item)}\n" for item in found)
            except TemplateError as error:
                raise Failed(f"Status: {error}, Code: 1" if status else str(error)) from error
        else:
            out = json.dumps(found, indent=4, ensure_ascii=False) + "\n"
        said = "\n".join(missing)
        if missing and status:
            said = f"Status: {said}, Code: 1"
        return (1, out, f"{said}\n") if missing else (0, out, "")

    def _attached(self, network: str) -> Raw:
        """Containers of no service, which a network tells of where this host has one of its own on it."""
        tasks = [
            (task, attachment)
            for task in self.swarm.tasks.values()
            for attachment in task["NetworksAttachments"]
            if attachment["Network"]["ID"] == network
        ]
        if self.swarm.node(self.host)["ID"] not in [task["NodeID"] for task, _attachment in tasks]:
            return {}
        containers = {container["Task"]: container["Name"] for container in self.swarm.containers.values()}
        told = [
            {"Name": containers[task["ID"]], "EndpointIP": attachment["Addresses"][0].partition("/")[0]}
            for task, attachment in tasks
        ]
        return {"": {"VIP": "<nil>", "Ports": [], "LocalLBIndex": 0, "Tasks": told}}

    def _create(self, kind: str, parsed: Parsed, stdin: str) -> tuple[int, str, str]:
        name, source = parsed.operands
        data = stdin if source == "-" else Path(source).read_text(encoding="utf-8") if os.path.exists(source) else None
        if data is None:
            raise Failed(f'Error reading content from "{source}": open {source}: no such file or directory')
        if not (name.replace("-", "").replace("_", "").replace(".", "").isalnum() and len(name) <= 64):
            self._refuse(
                "InvalidArgument",
                "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and "
                "end character must be [a-zA-Z0-9]",
            )
        limit = 1_024_000 if kind == "config" else 512_000
        if not data and source == "-" and self.numbers >= (28,):
            raise Failed('Error reading content from "-": error reading from STDIN: data is empty')
        if not data or len(data.encode("utf-8", "surrogateescape")) >= limit:
            self._refuse("InvalidArgument", f"{kind} data must be larger than 0 and less than {limit} bytes")
        if any(name_of(kind, item) == name for item in self.swarm.kind(kind).values()):
            self._refuse("AlreadyExists", f"{kind} {name} already exists")
        item = self.swarm.add_content(kind, name, data, compose.mapping(parsed.flags.get("label", [])))
        if parsed.one("template-driver"):
            item["Spec"]["Templating"] = {"Name": parsed.one("template-driver")}
        return 0, f"{item['ID']}\n", ""

    @staticmethod
    def _refuse(code: str, text: str) -> None:
        raise Failed(f"Error response from daemon: rpc error: code = {code} desc = {text}")

    def _rm(self, kind: str, parsed: Parsed) -> tuple[int, str, str]:
        out, errors = "", []
        for reference in parsed.operands:
            said = self.remove(kind, reference)
            out += "" if said else f"{reference}\n"
            errors += [said] if said else []
        tail = ["exit status 1"] if errors and kind == "network" and self.numbers >= (28,) else []
        return bool(errors) * 1, out, "".join(f"{line}\n" for line in [*errors, *tail])

    def remove(self, kind: str, reference: str) -> str:
        """What is against it, in docker's words."""
        item = self.swarm.find(kind, reference)
        if item is None:
            return self.no_such(kind, reference)
        if kind in ("service", "container"):
            self.swarm.remove_service(item) if kind == "service" else self.swarm.containers.pop(item["ID"])
            return ""
        if kind == "network":
            return self._remove_network(item)
        title = kind.capitalize()
        users = [
            service["Spec"]["Name"]
            for service in self.swarm.services.values()
            for used in service["Spec"]["TaskTemplate"]["ContainerSpec"].get(f"{title}s") or []
            if used[f"{title}ID"] == item["ID"]
        ]
        if users:
            services = "service" if len(users) == 1 else "services"
            return (
                f"Error response from daemon: rpc error: code = InvalidArgument desc = {kind} '{item['Spec']['Name']}' "
                f"is in use by the following {services}: {', '.join(sorted(users))}"
            )
        del self.swarm.kind(kind)[item["ID"]]
        return ""

    def _remove_network(self, network: Raw) -> str:
        identifier = network["Id"]
        if network["Name"] in ("host", "bridge", "none"):
            return f"Error response from daemon: {network['Name']} is a pre-defined network and cannot be removed"
        refused = (
            f"Error response from daemon: rpc error: code = FailedPrecondition desc = network {identifier} is in use by"
        )
        for service in self.swarm.services.values():
            if identifier in [entry["Target"] for entry in service["Spec"]["TaskTemplate"].get("Networks") or []]:
                return f"{refused} service {service['ID']}"
        for task in self.swarm.tasks.values():
            holds = identifier in [entry["Target"] for entry in task["Template"].get("Networks") or []]
            if holds and task["Status"]["State"] not in ENDED and self.swarm.reachable(task):
                return f"{refused} task {task['ID']}"
        if self.busy_networks:
            self.busy_networks -= 1
            return f"{refused} task {self.swarm.random.choice('abc') * 25}"
        del self.swarm.networks[identifier]
        return ""

    def _create_network(self, parsed: Parsed) -> tuple[int, str, str]:
        (name,) = parsed.operands
        if any(item["Name"] == name for item in self.swarm.networks.values()):
            raise Failed(f"Error response from daemon: network with name {name} already exists")
        driver = parsed.one("driver", "bridge")
        network = self.swarm.add_network(
            name,
            driver,
            "swarm" if driver == "overlay" else "local",
            Labels=compose.mapping(parsed.flags.get("label", [])),
            Options=compose.mapping(parsed.flags.get("opt", [])),
            Attachable=parsed.has("attachable"),
        )
        return 0, f"{network['Id']}\n", ""

    # Services

    def _update_service(self, parsed: Parsed) -> tuple[int, str, str]:
        (reference,) = parsed.operands
        service = self.swarm.find("service", reference)
        if service is None:
            raise Failed(self.no_such("service", reference))

        def change(spec: Raw) -> None:
            template, container = spec["TaskTemplate"], spec["TaskTemplate"]["ContainerSpec"]
            template["ForceUpdate"] += parsed.has("force")
            container["Image"] = parsed.one("image", container["Image"])
            if "replicas" in parsed.flags:
                spec["Mode"]["Replicated"]["Replicas"] = int(parsed.one("replicas"))
            if "args" in parsed.flags:
                container["Args"] = compose.words(parsed.one("args"))
            environment = compose.mapping(container.get("Env"))
            environment.update(compose.mapping(parsed.flags.get("env-add", [])))
            left = {key: value for key, value in environment.items() if key not in parsed.flags.get("env-rm", [])}
            if left != compose.mapping(container.get("Env")):
                container["Env"] = [f"{key}={value}" for key, value in left.items()]
            spec["Labels"].update(compose.mapping(parsed.flags.get("label-add", [])))
            placement = template.get("Placement") or {}
            constraints = [*(placement.get("Constraints") or []), *parsed.flags.get("constraint-add", [])]
            kept = [constraint for constraint in constraints if constraint not in parsed.flags.get("constraint-rm", [])]
            if kept != (placement.get("Constraints") or []):
                template["Placement"] = {**placement, "Constraints": kept}
            for label in parsed.flags.get("label-rm", []):
                spec["Labels"].pop(label, None)

        self.swarm.edit(service["Spec"]["Name"], change)
        return 0, f"{reference}\n", ""

    def _scale_service(self, parsed: Parsed) -> tuple[int, str, str]:
        for operand in parsed.operands:
            name, _sign, count = operand.partition("=")
            if not self.swarm.find("service", name):
                raise Failed(f"{name}: {self.no_such('service', name)}")
            number = int(count)
            self.swarm.edit(name, lambda spec, number=number: spec["Mode"]["Replicated"].update(Replicas=number))
        return 0, "".join(f"{operand.replace('=', ' scaled to ')}\n" for operand in parsed.operands), ""

    def _logs_service(self, parsed: Parsed) -> tuple[int, str, str]:
        """`logs` holds, by a task's identifier or a service's name: time, stream and text of each line."""
        (reference,) = parsed.operands
        service, task = self.swarm.find("service", reference), self.swarm.find("task", reference)
        if service is None and task is None:
            raise Failed(f"no such task or service: {reference}")
        if parsed.has("follow") or not parsed.has("raw") or parsed.has("details"):
            raise NotPlayed("the stand-in shows raw logs, and does not follow them")
        held = [service] if service is None else self.swarm.tasks_of(service["Spec"]["Name"])[::-1]
        tasks = [task] if service is None else held
        logs = [self._lines(each) for each in tasks if each]
        logs += [self.logs.get(service["Spec"]["Name"], [])] if service else []
        since, tail = parsed.one("since"), parsed.one("tail", "all")
        lines: list[tuple[str, str, str]] = []
        for log in logs:
            log = [line for line in log if moment_of(line[0]) <= self.swarm.clock.now]
            log = [line for line in log if not since or moment_of(line[0]) >= moment_of(since)]
            # So many of each task.
            lines += log[-int(tail) or len(log) :] if tail != "all" else log
        shown = {
            stream: "".join(
                f"{fixed(when)} {text}\n" if parsed.has("timestamps") else f"{text}\n"
                for when, where, text in lines
                if where == stream
            )
            for stream in ("stdout", "stderr")
        }
        return 0, shown["stdout"], shown["stderr"]

    def _lines(self, task: Raw) -> list[tuple[str, str, str]]:
        named = f"{task['ServiceName']}.{task.get('Slot') or task.get('NodeID', '')}"
        return self.logs.get(task["ID"], []) or self.logs.get(named, [])

    # The host

    def _version(self, parsed: Parsed) -> tuple[int, str, str]:
        about = {"Server": {"Version": self.engine}, "Client": {"Version": self.engine}}
        return 0, render(parsed.one("format", "{{json .}}"), about) + "\n", ""

    def _info(self, parsed: Parsed) -> tuple[int, str, str]:
        node = self.swarm.node(self.host)
        swarm: Raw = {
            "NodeID": node["ID"],
            "NodeAddr": node["Status"]["Addr"],
            "LocalNodeState": "active",
            "ControlAvailable": "ManagerStatus" in node,
            "Error": "",
            "RemoteManagers": [{"NodeID": node["ID"], "Addr": f"{node['Status']['Addr']}:2377"}],
            "Nodes": len(self.swarm.nodes),
            "Managers": sum("ManagerStatus" in each for each in self.swarm.nodes.values()),
        }
        about = {
            "Name": self.host,
            "ServerVersion": self.engine,
            "DockerRootDir": "/var/lib/docker",
            "Swarm": swarm if self.info is None else self.info,
        }
        template = parsed.one("format", "{{json .}}")
        return 0, render("{{json .}}" if template == "json" else template, about) + "\n", ""


def fixed(when: str) -> str:
    """Docker writes the time of a log's line with nine decimals."""
    seconds, _dot, rest = when.rstrip("Z").partition(".")
    return f"{seconds}.{rest:0<9}Z"
