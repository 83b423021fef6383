"""Filters: why an engine cannot have the settings that are asked for, decided of what host_info says and before anything is changed.

`asked` has `settings` (what daemon.json is to say), `replace` (docker_daemon_replace), `firewall` (docker_firewall), `closed_ports`, `gpu`
(docker_gpu), `gpus` (those to offer), `gpu_packages`, `cuda` (docker_gpu_cuda), `proxy`, `direct` (networks that are reached without it), `packages_dir`,
`packages` (the files there), `lacks` (an engine is to be installed) and `disturb` (docker_restart_during_training).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from ..module_utils.cuda import driver_problem
from ..module_utils.host.engine import numbers
from ..module_utils.host.proxy import ENVIRONMENT
from ..module_utils.masking import mask
from .docker_plan import what_runs
from .docker_settings import differing, left_behind, settings_step, swarm_problems
from .gpu_seen import gpu_seen
from .proxy import proxy_files_of

Host = dict[str, Any]
Asked = dict[str, Any]
# Since then an engine can check settings that it is to read without a restart (dockerd --validate).
CHECKS_SINCE = 23


def engine_refusals(host: Host, name: str, asked: Asked) -> list[str]:
    """A sentence each, of the host that is called `name`."""
    return [
        *packages(host, name, asked),
        *ports(host, name, asked),
        *settings(host, name, asked),
        *gpus(host, name, asked),
    ]


def packages(host: Host, name: str, asked: Asked) -> Iterator[str]:
    if asked.get("lacks") and asked["packages_dir"] and not asked["packages"]:
        suffix = "rpm" if host["distribution"]["family"] == "redhat" else "deb"
        yield (
            f"docker_packages_dir is {asked['packages_dir']} for {name}, and no .{suffix} file is in that folder on this machine: "
            "docs/offline.md says how to fill it."
        )


def ports(host: Host, name: str, asked: Asked) -> Iterator[str]:
    if asked["closed_ports"] and str(asked["firewall"]).lower() == "auto":
        yield (
            f"{host['firewall']['name']} on {name} lets in no {', '.join(asked['closed_ports'])}, which the swarm's other hosts need: open them "
            "there, or say docker_firewall=true and the role does. With docker_firewall=false it takes no notice."
        )


def settings(host: Host, name: str, asked: Asked) -> Iterator[str]:
    found, wanted = host["settings"]["value"], asked["settings"]
    if not isinstance(found, dict) and not asked["replace"]:
        yield (
            f"/etc/docker/daemon.json on {name} is not a JSON mapping ({host['settings']['error'] or json.dumps(mask(found))}), and an engine "
            "does not start with it. Correct it there, or say docker_daemon_replace=true: it is written anew from docker_daemon_options then, "
            "and the old file kept beside it."
        )
        return
    yield from swarm_problems(wanted, name)
    # Swarm's place and the images come anew there; snapshots do not.
    volumes = host["volumes"] if left_behind(host, wanted) else []
    if volumes:
        yield (
            f"{name} has {len(volumes)} volume(s) in {host['engine']['root']} ({', '.join(volumes[:5])}{', ...' if len(volumes) > 5 else ''}), "
            f"and {wanted.get('data-root') or '/var/lib/docker'} as the engine's data-root would leave them behind. Stop the engine, move the "
            "directory there yourself (systemctl stop docker docker.socket; mv), write data-root into /etc/docker/daemon.json, start it, and "
            "run this again. Or remove the volumes, or take data-root out."
        )


def gpus(host: Host, name: str, asked: Asked) -> Iterator[str]:
    wanted, offered, seen = str(asked["gpu"]).lower(), asked["gpus"], host.get("gpus") or {}
    has = seen.get("gpus") or []
    # Of a driver that fails for a while, swarm is not told that its GPUs are gone.
    fails = host["settings"]["before_gpus"] is not None and bool(seen.get("error") or seen.get("cards"))
    if wanted == "true" and not has or wanted == "auto" and not has and fails:
        offers = "shall offer GPUs (docker_gpu is true)" if wanted == "true" else "offers GPUs to swarm"
        yield f"{name} {offers}, but {gpu_seen(seen, host['distribution'])}. Correct that, or say docker_gpu=false."
        return
    if missing := [uuid for uuid in offered if uuid not in has]:
        yield (
            f"docker_gpu_uuids names {', '.join(missing)}, which {name} has not. It has {', '.join(has) or 'none'} (nvidia-smi -L)."
        )
    elif offered and (problem := driver_problem(str(seen.get("driver") or ""), asked["cuda"])):
        yield (
            f"{name} has the NVIDIA driver {seen['driver']}, and the image's CUDA {asked['cuda']} {problem}: update the driver there, or choose "
            "an older CUDA with image_cuda."
        )
    # Given packages may replace it.
    if offered and str(seen.get("toolkit") or "").startswith("1.18.") and not asked["gpu_packages"]:
        yield (
            f"{name} has NVIDIA Container Toolkit CLI version {seen['toolkit']}, which takes no notice of the GPUs that swarm gives a task "
            "(NVIDIA/nvidia-container-toolkit#1599, mended in 1.19): upgrade nvidia-container-toolkit there."
        )


def restart_refusals(host: Host, name: str, asked: Asked) -> list[str]:
    """A sentence, where a restart of the engine would stop what runs on it."""
    things = what_runs(host["running"])
    if not things or asked["disturb"]:
        return []
    wait = "Wait until they are done and run this again, or say docker_restart_during_training=true."
    if host["settings"]["unread"]:
        return [
            f"/etc/docker/daemon.json on {name} is newer than its engine, which runs {things} and was not restarted. {wait}"
        ]
    if why := restart_reason(host, asked):
        return [
            f"The engine on {name} runs {things} and was not restarted, as it would have to be for {why}: nothing was changed. {wait}"
        ]
    return []


def restart_reason(host: Host, asked: Asked) -> str:
    """What an engine would have to be restarted for, of what it is to be told; empty if it would not."""
    found, wanted = host["settings"]["value"], asked["settings"]
    environment = proxy_files_of(host, asked["proxy"], asked["direct"]).get(ENVIRONMENT)
    if environment is not None and hashlib.sha256(environment.encode()).hexdigest() != host["proxy"].get(ENVIRONMENT):
        return "docker_proxy"
    program = numbers(host["engine"]["installed"])
    step = settings_step(found, wanted)
    if step == "restart" or (step and program and program < (CHECKS_SINCE,)):
        if not isinstance(found, dict):
            return "/etc/docker/daemon.json, which is written anew"
        return f"{' and '.join(sorted(differing(found, wanted)))} in /etc/docker/daemon.json"
    return ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"engine_refusals": engine_refusals, "restart_refusals": restart_refusals}
