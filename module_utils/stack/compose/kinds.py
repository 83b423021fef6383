"""The kinds of fields of a compose definition: how docker reads each, merges two, and what of it goes without saying.

They stand for the types of docker/cli's cli/compose/types. Of a pointer there, nothing is not the same as zero (replicas: 0). Merging is
what cli/compose/loader/merge.go and dario.cat/mergo make of two values, also where that surprises: zero does not replace anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import values
from .shapes import ComposeError
from .shapes import check_shape as check_raw_shape


def check_shape(value: Any, types: tuple[type, ...], where: str) -> None:
    """What is read has its variables replaced, by what nobody should see."""
    check_raw_shape(value, types, where, show=False)


class Kind:
    """Anything, as it is."""

    def read(self, value: Any, where: str) -> Any:
        """The value in its one form. Raises ComposeError where docker would not take it."""
        return value

    def merge(self, base: Any, extra: Any) -> Any:
        """Two values that were read; `extra` is None where the second definition says nothing."""
        return base if extra is None else extra

    def finish(self, value: Any) -> Any:
        """The value without what goes without saying, None if nothing is left."""
        return value


@dataclass(frozen=True)
class Scalar(Kind):
    """One value; of `zero` only a pointer says anything."""

    types: tuple[type, ...]
    zero: Any
    pointer: bool = False
    convert: Callable[[Any], Any] | None = None
    zero_replaces: bool = False

    def read(self, value: Any, where: str) -> Any:
        check_shape(value, self.types, where)
        try:
            return self.convert(value) if self.convert else value
        except (ValueError, OverflowError) as error:
            raise ComposeError(f"{where} {error}") from error

    def merge(self, base: Any, extra: Any) -> Any:
        return base if extra is None or (extra == self.zero and not self.zero_replaces) else extra

    def finish(self, value: Any) -> Any:
        return None if value == self.zero and not self.pointer else value


def _whole(value: Any) -> int:
    if value != int(value):
        raise ValueError("must be a whole number")
    return int(value)


def _count(value: Any) -> int:
    return _not_negative(_whole(value))


def _rounded_down(value: Any) -> int:
    return _not_negative(int(value))


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError("must not be negative")
    return value


TEXT = Scalar((str,), "")
SWITCH = Scalar((bool,), False)
SWITCH_POINTER = Scalar((bool,), False, pointer=True)
WHOLE = Scalar((int, float), 0, convert=_whole)
COUNT = Scalar((int, float), 0, convert=_count)
COUNT_POINTER = Scalar((int, float), 0, pointer=True, convert=_count, zero_replaces=True)
# What the schema calls a number, and the type has as an integer, loses its fraction.
ROUNDED = Scalar((int, float), 0, convert=int)
ROUNDED_POINTER = Scalar((int, float), 0, pointer=True, convert=_rounded_down, zero_replaces=True)
RATIO = Scalar((int, float), 0)
DURATION = Scalar((str,), "0s", convert=values.duration)
DURATION_POINTER = Scalar((str,), "0s", pointer=True, convert=values.duration)
BYTES = Scalar((str, int), "0", convert=lambda value: str(values.size(str(value))))


@dataclass(frozen=True)
class Texts(Kind):
    """A list that grows. One text may stand for a list of one."""

    single: bool = False
    unique: bool = True
    replaced: bool = False
    from_text: Callable[[str], list[str]] | None = None

    def read(self, value: Any, where: str) -> Any:
        split = self.from_text or ((lambda text: [text]) if self.single else None)
        check_shape(value, (str, list) if split else (list,), where)
        if isinstance(value, str) and split:
            try:
                return split(value)
            except ValueError as error:
                raise ComposeError(f"{where} {error}") from error
        for number, item in enumerate(value):
            check_shape(item, (str,), f"{where}.{number}")
        return list(value)

    def merge(self, base: Any, extra: Any) -> Any:
        if self.replaced:
            return extra or base
        return [*base, *(extra or [])]

    def finish(self, value: Any) -> Any:
        # Docker takes no list in which an item stands twice, and makes such lists where it merges.
        return (list(dict.fromkeys(value)) if self.unique else value) or None


class Hosts(Texts):
    """extra_hosts: HOST:IP."""

    def read(self, value: Any, where: str) -> Any:
        check_shape(value, (dict, list), where)
        if isinstance(value, dict):
            lines = sorted(f"{host}:{values.text_of(ip)}" for host, ip in value.items() if ip is not None)
        else:
            for number, item in enumerate(value):
                check_shape(item, (str,), f"{where}.{number}")
            pairs = [item.partition("=" if "=" in item else ":") for item in value]
            lines = [f"{host}:{ip}" for host, sign, ip in pairs if sign]
        return [re.sub(r"^([^:]*:)\[(.+)\]$", r"\1\2", line, flags=re.DOTALL) for line in lines]


@dataclass(frozen=True)
class Mapping(Kind):
    """NAME: VALUE, or a list of NAME=VALUE. What has no value is `nothing`."""

    nothing: Any = ""
    lists: bool = True

    def read(self, value: Any, where: str) -> Any:
        check_shape(value, (dict, list) if self.lists else (dict,), where)
        if isinstance(value, dict):
            pairs = [(str(name), item) for name, item in value.items()]
        else:
            for number, item in enumerate(value):
                check_shape(item, (str,), f"{where}.{number}")
            pairs = [(name, text if sign else None) for name, sign, text in (item.partition("=") for item in value)]
        for name, item in pairs:
            if isinstance(item, (dict, list)):
                check_shape(item, (str, int), f"{where}.{name}")
        return {name: self.nothing if item is None else values.text_of(item) for name, item in pairs}

    def merge(self, base: Any, extra: Any) -> Any:
        return {**base, **(extra or {})}

    def finish(self, value: Any) -> Any:
        return value or None


class Environment(Mapping):
    def merge(self, base: Any, extra: Any) -> Any:
        """An empty value does not replace one that is not."""
        return {**base, **{name: item for name, item in (extra or {}).items() if item or not base.get(name)}}


@dataclass(frozen=True)
class Struct(Kind):
    """A mapping with fields of their own kinds. Other keys stay as they are, and are for docker to judge."""

    fields: dict[str, Kind] = field(default_factory=dict)
    pointer: bool = False

    def read(self, value: Any, where: str) -> Any:
        check_shape(value, (dict,), where)
        found = {}
        for key, item in value.items():
            if item is not None and (key in self.fields or not str(key).startswith("x-")):
                colon = "." if ": " in where or "." in where else ": "
                found[str(key)] = self.fields.get(key, Kind()).read(item, f"{where}{colon}{key}")
        return found

    def merge(self, base: Any, extra: Any) -> Any:
        merged = {**(extra or {}), **base}
        for key, item in base.items():
            merged[key] = self.fields.get(key, Kind()).merge(item, (extra or {}).get(key))
        return merged

    def finish(self, value: Any) -> Any:
        finished = {key: self.fields.get(key, Kind()).finish(item) for key, item in value.items()}
        kept = {key: item for key, item in finished.items() if item is not None}
        return kept if kept or self.pointer else None


class Logging(Struct):
    def merge(self, base: Any, extra: Any) -> Any:
        if extra is None:
            return base
        drivers = (base.get("driver") or "", extra.get("driver") or "")
        if all(drivers) and drivers[0] != drivers[1]:
            return extra
        merged = {**base, "driver": drivers[0] or drivers[1]}
        if base.get("options") is not None:
            # Where there were none, docker loses those that come.
            merged["options"] = {**base["options"], **(extra.get("options") or {})}
        return merged


class NetworkUse(Struct):
    """How a service uses a network. None is a use, too."""

    def read(self, value: Any, where: str) -> Any:
        return None if value is None else super().read(value, where)

    def merge(self, base: Any, extra: Any) -> Any:
        if base is None or extra is None:
            return extra if base is None else base
        # Its driver_opts stay as they were.
        addresses = {key: extra[key] for key in ("ipv4_address", "ipv6_address") if extra.get(key)}
        return {**base, "aliases": extra.get("aliases") or [], **addresses}

    def finish(self, value: Any) -> Any:
        return None if value is None else super().finish(value) or {}


class Ulimit(Kind):
    def read(self, value: Any, where: str) -> Any:
        check_shape(value, (int, float, dict), where)
        if isinstance(value, dict):
            return {key: WHOLE.read(value.get(key), f"{where}.{key}") for key in ("soft", "hard")}
        return WHOLE.read(value, where) or {"soft": 0, "hard": 0}


@dataclass(frozen=True)
class Named(Kind):
    """A mapping of names to values of one kind."""

    item: Kind
    names_alone: bool = False

    def read(self, value: Any, where: str) -> Any:
        check_shape(value, (dict, list) if self.names_alone else (dict,), where)
        if isinstance(value, list):
            for number, name in enumerate(value):
                check_shape(name, (str,), f"{where}.{number}")
            return dict.fromkeys(value)
        return {str(name): self.item.read(item, f"{where}.{name}") for name, item in value.items()}

    def merge(self, base: Any, extra: Any) -> Any:
        merged = dict(base)
        for name, item in (extra or {}).items():
            merged[name] = self.item.merge(base[name], item) if name in base else item
        return merged

    def finish(self, value: Any) -> Any:
        return {name: self.item.finish(item) for name, item in value.items()} or None


@dataclass(frozen=True)
class Entries(Kind):
    """A list of mappings. With `key`, two lists are one in which each value of that key stands once, in its order."""

    item: Struct
    key: str = ""
    default: Any = ""
    expand: Callable[[Any], list[Any]] | None = None
    types: tuple[type, ...] = (dict,)
    order: tuple[str, ...] = ()
    unique: bool = False

    def read(self, value: Any, where: str) -> Any:
        check_shape(value, (list,), where)
        found = []
        for number, item in enumerate(value):
            place = f"{where}.{number}"
            check_shape(item, self.types, place)
            try:
                entries = [item] if isinstance(item, dict) or not self.expand else self.expand(item)
            except ValueError as error:
                raise ComposeError(f"{place} {error}") from error
            found += [self.item.read(entry, place) for entry in entries]
        return found

    def merge(self, base: Any, extra: Any) -> Any:
        if not self.key:
            return [*base, *(extra or [])]
        by_key = {entry.get(self.key, self.default): entry for entry in [*base, *(extra or [])]}
        return [by_key[key] for key in sorted(by_key)]

    def finish(self, value: Any) -> Any:
        entries = [self.item.finish(entry) or {} for entry in value]
        if self.unique:
            entries = list({json.dumps(entry, sort_keys=True): entry for entry in entries}.values())
        if self.order:
            entries.sort(key=lambda entry: [str(entry.get(key, "")).zfill(5) for key in self.order])
        return entries or None
