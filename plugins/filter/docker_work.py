"""Filter: what the role docker has to do on a host. Most runs find nothing, and no task that would look for it runs."""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from .docker_plan import certificates_are_there
from .proxy import proxy_is_there


def docker_work(host: dict[str, Any], plan: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Words for what is not as `asked`, in the order in which it is done. `host` is what host_info says, `plan` what docker_plan decides.

    `asked` has `certificates`, `proxy`, `direct` (networks that are reached without it), `hold`, `closed_ports`, `settings` (what daemon.json is
    to say), `users`, `gpu` (docker_gpu) and `gpus` (those to offer).
    """
    return [word for word, is_needed in NEEDS.items() if is_needed(host, plan, asked)]


def hold_differs(host: dict[str, Any], plan: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Somebody else may hold it, which auto leaves as it is."""
    name, wanted = plan["package"], str(asked["hold"]).lower()
    if wanted == "auto" or name not in host["packages"]["installed"]:
        return False
    return bool(boolean(wanted) != (name in host["packages"]["held"]))


def settings_differ(host: dict[str, Any], plan: dict[str, Any], asked: dict[str, Any]) -> bool:
    settings = host["settings"]
    return bool(settings["value"] != asked["settings"] or settings["unread"])


def gpus_are_concerned(host: dict[str, Any], plan: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Where there is a card, or a trace of one in the settings, or one is demanded."""
    wanted, seen = str(asked["gpu"]).lower(), host.get("gpus") or {}
    if host["settings"]["before_gpus"] is not None or wanted == "true":
        return True
    return wanted != "false" and bool(asked["gpus"] or seen.get("gpus") or seen.get("cards") or seen.get("error"))


def service_is_down(host: dict[str, Any], plan: dict[str, Any], asked: dict[str, Any]) -> bool:
    return not (host["service"]["runs"] and host["service"]["enabled"])


NEEDS: dict[str, Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], bool]] = {
    "certificates": lambda host, plan, asked: not certificates_are_there(host, asked["certificates"]),
    "proxy": lambda host, plan, asked: not proxy_is_there(host, asked["proxy"], asked["direct"]),
    "packages": lambda host, plan, asked: bool(plan["lacks"]),
    "hold": hold_differs,
    "ports": lambda host, plan, asked: bool(asked["closed_ports"]),
    "settings": settings_differ,
    "GPUs": gpus_are_concerned,
    "service": service_is_down,
    "users": lambda host, plan, asked: not set(asked["users"]) <= set(host["docker_group"]),
}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"docker_work": docker_work}
