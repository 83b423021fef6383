"""What docker makes of two definitions of one service: key, first, second, and what they are together.

test_stack_definition holds the module against it, test_stack_as_docker the docker command.
"""

from typing import Any


def volume(source: str, target: str, **keys: Any) -> dict[str, Any]:
    kind = "bind" if source.startswith("/") else "volume"
    return {"type": kind, **({"source": source} if source else {}), "target": target, **keys}


def port(published: int, target: int, **keys: Any) -> dict[str, Any]:
    return {
        "mode": "ingress",
        "target": target,
        **({"published": published} if published else {}),
        "protocol": "tcp",
        **keys,
    }


LOG = {"driver": "json-file", "options": {"a": "1"}}
ROWS: list[tuple[str, Any, Any, Any]] = [
    # Mounts are one by their target, and come out in its order.
    ("volumes", ["/x"], ["va:/x:ro"], [volume("va", "/x", read_only=True)]),
    ("volumes", ["va:/x:ro"], ["/x"], [volume("", "/x")]),
    ("volumes", ["/y", "/x"], ["/z"], [volume("", "/x"), volume("", "/y"), volume("", "/z")]),
    ("volumes", ["/y", "/x"], None, [volume("", "/x"), volume("", "/y")]),
    ("volumes", None, ["/y", "/x"], [volume("", "/y"), volume("", "/x")]),
    ("volumes", ["/h:/x"], [{"type": "volume", "source": "vb", "target": "/x"}], [volume("vb", "/x")]),
    ("volumes", ["va:/x"], ["/h:/x:rslave"], [volume("/h", "/x", bind={"propagation": "rslave"})]),
    # Configs and secrets by their source, whole.
    ("configs", ["ca", {"source": "cb", "mode": 256}], [{"source": "cb", "target": "/b"}],
     [{"source": "ca"}, {"source": "cb", "target": "/b"}]),
    ("secrets", [{"source": "cb", "target": "/b"}, "ca"], ["cb"], [{"source": "ca"}, {"source": "cb"}]),
    # Ports by what is published.
    ("ports", ["80:80", "81:81"], ["80:8080"], [port(80, 8080), port(81, 81)]),
    ("ports", ["81:81"], [{"target": 80, "published": 80}], [{"target": 80, "published": 80}, port(81, 81)]),
    ("ports", ["53:53/udp"], ["53:53"], [port(53, 53)]),
    ("ports", ["80", "81"], ["82"], [port(0, 82)]),
    ("ports", ["8000-8001:80"], [8001], [port(0, 8001), port(8000, 80), port(8001, 80)]),
    # Programs are replaced, the test of a health check grows.
    ("entrypoint", ["a", "b"], ["a"], ["a"]),
    ("command", "text 'of two'", ["list"], ["list"]),
    ("command", ["list"], "text 'of two'", ["text", "of two"]),
    ("command", ["list"], "", ["list"]),
    ("healthcheck", {"test": ["CMD", "a"], "retries": 1}, {"test": "b"},
     {"test": ["CMD", "a", "CMD-SHELL", "b"], "retries": 1}),
    ("healthcheck", {"retries": 3, "interval": "90s"}, {"retries": 0, "interval": "0s", "timeout": "0s"},
     {"retries": 0, "interval": "1m30s", "timeout": "0s"}),
    ("healthcheck", {"disable": True}, {"disable": False}, {"disable": True}),
    # Mappings and lists of the same thing.
    ("labels", ["a=1", "b=1"], {"b": 2, "c": None}, {"a": "1", "b": "2", "c": ""}),
    ("labels", {"a": 1}, ["a=", "b"], {"a": "", "b": ""}),
    ("sysctls", ["a=1"], ["b=1", "c"], {"a": "1", "b": "1", "c": ""}),
    ("environment", {"A": "1"}, ["B=x=y"], {"A": "1", "B": "x=y"}),
    # An empty value, or none, replaces only what is empty itself.
    ("environment", {"A": "1", "B": "1", "C": "", "D": None}, {"A": "", "B": None, "C": None, "D": ""},
     {"A": "1", "B": "1", "C": None, "D": ""}),
    ("extra_hosts", {"b": "10.0.0.1", "a": "10.0.0.2"}, ["c=10.0.0.3", "d:[::1]"],
     ["a:10.0.0.2", "b:10.0.0.1", "c:10.0.0.3", "d:::1"]),
    ("dns", "10.0.0.1", ["10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
    ("dns_search", ["a"], "a", ["a"]),
    ("cap_add", ["SYS_ADMIN"], ["SYS_ADMIN", "SYS_TIME"], ["SYS_ADMIN", "SYS_TIME"]),
    # Networks by name; aliases are replaced, options stay.
    ("networks", ["na"], {"nb": {"aliases": ["x"]}}, {"na": None, "nb": {"aliases": ["x"]}}),
    ("networks", {"na": {"aliases": ["x"], "driver_opts": {"a": 1}}}, {"na": {"driver_opts": {"b": 1}}},
     {"na": {"driver_opts": {"a": "1"}}}),
    ("networks", {"na": {"aliases": ["x"]}}, ["na"], {"na": {"aliases": ["x"]}}),
    ("networks", {"na": None}, {"na": {}}, {"na": {}}),
    # Logging by its driver. Options are lost where there were none.
    ("logging", LOG, {"options": {"b": 2}}, {"driver": "json-file", "options": {"a": "1", "b": "2"}}),
    ("logging", LOG, {"driver": "syslog"}, {"driver": "syslog"}),
    ("logging", {"driver": "json-file"}, LOG, {"driver": "json-file"}),
    ("logging", {"options": {"a": 2}}, LOG, LOG),
    ("ulimits", {"nofile": 1024, "nproc": 1}, {"nofile": {"soft": 1, "hard": 2}},
     {"nofile": {"soft": 1, "hard": 2}, "nproc": 1}),
    # What is false, empty or zero replaces nothing, but where zero says something.
    ("read_only", True, False, True),
    ("init", True, False, True),
    ("init", None, False, False),
    ("hostname", "a", "", "a"),
    ("image", "a", "b", "b"),
    ("stop_grace_period", "10s", "0s", "10s"),
    ("deploy", {"replicas": 3, "mode": "replicated"}, {"replicas": 0}, {"replicas": 0, "mode": "replicated"}),
    ("deploy", {"labels": ["a=1", "b=1"]}, {"labels": {"b": "2"}}, {"labels": {"a": "1", "b": "2"}}),
    ("deploy", {"placement": {"constraints": ["node.role==manager"]}},
     {"placement": {"constraints": ["node.role==manager"], "max_replicas_per_node": 2}},
     {"placement": {"constraints": ["node.role==manager"] * 2, "max_replicas_per_node": 2}}),
    ("deploy", {"resources": {"limits": {"cpus": "1", "memory": "1G"}}}, {"resources": {"limits": {"memory": "2g"}}},
     {"resources": {"limits": {"cpus": "1", "memory": "2147483648"}}}),
    ("deploy", {"update_config": {"delay": "5s", "parallelism": 2}}, {"update_config": {"delay": "0s", "parallelism": 0}},
     {"update_config": {"delay": "5s", "parallelism": 0}}),
    ("deploy", {"restart_policy": {"condition": "any", "delay": "5s"}}, {"restart_policy": {"delay": "0s", "window": "1h"}},
     {"restart_policy": {"condition": "any", "delay": "5s", "window": "1h0m0s"}}),
    ("deploy", {"restart_policy": {}}, None, {"restart_policy": {}}),
    ("credential_spec", {"file": "a"}, {"registry": "b"}, {"file": "a", "registry": "b"}),
    ("user", "a", None, "a"),
]  # fmt: skip
# What stands in one section twice is what the second says.
OBJECTS: list[tuple[str, Any, Any, Any]] = [
    ("networks", {"labels": ["a=1"], "driver": "overlay"}, {"labels": {"b": 1}}, {"labels": {"b": "1"}}),
    ("networks", {"external": True}, {}, {}),
    ("networks", {}, {"external": True, "name": "other"}, {"external": True, "name": "other"}),
    ("networks", {"name": "a"}, {"external": {"name": "b"}}, {"external": True, "name": "b"}),
    ("volumes", {"driver": "local", "driver_opts": {"size": 1}}, {"name": "x"}, {"name": "x"}),
    ("volumes", {"driver": "local"}, None, {}),
]


def pair(key: str, base: Any, extra: Any) -> list[dict[str, Any]]:
    """The two definitions, with all that they may use."""
    used = {
        "networks": {"na": {}, "nb": {}},
        "volumes": {"va": {}, "vb": {}},
        **{kind: {name: {"external": True} for name in ("ca", "cb")} for kind in ("configs", "secrets")},
    }
    return [
        {"services": {"s": {"image": "i", **({} if value is None else {key: value})}}, **used}
        for value in (base, extra)
    ]


def object_pair(section: str, base: Any, extra: Any) -> list[dict[str, Any]]:
    key = {"networks": ["o"], "volumes": ["o:/o"]}[section]
    key = [{"type": "volume", "source": "o", "target": "/o"}] if section == "volumes" else key
    return [{"services": {"s": {"image": "i", section: key}}, section: {"o": value}} for value in (base, extra)]
