"""The states of swarm_stack: present, stopped, resumed and absent."""

from __future__ import annotations

import os
import re
from typing import Any

from ..docker.cli import DockerCli
from ..docker.module import DockerModule
from ..masking import secrets_of
from ..reporting import tell
from .action import told
from .apply import check_definition, execute, former_contents, missing_externals, prune_contents
from .compose.canonical import NAME_LIMIT, prepare
from .compose.load import is_path
from .compose.shapes import ComposeError
from .diff import make_diff, shown_definition
from .explain import summary
from .live import Live, read_live
from .others import spare_others
from .plan import content_diffs, endless_services, make_plan
from .record import RECORD_SUFFIX, read_record
from .remove import remove_stack
from .stop import resume_stack, stop_stack
from .wait import StackFailure, Waiter


class StackModule(DockerModule):  # type: ignore[misc,unused-ignore]
    # The option compose may hold secrets that are in a file, and not known yet.
    logs = False

    def secrets_in(self, params: dict[str, Any]) -> set[str]:
        # Of all options: the definition may have been given to one that does not exist.
        found: set[str] = secrets_of([*params.values(), {"secrets": params.get("secrets")}])
        return found

    def shown_params(self) -> Any:
        shown = super().shown_params()
        if "compose" in shown:
            sources = self.params["compose"] if isinstance(self.params["compose"], list) else [self.params["compose"]]
            masked = shown["compose"] if isinstance(self.params["compose"], list) else [shown["compose"]]
            shown["compose"] = [
                "(a text, not shown)" if isinstance(source, str) and not is_path(source) else item
                for source, item in zip(sources, masked)
            ]
        return shown


def present(module: Any, docker: DockerCli, result: dict[str, Any]) -> None:
    params = module.params
    stack: str = params["name"]
    compose = params["compose"] if isinstance(params["compose"], list) else [params["compose"]]
    prepared = prepare(compose, stack, os.environ, params["strict"], module.check_mode, module.keep_secret)
    for warning in prepared.warnings:
        module.warn(warning)
    definition = prepared.definition
    if params["wait_for"] == "complete" and endless_services(definition):
        raise ComposeError(
            f"wait_for complete would never end: {', '.join(endless_services(definition))} would be restarted after "
            "finishing; set deploy.restart_policy.condition to none or on-failure"
        )
    live = read_live(docker, stack)
    record = read_record(docker, stack, prepared.directory)
    plan = make_plan(stack, definition, live, record, params["prune"], params["redeploy"])
    result.update(definition=shown_definition(definition), **describe(live))
    spare_others(docker, stack, plan, live)
    if plan.detached_services:
        check_definition(docker, prepared)
    result.update(told(plan.actions))
    if module._diff:
        result["diff"] = plan.diffs + content_diffs(docker, prepared, record)
    if plan.deploy:
        missing = missing_externals(docker, stack, prepared, live, params["random_secrets"])
        if missing and not module.check_mode:
            result["changed"] = False
            raise StackFailure(f"Stack {stack} cannot be deployed: {'; '.join(missing)}")
        for text in missing:
            module.warn(text)
    if module.check_mode:
        return
    # An update that ended before we came is not news, unless nothing is done about it.
    old_updates = {str((service.get("UpdateStatus") or {}).get("StartedAt", "")) for service in live.services.values()}
    if plan.actions:
        warned = execute(docker, stack, prepared, plan, live, params)
        if warned:
            module.warn(warned)
        live = read_live(docker, stack, networks=False)
        result.update(describe(live))
    else:
        old_updates = set()
    if params["wait_for"] != "none":
        file = params["progress"]
        teller = (lambda text: tell(file, module.clean(text))) if file else None
        waiter = Waiter(docker, stack, list(definition["services"]), params, teller)
        try:
            live = waiter.until_reached(live, old_updates - {""}, settled=not plan.actions)
        except StackFailure:
            result.update(describe(read_live(docker, stack, networks=False)))
            raise
        result.update(describe(live), unready=waiter.unready(live.states()))
    for state in live.states():
        if state.mode.startswith("global") and not state.wanted:
            fulfils = f" and fulfils {' and '.join(state.constraints)}" if state.constraints else ""
            module.warn(f"service {state.name} is global, and no node is up{fulfils}")
    if params["prune"] and (plan.deploy or former_contents(live, watched=False)):
        prune_contents(docker, stack, definition, live)


def describe(live: Live) -> dict[str, Any]:
    state = summary(live)
    return {
        "state": state,
        "running": state["running"],
        "services": [service.as_result() for service in live.states()],
        "tasks": [task.as_result() for task in live.tasks],
    }


def absent(module: Any, docker: DockerCli, result: dict[str, Any]) -> None:
    params = module.params
    actions, warnings = remove_stack(docker, params["name"], params["wait_timeout"], module.check_mode)
    result.update(told(actions))
    for warning in warnings:
        module.warn(warning)
    if module.check_mode and actions:
        result.update(describe(read_live(docker, params["name"])))
    if module._diff and actions:
        before = {"parts": [action.what for action in actions]}
        result["diff"] = [make_diff(f"stack {params['name']}", before, None)]


def stopped(module: Any, docker: DockerCli, result: dict[str, Any]) -> None:
    params = module.params
    actions, warnings = stop_stack(docker, params["name"], params["wait_timeout"], module.check_mode)
    result.update(actions=actions, changed=bool(actions))
    for warning in warnings:
        module.warn(warning)


def resumed(module: Any, docker: DockerCli, result: dict[str, Any]) -> None:
    actions = resume_stack(docker, module.params["name"], module.check_mode)
    result.update(actions=actions, changed=bool(actions))


def check_parameters(module: Any) -> None:
    params = module.params
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]*", params["name"]):
        module.fail_json(msg=f"name: {params['name']!r} is not a name for a stack: letters, digits, _ and - only")
    limit = NAME_LIMIT - len(RECORD_SUFFIX)
    if len(params["name"]) > limit:
        module.fail_json(msg=f"name: {params['name']} is longer than {limit} characters")
    for option in ("wait_timeout", "stability_period", "log_lines"):
        if params[option] < 0:
            module.fail_json(msg=f"{option} must not be negative")
    if (params["ready_within"] or 0) < 0:
        module.fail_json(msg="ready_within must not be negative")
    if params["ready_pattern"]:
        try:
            re.compile(params["ready_pattern"])
        except re.error as error:
            module.fail_json(msg=f"ready_pattern is not a regular expression: {error}")
