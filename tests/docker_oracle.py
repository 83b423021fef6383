"""What docker itself makes of stack files: its command `docker stack config` needs no engine."""

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import yaml
from ansible_collections.ddp.swarm.plugins.module_utils.stack.apply import NOT_PLAIN, as_sent
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare

Config = dict[str, Any]


@functools.cache
def command() -> str:
    """The docker command, if there is one here that knows `stack config` with the newest schema; else nothing."""
    found = shutil.which("docker")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout if found else ""
    return found if found and said and int(said.split()[2].split(".")[0]) >= 27 else ""


def config(*sources: Any, directory: Path, environment: dict[str, str]) -> tuple[Config, str]:
    """The definition as docker reads it, or its words. Paths of files, or one text."""
    texts = [source for source in sources if isinstance(source, str)]
    files = [option for source in sources for option in ("-c", "-" if source in texts else str(source))]
    done = subprocess.run(
        [command(), "stack", "config", *files],
        input="".join(texts).encode(),
        capture_output=True,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": "/home/user", **environment},
        check=False,
    )
    if done.returncode:
        return {}, done.stderr.decode().strip()
    return yaml.load(done.stdout, Printed), ""


class Printed(yaml.SafeLoader):
    """Docker quotes what YAML 1.1 or 1.2 takes for something else than a text, so that little is left to know."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for tag, form in (
    ("null", "null"),
    ("bool", "true|false"),
    ("int", "-?[0-9]+"),
    ("float", r"-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?"),
):
    Printed.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{form})$"), None)


def as_yaml(value: Any) -> str:
    """JSON that is YAML too. Variables stay."""
    text = json.dumps(value, ensure_ascii=False)
    return NOT_PLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def both(*sources: Any, directory: Path, environment: dict[str, str]) -> tuple[Config, Config]:
    """What docker reads in the files, and what it reads in that which the module makes of them."""
    theirs, said = config(*sources, directory=directory, environment=environment)
    assert not said, said
    given = [json.loads(source) if isinstance(source, str) else str(source) for source in sources]
    prepared = prepare(given, "demo", {"HOME": "/home/user", **environment})
    assert prepared.definition == json.loads(json.dumps(prepared.definition))
    ours, said = config(as_sent(prepared.definition), directory=directory, environment=environment)
    assert not said, (said, prepared.definition)
    return expected(theirs, prepared.definition), expected(ours, prepared.definition)


def expected(found: Config, definition: Config) -> Config:
    """Without what the module leaves out or adds on purpose."""
    services = {name: dict(service) for name, service in found["services"].items()}
    for service in services.values():
        service.pop("env_file", None)
        for key in [key for key in service if key.startswith("x-")]:
            del service[key]
        deploy = dict(service.pop("deploy", {}))
        if deploy.get("mode", "replicated") == "replicated":
            deploy.setdefault("replicas", 1)
        restart = service.pop("restart", "")
        if restart:
            condition, _, count = restart.partition(":")
            deploy["restart_policy"] = {
                "condition": "on-failure" if condition == "on-failure" else "any",
                **({"max_attempts": int(count)} if count and count != "0" else {}),
            }
        service["deploy"] = deploy
        if "ports" in service:
            service["ports"] = sorted(service["ports"], key=lambda port: json.dumps(port, sort_keys=True))
        for key in ("cap_add", "cap_drop", "dns", "dns_search", "extra_hosts", "ports", "volumes"):
            if key in service:
                given = service[key]
                service[key] = [item for number, item in enumerate(given) if item not in given[:number]]
        for network in (service.get("networks") or {}).values():
            if network and "aliases" in network:
                network["aliases"] = list(dict.fromkeys(network["aliases"]))
        for limit in (service.get("ulimits") or {}).values():
            if isinstance(limit, dict):
                limit.update({key: limit.get(key, 0) for key in ("soft", "hard")})
    kept: Config = {"services": services}
    for section in ("networks", "volumes", "configs", "secrets"):
        objects = found.get(section) or {}
        kept[section] = {name: dict(objects.get(name) or {}) for name in definition[section]}
        for name, item in kept[section].items():
            if section in ("configs", "secrets") and definition[section][name]["name"].startswith(f"demo_{name}_"):
                # The module's own name for a content.
                item.clear()
            for key in [key for key in item if key.startswith("x-") and key != "x-cluster-spec"]:
                del item[key]
    return kept
