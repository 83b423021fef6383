"""The stack as it was deployed: its image, and what starts the same job again."""

from __future__ import annotations

import re
import shlex
from typing import Any

import yaml

from ..names import LAUNCHED, rank_of
from .read import Reader, shown

SIZE = 512 << 10
# Options of torchrun that the template writes by itself, of which these have a variable.
OWN = ("--nnodes", "--node_rank", "--master_addr", "--nproc_per_node", "--master_port", "--rdzv_conf")
# Variables of the environment that have a variable of their own, or are the template's.
ENVIRONMENT = {
    "DDP_BACKEND": "training_backend",
    "DDP_TIMEOUT": "training_collective_timeout",
    "NCCL_DEBUG": "training_nccl_debug",
}
SWITCHES = {"NCCL_IB_DISABLE": "training_nccl_ib", "NCCL_P2P_DISABLE": "training_nccl_p2p"}
TEMPLATES = {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TORCHELASTIC_ENABLE_FILE_TIMER", *SWITCHES}


class PlainLoader(yaml.SafeLoader):
    """Without aliases, by which a small text becomes a huge structure."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases")
        return super().compose_node(parent, index)


def read_stack(reader: Reader, name: str = "stack.yml") -> dict[str, Any]:
    """`text` is the file as it is, `services` by rank what is known of each; empty where there is no such file."""
    text = reader.text(name, SIZE)
    if not text:
        return {}
    try:
        loaded = yaml.load(text, PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        reader.note(f"{name} is no stack file: {shown(error, 120)}.")
        loaded = None
    services = loaded.get("services") if isinstance(loaded, dict) else None
    found: dict[int, dict[str, Any]] = {}
    for key, service in services.items() if isinstance(services, dict) else ():
        rank = rank_of(str(key))
        if rank is not None and isinstance(service, dict):
            found[rank] = service
    images = sorted({shown(service.get("image", ""), 300) for service in found.values()} - {""})
    return {
        "text": text,
        "services": found,
        "images": images,
        "tag": images[0].rpartition(":")[2] if len(images) == 1 and ":" in images[0].rpartition("/")[2] else "",
        "commands": {rank: shlex.join(started(words(service))[1]) for rank, service in sorted(found.items())[:64]},
    }


def words(service: dict[str, Any]) -> list[str]:
    command = service.get("command")
    if isinstance(command, str):
        return [shown(command, 4000)]
    return [shown(word, 2000) for word in command[:200]] if isinstance(command, list) else []


def started(command: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options of the launcher, none where there is none, and the command that it starts."""
    if command[:2] != LAUNCHED or "--" not in command:
        return {}, command
    at = command.index("--")
    options = (option.removeprefix("--").partition("=")[::2] for option in command[2:at])
    return dict(options), command[at + 1 :]


def settings(stack: dict[str, Any], name: str) -> dict[str, Any]:
    """Variables with which site.yml deploys such a job, as far as the stack tells."""
    services = stack.get("services") or {}
    if not services:
        return {}
    service = services[min(services)]
    found: dict[str, Any] = {"training_stack": name}
    launcher, command = started(words(service))
    if launcher.get("snapshots"):
        found["training_snapshots"] = launcher["snapshots"]
    if command[:1] == ["torchrun"]:
        at = command.index("--") if "--" in command else len(command)
        options = dict(option.partition("=")[::2] for option in command[1:at])
        found["training_script"] = command[at + 1] if len(command) > at + 1 else ""
        found["training_args"] = command[at + 2 :]
        found["training_nproc_per_node"] = plain(options.get("--nproc_per_node", "1"))
        if options.get("--master_port"):
            found["training_master_port"] = plain(options["--master_port"])
        rendezvous = re.fullmatch(r"timeout=([0-9]{1,6})", options.get("--rdzv_conf", ""))
        if rendezvous:
            found["training_rendezvous_timeout"] = int(rendezvous[1])
        others = [option for option in command[1:at] if option.partition("=")[0] not in OWN]
        if others:
            found["training_torchrun_args"] = others
    elif command:
        found["training_command"] = command
    given = service.get("environment")
    environment = {str(key): item for key, item in given.items()} if isinstance(given, dict) else {}
    for key, variable in ENVIRONMENT.items():
        if isinstance(environment.get(key), str):
            found[variable] = plain(shown(environment[key], 60))
    for key, variable in SWITCHES.items():
        if environment.get(key) in ("0", "1"):
            found[variable] = environment[key] == "0"
    own = {k: shown(v, 500) for k, v in environment.items() if k not in ENVIRONMENT and k not in TEMPLATES}
    if own:
        found["training_env"] = own
    attempts = inner(service, "deploy", "restart_policy").get("max_attempts")
    if isinstance(attempts, int):
        found["training_max_restarts"] = attempts
    limits = inner(service, "deploy", "resources", "limits")
    found |= {f"training_{key}": shown(limits[key], 40) for key in ("cpus", "memory") if limits.get(key)}
    mounts = service.get("volumes")
    kept = (
        [m for m in mounts if isinstance(m, dict) and m.get("target") != "/dev/shm"] if isinstance(mounts, list) else []
    )
    if kept:
        found["training_mounts"] = kept[:32]
    return found


def inner(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        found = value.get(key)
        value = found if isinstance(found, dict) else {}
    return value


def plain(text: str) -> Any:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text


def reproduce(stack: dict[str, Any], name: str) -> dict[str, str]:
    """`variables`, a file of them as YAML, and `commands`, which use it; empty where the stack is not known."""
    found = settings(stack, name)
    if not found:
        return {}
    file = f"{name}.yml"
    play = "ansible-playbook -i inventory"
    return {
        "file": file,
        "variables": yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100),
        "commands": "\n".join(
            f"{play} {playbook} -e @{shlex.quote(file)}{more}"
            for playbook, more in (
                ("site.yml", " -e training_wait_for=complete"),
                ("playbooks/collect.yml", ""),
                ("playbooks/report.yml", ""),
            )
        ),
    }
