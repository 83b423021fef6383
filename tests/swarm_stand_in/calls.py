"""A fixed list of calls, and the shape of what docker answers: recorded from real engines, compared with the stand-in.

A shape is what must be the same on every host: exit code, which stream, keys and types of JSON, columns, and words in
which identifiers, times and numbers are replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from swarm_stand_in.store import IMAGE_LABEL, NAMESPACE

STACK = "recorded"
LABEL = f"label={NAMESPACE}={STACK}"
JSON = "{{json .}}"
NETWORKS = "{{.Spec.Name}} {{range .Spec.TaskTemplate.Networks}}{{.Target}} {{end}}"
Run = Callable[[list[str], str], tuple[int, str, str]]
Shape = dict[str, Any]

SERVICE = {"image": "shell:1", "stop_signal": "SIGKILL", "deploy": {"restart_policy": {"condition": "none"}}}
ON_MANAGER = {"restart_policy": {"condition": "none"}, "placement": {"constraints": ["node.role == manager"]}}


def compose(**changes: Any) -> str:
    service = {
        "a": {
            **SERVICE,
            "command": ["sh", "-c", "sleep 1000"],
            "environment": {"B": "1", "A": "x"},
            "networks": ["own"],
            "configs": [{"source": "text", "target": "/text"}],
            "secrets": ["key"],
            "deploy": {**ON_MANAGER, "labels": {"l": "m"}},
        },
        "b": {**SERVICE, "command": ["sh", "-c", "echo out; echo err >&2; exit 3"], "networks": ["own"]},
    }
    service["b"]["deploy"] = ON_MANAGER
    service["a"].update(changes.pop("a", {}))
    return json.dumps(
        {
            "version": "3.9",
            "services": service,
            "networks": {"own": {"driver_opts": {"com.docker.network.driver.mtu": "1400"}, "attachable": True}},
            "configs": {"text": {"external": True, "name": f"{STACK}_text"}},
            "secrets": {"key": {"external": True, "name": f"{STACK}_key"}},
            **changes,
        }
    )


DEPLOY = ["stack", "deploy", "--resolve-image", "never", "--compose-file", "-", STACK]
# Of what is not there, and of words that docker does not know.
BEFORE: list[tuple[str, str]] = [
    (f"service ls --filter {LABEL} --format", JSON),
    (f"stack ps {STACK}", ""),
    (f"stack rm {STACK}", ""),
    *[(f"{kind} {verb} nope", "") for kind in ("config", "secret", "service", "network") for verb in ("inspect", "rm")],
    ("node inspect nope", ""),
    ("inspect nope", ""),
    *[(f"inspect --type {kind} nope", "") for kind in ("task", "service", "network", "config", "nonsense")],
    ("service update --detach --force nope", ""),
    ("service scale --detach nope=2", ""),
    ("service logs nope", ""),
    ("service ls --bogus", ""),
    ("service ls -x", ""),
    ("service ls extra", ""),
    ("service ls --filter", ""),
    ("service ls --filter foo", ""),
    *[
        (f"{kind} --filter foo=bar", "")
        for kind in ("service ls", "network ls", "config ls", "secret ls", "node ls", "ps")
    ],
    ("service bogus", ""),
    ("bogus", ""),
    ("stack ps", ""),
    ("stack deploy", ""),
    ("stack rm", ""),
    (f"stack deploy {STACK}", ""),
    (f"stack deploy --bogus -c - {STACK}", ""),
    ("config create only", ""),
    ("network rm", ""),
    ("inspect", ""),
    ("--host unix:///nowhere.sock service ls", ""),
    ("--host unix:///nowhere.sock info --format", JSON),
]
CREATED: list[tuple[str, str]] = [
    (f"config create --label {NAMESPACE}={STACK} {STACK}_text -", "hello"),
    (f"config create {STACK}_text -", "again"),
    (f"config create {STACK}_empty -", ""),
    (f"secret create --label {NAMESPACE}={STACK} {STACK}_key -", "hush"),
    (f"secret create {STACK}_key -", "again"),
    ("config create in/valid -", "hello"),
]
REFUSED: list[str] = [
    compose(a={"nonsense": 1}),
    compose(a={"deploy": {"nonsense": 1}}),
    compose(a={"extends": "x"}),
    compose(a={"command": ["${"]}),
    compose(a={"environment": {"A": True}}),
    compose(nonsense={}),
    compose(networks={"own": {"external": True, "name": "recorded-nowhere"}}),
    compose(version="9"),
]
DEPLOYED: list[tuple[str, str]] = [
    (f"service ls --filter {LABEL} --format", JSON),
    (f"service ls --filter label={NAMESPACE}=record --format", JSON),
    (f"service ls --filter label={NAMESPACE}= --filter name={STACK}_ --format", JSON),
    (f"service ls --filter {LABEL}", ""),
    (f"service ls --filter {LABEL} --quiet", ""),
    (f"service ls --filter {LABEL} --format", "{{.Name}} {{.Replicas}}"),
    (f"service ls --filter {LABEL} --format", "{{.Nope}}"),
    (f"stack ps --no-trunc --format {{{{json_.}}}} {STACK}", ""),
    (f"stack ps {STACK}", ""),
    (f"stack ps --quiet {STACK}", ""),
    (f"stack ps --no-trunc -q {STACK}", ""),
    *[(f"{kind} ls --filter {LABEL} --format", JSON) for kind in ("network", "config", "secret")],
    *[(f"{kind} ls --filter {LABEL}", "") for kind in ("network", "config", "secret")],
    *[(f"{kind} ls --filter {LABEL} --quiet", "") for kind in ("network", "config", "secret")],
    (f"network ls --no-trunc --filter {LABEL} --format", JSON),
    ("node ls --format", JSON),
    ("node ls --quiet", ""),
    ("node inspect self", ""),
    ("inspect SERVICE_A SERVICE_B TASK_A TASK_B", ""),
    ("inspect SERVICE_A nope TASK_B", ""),
    ("inspect --type task TASK_B", ""),
    (f"service inspect {STACK}_a", ""),
    (f"service inspect {STACK}_a --format", NETWORKS),
    (f"service inspect {STACK}_a --format", "{{.Nope}}"),
    (f"network inspect {STACK}_own", ""),
    (f"network inspect {STACK}_own --format", "{{.ID}}"),
    (f"config inspect {STACK}_text", ""),
    (f"config inspect {STACK}_text nope", ""),
    (f"secret inspect {STACK}_key", ""),
    (f"ps --all --filter {LABEL} --filter name={STACK}_a --format", "{{.Names}}"),
    ("info --format", "{{json .Swarm}}"),
    ("service logs --raw --timestamps --tail 5 TASK_B", ""),
    ("service logs --raw --tail 5 TASK_B", ""),
    ("service logs --raw --tail 0 TASK_B", ""),
    *[(f"{kind} rm {STACK}_{name}", "") for kind, name in (("config", "text"), ("secret", "key"), ("network", "own"))],
]
UPDATED: list[tuple[str, str]] = [
    (f"service scale --detach {STACK}_a=2", ""),
    (f"service update --detach --quiet --force {STACK}_a", ""),
]
AFTERWARDS: list[tuple[str, str]] = [
    (f"inspect {STACK}_a", ""),
    (f"stack ps {STACK} --no-trunc --format", JSON),
]
# Which image docker stack keeps that somebody else gave a service, and which not.
IMAGES = "{{.Spec.TaskTemplate.ContainerSpec.Image}} {{.Spec.Labels}}"
ANOTHER_IMAGE = f"service update --detach --quiet --no-resolve-image --image shell:other {STACK}_b"
WITHOUT_LABEL = f"service update --detach --quiet --label-rm {IMAGE_LABEL} {STACK}_b"
GONE: list[tuple[str, str]] = [
    *[(f"{kind} ls --filter {LABEL} --quiet", "") for kind in ("service", "network", "config", "secret")],
    (f"stack ps {STACK}", ""),
]


def play(run: Run, settle: Callable[[str], None]) -> list[dict[str, Any]]:
    """The calls in their order. `settle` waits until the stack is `deployed`, `updated` or `gone`."""
    made: list[dict[str, Any]] = []
    places: dict[str, str] = {}

    def ask(words: list[str], stdin: str = "") -> None:
        answer = run([places.get(word, word).replace("json_.", "json .") for word in words], stdin)
        told = f"{' '.join(words)}{f' <{len(made)}' if words == DEPLOY else ''}"
        made.append({"call": told, **shape(*answer)})

    def ask_all(calls: list[tuple[str, str]], stdin: bool = False) -> None:
        for words, more in calls:
            ask([*words.split(), *([more] if more and not stdin else [])], more if stdin else "")

    ask_all(BEFORE)
    ask_all(CREATED, stdin=True)
    for definition in REFUSED:
        ask(DEPLOY, definition)
    ask(DEPLOY, compose())
    settle("deployed")
    ask(DEPLOY, compose())
    for letter in "ab":
        service = run(["service", "inspect", "--format", "{{.ID}}", f"{STACK}_{letter}"], "")[1].strip()
        rows = run(["stack", "ps", "--no-trunc", "--format", JSON, STACK], "")[1].splitlines()
        own = [json.loads(row)["ID"] for row in rows if json.loads(row)["Name"].startswith(f"{STACK}_{letter}.")]
        places[f"SERVICE_{letter.upper()}"], places[f"TASK_{letter.upper()}"] = service, own[0]
    ask_all(DEPLOYED)
    ask_all(UPDATED)
    settle("updated")
    ask_all(AFTERWARDS)
    for change in (ANOTHER_IMAGE, WITHOUT_LABEL):
        ask(change.split())
        ask(["service", "inspect", f"{STACK}_b", "--format", IMAGES])
        ask(DEPLOY, compose())
        ask(["service", "inspect", f"{STACK}_b", "--format", IMAGES])
    # What this answers depends on whether the tasks have gone before the network is asked for.
    run(["stack", "rm", STACK], "")
    settle("gone")
    run(["network", "rm", f"{STACK}_own"], "")
    ask_all(GONE)
    return made


# Shapes

# What some versions say before anything else, of what will be in later ones.
ANNOUNCED = ("Since --detach=false was not specified", "In a future release, --detach=false")

REPLACED = [
    (r"\b[0-9a-f]{64}\b", "ID64"),
    (r"\b[a-z0-9]{25}\b", "ID25"),
    # Few have no digit in them; those are known by being all that stands on a line.
    (r"\b(?=[a-z]*\d)[a-z0-9]{12}\b|^[a-z0-9]{12}$", "ID12"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\b\d+(\.\d+)*\b", "N"),
    (r"(?i)\b(less than a|about an?|N) (second|minute|hour)s? ago", "AGO"),
]


def words(line: str) -> str:
    for pattern, name in REPLACED:
        line = re.sub(pattern, name, line)
    return line.strip()


def shape(code: int, out: str, said: str) -> Shape:
    lines = [words(line) for line in said.splitlines() if line.strip() and not line.startswith(ANNOUNCED)]
    # After a complaint about the use comes docker's help, which each version words in its own way.
    return {"rc": code, "stdout": text_shape(out), "stderr": sorted(set(lines)) if code == 0 else lines[:1]}


def text_shape(out: str) -> Any:
    lines = [line for line in out.splitlines() if line.strip()]
    try:
        if out.startswith("["):
            return {"json": json_shape(json.loads(out))}
        return {"rows": json_shape([json.loads(line) for line in lines])} if lines else []
    except ValueError:
        pass
    if re.fullmatch(r"[A-Z]+( [A-Z]+)*( {2,}[A-Z]+( [A-Z]+)*)+ *", lines[0]):
        return {"columns": re.split(r" {2,}", lines[0].strip()), "rows": len(lines) - 1}
    return sorted(words(line) for line in lines)


def json_shape(value: Any) -> Any:
    """Keys and types. Of a list, what its items have together."""
    if isinstance(value, dict):
        return {key: json_shape(item) for key, item in value.items()}
    if isinstance(value, list):
        merged: Any = None
        for item in value:
            merged = _merge(merged, json_shape(item))
        return [] if merged is None else [merged]
    return "null" if value is None else type(value).__name__.replace("float", "int")


def _merge(left: Any, right: Any) -> Any:
    if isinstance(left, dict) and isinstance(right, dict):
        return {key: _merge(left.get(key), right.get(key)) for key in {**left, **right}}
    return right if left in (None, "null", []) else left


# Objects whose keys are not docker's words.
FREE = ("Labels", "Options", "Containers", "DriverOpts", "Peers")


def deviations(played: Any, real: Any, path: str) -> list[str]:
    """Where the stand-in's JSON has what docker's has not. It may say less, and nothing of what is empty."""
    if played in ("null", [], {}) or real in ("null", None) or path.rpartition(".")[2] in FREE:
        return []
    if isinstance(played, dict) and isinstance(real, dict):
        found = []
        for key, item in played.items():
            if key in real:
                found += deviations(item, real[key], f"{path}.{key}")
            elif key != "Leader":  # only the manager that leads has it
                found.append(f"{path}.{key}: docker has no such key")
        return found
    if isinstance(played, list) and isinstance(real, list) and real:
        return deviations(played[0], real[0], f"{path}[]")
    return [] if played == real else [f"{path}: {played!r} where docker has {real!r}"]


def compare(played: list[dict[str, Any]], real: list[dict[str, Any]]) -> list[str]:
    """One line for each difference of two plays."""
    if [each["call"] for each in played] != [each["call"] for each in real]:
        return ["the list of calls has changed since it was recorded: record it anew"]
    found = []
    for ours, theirs in zip(played, real, strict=True):
        told = [
            f"{key}: {ours[key]!r} where docker has {theirs[key]!r}"
            for key in ("rc", "stderr")
            if ours[key] != theirs[key]
        ]
        out, other = ours["stdout"], theirs["stdout"]
        kinds = [
            key for key in ("json", "rows") if all(isinstance(each, dict) and key in each for each in (out, other))
        ]
        if ours["call"].startswith("ps ") and not (out and other):
            continue  # containers are seen on their host alone, and the recorder asks on one
        if ours["call"] == "node ls --quiet":
            out, other = set(out), set(other)  # each recorded swarm has another number of nodes
        if not kinds or "columns" in out:
            told += [f"stdout: {out!r} where docker has {other!r}"] if out != other else []
        elif bool(out[kinds[0]]) != bool(other[kinds[0]]):
            told.append("stdout: only one of them has found something")
        else:
            told += deviations(out[kinds[0]], other[kinds[0]], "stdout")
            if kinds == ["rows"] and " ls" in ours["call"] or " ps" in ours["call"]:
                # A row has all its keys; whoever reads one that is missing here would not notice.
                missing = sorted(set(other["rows"][0]) - set(out["rows"][0]))
                told += [f"stdout: the stand-in's row lacks {', '.join(missing)}"] if missing else []
        found += [f"docker {ours['call']}: {text}" for text in told]
    return found
