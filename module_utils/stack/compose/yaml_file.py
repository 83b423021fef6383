"""A stack file's YAML as docker reads it. PyYAML is not on every host: whoever imports this is ready for that."""

from __future__ import annotations

from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

from .values import plain_scalar

# The tag of what is not quoted.
PLAIN = "tag:yaml.org,2002:plain"
MERGE = "tag:yaml.org,2002:merge"
Pairs = list[tuple[Any, Any]]


class Refused(Exception):
    """What docker does not take, without the words of the file, and where it is."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem)
        self.problem = problem
        self.problem_mark = mark


class Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
    """Docker reads by YAML 1.2, with some of 1.1: yes and 22:22 are texts, 0o440 and 0440 are octal.

    A mapping has each key once, and keys are texts. Of what << brings in, the first counts; versions of PyYAML differ in that.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)  # type: ignore[no-untyped-call,unused-ignore]
        self._known: dict[int, Pairs] = {}

    def scan_to_next_token(self) -> None:
        """Tabs separate where docker lets them: in flow style, and behind the first token of a line."""
        while True:
            super().scan_to_next_token()  # type: ignore[no-untyped-call,unused-ignore]
            if self.peek() != "\t" or (self.allow_simple_key and not self.flow_level):
                return
            self.forward()

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        plain = kind is yaml.ScalarNode and implicit[0] and value != "<<"
        return PLAIN if plain else super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call,unused-ignore]

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        return {self._key(key): self.construct_object(item, deep=deep) for key, item in self._pairs(node)}  # type: ignore[no-untyped-call,unused-ignore]

    def _key(self, node: Any) -> Any:
        key = self.construct_object(node) if isinstance(node, yaml.ScalarNode) else None  # type: ignore[no-untyped-call,unused-ignore]
        if not isinstance(key, str):
            raise Refused("a key is no text: put it between quotes", node.start_mark)
        return key

    def _pairs(self, node: Any) -> Pairs:
        """What a mapping holds, with what is merged into it."""
        if id(node) not in self._known:
            own: dict[Any, tuple[Any, Any]] = {}
            merged: Pairs = []
            for key, item in node.value:
                name = MERGE if key.tag == MERGE else self._key(key)
                if name in own:
                    raise Refused("a mapping has the same key twice", key.start_mark)
                own[name] = (key, item)
                if name == MERGE:
                    merged = self._merged(item)
            own.pop(MERGE, None)
            others = {self._key(key): (key, item) for key, item in reversed(merged)}
            self._known[id(node)] = list({**others, **own}.values())
        return self._known[id(node)]

    def _merged(self, node: Any) -> Pairs:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for each in nodes:
            if not isinstance(each, yaml.MappingNode):
                raise Refused("<< takes a mapping or a list of mappings", each.start_mark)
        return [pair for each in nodes for pair in self._pairs(each)]


Loader.add_constructor(PLAIN, lambda _loader, node: plain_scalar(node.value))


def first_document(text: str) -> Any:
    """Docker reads no other."""
    loader = Loader(text)
    found = loader.get_data() if loader.check_data() else None  # type: ignore[no-untyped-call,unused-ignore]
    known: dict[int, tuple[int, int]] = {}
    whole, written = _size(found, known), 1 + sum(own for _whole, own in known.values())
    # Docker's limit, for files of less than 400,000 values (go-yaml, allowedAliasRatio).
    if whole > 1000 and whole > 100 * written:
        raise Refused("its anchors make more than a hundred times of what is written", None)
    return found


def _size(value: Any, known: dict[int, tuple[int, int]]) -> int:
    """How many values it has, with each alias written out. `known`: that of each mapping and list, and how many are its own."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        items = list(value.values()) if isinstance(value, dict) else value
        known[id(value)] = (1 + sum(_size(item, known) for item in items), len(items))
    return known[id(value)][0]
