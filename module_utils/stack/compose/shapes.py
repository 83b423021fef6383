"""What shape each part of a compose definition has to have."""

from __future__ import annotations

import json
import re
from typing import Any

from ...masking import mask

Definition = dict[str, Any]
SECTIONS = ("services", "networks", "volumes", "configs", "secrets")


class ComposeError(Exception):
    """What is wrong with a definition, in words for who wrote it."""


# What the code below relies on; all else about a definition's form is for docker to say.
SERVICE_SHAPES: dict[str, tuple[type, ...]] = {
    "image": (str,),
    "environment": (dict, list),
    "labels": (dict, list),
    "env_file": (str, list),
    "networks": (dict, list),
    "ports": (list,),
    "volumes": (list,),
    "configs": (list,),
    "secrets": (list,),
    "deploy": (dict,),
    "deploy.labels": (dict, list),
    "deploy.resources": (dict,),
    "deploy.resources.reservations": (dict,),
    "deploy.restart_policy": (dict,),
    "deploy.update_config": (dict,),
}
ITEM_SHAPES: dict[str, tuple[type, ...]] = {
    "env_file": (str,),
    "networks": (str,),
    "ports": (str, int, dict),
    "volumes": (str, dict),
    "configs": (str, dict),
    "secrets": (str, dict),
}
SHAPE_NAMES: dict[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
}


def check_shapes(compose: Definition) -> None:
    """Refuse a text where a mapping or a list belongs, and the like."""
    for section in SECTIONS:
        objects = compose.get(section)
        such = " such as {NAME: {content: ...}}" if section == "secrets" else ""
        check_shape({} if objects is None else objects, (dict,), section, such)
        such = " such as {content: ...}" if section == "secrets" else ""
        for name, definition in (objects or {}).items():
            check_shape({} if definition is None else definition, (dict,), f"{section}.{name}", such)
    for name, service in (compose.get("services") or {}).items():
        for path, shapes in SERVICE_SHAPES.items():
            value: Any = service
            for key in path.split("."):
                value = (value or {}).get(key)
            if value is not None:
                check_shape(value, shapes, f"service {name}: {path}")
        for key, shapes in ITEM_SHAPES.items():
            items = (service or {}).get(key)
            for number, item in enumerate(items if isinstance(items, list) else []):
                check_shape(item, shapes, f"service {name}: {key}.{number}")
        networks = (service or {}).get("networks")
        for network, settings in networks.items() if isinstance(networks, dict) else ():
            check_shape({} if settings is None else settings, (dict,), f"service {name}: networks.{network}")


# What these hold is not shown, whatever it looks like: a password may have no name there.
UNSHOWN = re.compile(
    r"(?:secrets|configs)(?:\.|$)|.*: (?:environment|labels|secrets|deploy\.labels)(?:\.|$)", re.DOTALL
)


def check_shape(value: Any, shapes: tuple[type, ...], where: str, such: str = "", show: bool = True) -> None:
    if not isinstance(value, shapes) or (isinstance(value, bool) and bool not in shapes):
        wanted = " or ".join(dict.fromkeys(SHAPE_NAMES[shape] for shape in shapes))
        hidden = not show or UNSHOWN.match(where) or isinstance(value, (dict, list))
        raise ComposeError(f"{where} must be {wanted}{such}, and is {_kind_of(value) if hidden else _short(value)}")


def _kind_of(value: Any) -> str:
    return "empty" if value is None else SHAPE_NAMES.get(type(value), "a number")


def _short(value: Any) -> str:
    text = json.dumps(mask(value))
    return text if len(text) <= 60 else _kind_of(value)
