"""What has to be done so that a stack is as it is defined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..docker.cli import DockerCli
from ..masking import mask
from .action import Action
from .compose.canonical import Content, Prepared, network_name, service_view
from .diff import _HIDDEN, differences, make_diff, pick, shorten
from .live import Live, is_job, service_mode, short_name
from .record import Record, content_ids, normal_spec, read_config
from .wait import StackFailure, _task_lines, why_failed

# A network of which nothing is said.
OVERLAY = {"driver": "overlay"}
# Of a network, config or secret that someone has put in the place of ours.
ANOTHER = "(it is not the one that was deployed)"


@dataclass
class Plan:
    """What has to be done."""

    actions: list[Action] = field(default_factory=list)
    deploy: bool = False
    removed_services: list[str] = field(default_factory=list)
    recreated_networks: list[str] = field(default_factory=list)
    recreated_contents: list[str] = field(default_factory=list)
    known_contents: dict[str, str] = field(default_factory=dict)
    detached_services: list[str] = field(default_factory=list)
    foreign_images: list[str] = field(default_factory=list)
    obsolete_networks: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    failed_before: list[str] = field(default_factory=list)
    diffs: list[dict[str, str]] = field(default_factory=list)
    known: Record | None = None

    def services(self) -> set[str]:
        """Those about which something is done."""
        return {action.name for action in self.actions if action.kind == "service"}


def _differing(verb: str, kind: str, name: str, paths: list[str]) -> Action:
    return Action(verb, kind, name, why=shorten(paths), parts=sorted({path.partition(".")[0] for path in paths}))


def own_networks(stack: str, definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Real name to definition of the networks that the stack creates."""
    return {
        network_name(stack, key, network): network
        for key, network in definition.get("networks", {}).items()
        if not network.get("external")
    }


def make_plan(
    stack: str,
    definition: dict[str, Any],
    live: Live,
    record: Record | None,
    prune: bool,
    redeploy: str,
) -> Plan:
    """Desired against live. Everything that the module will do is decided here."""
    plan = Plan(known=record)
    _plan_networks(stack, definition, live, record, prune, plan)
    _plan_contents(definition, live, record, plan)
    _plan_services(stack, definition, live, record, plan)
    if prune:
        for full_name in sorted(live.services):
            name = short_name(stack, full_name)
            if name not in definition["services"]:
                plan.actions.append(Action("remove", "service", name))
                plan.removed_services.append(full_name)
                before = normal_spec(live.services[full_name], live.networks)
                plan.diffs.append(make_diff(f"service {name}", before, None))
    kept = set(plan.detached_services) - set(plan.removed_services)
    strangers = sorted(
        short_name(stack, name) for name in kept if short_name(stack, name) not in definition["services"]
    )
    if strangers:
        raise StackFailure(
            f"Stack {stack} cannot be deployed: {', '.join(plan.recreated_networks + plan.recreated_contents)} must be created "
            f"again, and service {', '.join(strangers)} uses it, which is not described: describe it, or set prune to true"
        )
    volumes = record.definition.get("volumes", {}) if record else {}
    if not prune:
        volumes = {name: volume for name, volume in volumes.items() if name in definition["volumes"]}
    if live.services and volumes != definition["volumes"]:
        plan.diffs.append(make_diff("volumes", volumes, definition["volumes"]))
        if record:
            plan.actions.append(_differing("update", "volumes", "", differences(volumes, definition["volumes"])))
            plan.deploy = True
    _plan_restarts(definition, live, redeploy, plan)
    if plan.deploy:
        _plan_jobs(stack, definition, live, plan)
    return plan


def _plan_networks(
    stack: str, definition: dict[str, Any], live: Live, record: Record | None, prune: bool, plan: Plan
) -> None:
    wanted = own_networks(stack, definition)
    known = own_networks(stack, record.definition) if record else {}
    present = {row["Name"]: row["ID"] for row in live.networks.values() if row.get("Scope") == "swarm"}
    for name, network in sorted(wanted.items()):
        if name not in present:
            plan.actions.append(Action("create", "network", name))
            plan.deploy = True
            plan.diffs.append(make_diff(f"network {name}", None, network or OVERLAY))
        elif record and name in known and (known[name] != network or record.networks.get(name) != present[name]):
            behind_our_back = "" if known[name] != network else ANOTHER
            plan.actions.append(Action("recreate", "network", name, behind_our_back))
            plan.deploy = True
            plan.recreated_networks.append(name)
            before, after = (known[name], network) if known[name] != network else ({"id": "another"}, {"id": "new"})
            plan.diffs.append(make_diff(f"network {name}", before or OVERLAY, after or OVERLAY))
    plan.detached_services += attached(live.services, live, plan.recreated_networks)
    if prune:
        for name in sorted(live.own_networks):
            if name not in wanted:
                plan.actions.append(Action("remove", "network", name))
                plan.obsolete_networks.append(name)
                plan.diffs.append(make_diff(f"network {name}", known.get(name) or OVERLAY, None))


def attached(services: dict[str, dict[str, Any]], live: Live, networks: list[str]) -> list[str]:
    """Which of the services are attached to one of the networks."""
    ids = {identifier for identifier, row in live.networks.items() if row["Name"] in networks}
    found = []
    for full_name, service in sorted(services.items()):
        holders = (service["Spec"].get("TaskTemplate", {}), service["Spec"])
        if ids & {entry.get("Target") for holder in holders for entry in holder.get("Networks") or []}:
            found.append(full_name)
    return found


def content_diffs(docker: DockerCli, prepared: Prepared, record: Record | None) -> list[dict[str, str]]:
    """Changed configs, line by line. Of secrets nobody should see more than that they have changed."""
    diffs = []
    known = (record.definition.get("configs") or {}) if record else {}
    for content in prepared.contents:
        old = (known.get(content.key) or {}).get("name")
        if content.kind != "config" or old in (None, content.name):
            continue
        before = read_config(docker, old)
        after = _text_of(content)
        if before is not None and after is not None:
            header = f"config {content.key}"
            texts = {"before": mask(before, _HIDDEN), "after": mask(after, _HIDDEN)}
            diffs.append({"before_header": header, "after_header": header, **texts})
    return diffs


def _text_of(content: Content) -> str | None:
    try:
        if content.data is not None:
            return content.data.decode("utf-8")
        with open(str(content.path), encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return None


def _plan_contents(definition: dict[str, Any], live: Live, record: Record | None, plan: Plan) -> None:
    """Someone may have put another config or secret in the place of ours, by the same name."""
    used = content_ids(live)
    wanted = {
        f"{kind} {entry.get('name')}" for kind in ("config", "secret") for entry in definition[f"{kind}s"].values()
    }
    plan.known_contents = record.contents if record else {}
    for content, identifier in sorted(plan.known_contents.items()):
        if content in wanted and used.get(content, identifier) != identifier:
            kind, _, name = content.partition(" ")
            plan.actions.append(Action("recreate", kind, name, ANOTHER))
            plan.deploy = True
            plan.recreated_contents.append(content)
            plan.diffs.append(make_diff(content, {"id": used[content]}, {"id": "new"}))
    for full_name, service in sorted(live.services.items()):
        uses = content_ids(Live(live.stack, services={full_name: service}))
        if uses.keys() & set(plan.recreated_contents) and full_name not in plan.detached_services:
            plan.detached_services.append(full_name)


def _plan_services(stack: str, definition: dict[str, Any], live: Live, record: Record | None, plan: Plan) -> None:
    for name in sorted(definition["services"]):
        full_name = f"{stack}_{name}"
        after = service_view(definition, name)
        if full_name not in live.services:
            plan.actions.append(Action("create", "service", name))
            plan.deploy = True
            plan.diffs.append(make_diff(f"service {name}", None, after))
            continue
        if service_mode(live.services[full_name]["Spec"])[0] != after["deploy"].get("mode", "replicated"):
            plan.actions.append(Action("recreate", "service", name, why="swarm cannot change its mode"))
            if full_name not in plan.detached_services:
                plan.detached_services.append(full_name)
        spec = normal_spec(live.services[full_name], live.networks)
        if record is None or name not in record.definition.get("services", {}) or full_name not in record.live:
            plan.actions.append(Action("adopt", "service", name))
            plan.deploy = True
            if spec["TaskTemplate"]["ContainerSpec"]["Image"].partition("@")[0] != after["image"].partition("@")[0]:
                plan.foreign_images.append(full_name)
            plan.diffs.append(make_diff(f"service {name} (not deployed by this module)", spec, after))
            continue
        before = service_view(record.definition, name)
        changed = differences(before, after)
        drift = differences(record.live[full_name], spec)
        if "TaskTemplate.ContainerSpec.Image" in drift:
            plan.foreign_images.append(full_name)
        if changed:
            plan.actions.append(_differing("update", "service", name, changed))
        if drift:
            plan.actions.append(_differing("repair", "service", name, drift))
            # Masked while the items of a list are still beside each other.
            before = {**before, "live": pick(mask(spec, _HIDDEN), drift)}
            after = {**after, "live": pick(mask(record.live[full_name], _HIDDEN), drift)}
        if changed or drift:
            plan.deploy = True
            plan.diffs.append(make_diff(f"service {name}", before, after))
        elif full_name in plan.detached_services:
            plan.actions.append(Action("recreate", "service", name, why="what it uses is recreated"))


def _plan_restarts(definition: dict[str, Any], live: Live, redeploy: str, plan: Plan) -> None:
    if redeploy == "never":
        return
    touched = plan.services()
    for state in live.states():
        if state.name not in definition["services"] or state.full_name in plan.detached_services:
            continue
        if state.failed:
            plan.failed_before.append(state.full_name)
        if state.name in touched:
            continue
        if redeploy == "always":
            plan.actions.append(Action("restart", "service", state.name))
        elif state.failed:
            plan.actions.append(Action("restart", "service", state.name, why=why_failed(state)))
        else:
            continue
        plan.restarted.append(state.full_name)
        plan.diffs.append(
            make_diff(f"service {state.name}", {"tasks": _task_lines(state)}, {"tasks": ["started again"]})
        )


def _plan_jobs(stack: str, definition: dict[str, Any], live: Live, plan: Plan) -> None:
    """Docker updates each service that it is given, and a job runs at each update (moby/swarmkit UpdateService)."""
    touched = plan.services()
    for full_name in sorted(set(live.services) - set(plan.detached_services)):
        name = short_name(stack, full_name)
        if is_job(live.services[full_name]) and name in definition["services"]:
            plan.restarted = [other for other in plan.restarted if other != full_name]
            plan.failed_before = [other for other in plan.failed_before if other != full_name]
            if name not in touched:
                why = "docker runs each job of a stack that it deploys"
                plan.actions.append(Action("run", "service", name, "again", why))


def endless_services(definition: dict[str, Any]) -> list[str]:
    """Services that `wait_for: complete` would wait for in vain: what always restarts never ends."""
    endless = []
    for name, service in definition["services"].items():
        deploy = service["deploy"]
        condition = (deploy.get("restart_policy") or {}).get("condition", "any")
        if condition == "any" and not str(deploy.get("mode", "")).endswith("job"):
            endless.append(name)
    return sorted(endless)
