"""Which words docker knows, and what it says of those that it does not know."""

from __future__ import annotations

import re
from dataclasses import dataclass

from swarm_stand_in.template import NotPlayed

# Names of flags; `!` after one that takes a value. `a|b` is one flag with a shorthand.
LISTING = "filter|f! format! quiet|q"
SERVICE_UPDATE = (
    "detach|d quiet|q force no-resolve-image with-registry-auth replicas! image! args! "
    "env-add! env-rm! label-add! label-rm! constraint-add! constraint-rm!"
)
PLAYED: dict[str, tuple[str, str]] = {
    "config create": ("CONFIG file|-", "label|l! template-driver!"),
    "config inspect": ("CONFIG [CONFIG...]", "format|f! pretty"),
    "config ls": ("", LISTING),
    "config rm": ("CONFIG [CONFIG...]", ""),
    "info": ("", "format|f!"),
    "inspect": ("NAME|ID [NAME|ID...]", "format|f! size|s type!"),
    "network create": ("NETWORK", "driver|d! label! opt|o! attachable scope! internal"),
    "network inspect": ("NETWORK [NETWORK...]", "format|f! verbose|v"),
    "network ls": ("", f"{LISTING} no-trunc"),
    "container rm": ("CONTAINER [CONTAINER...]", "force|f link|l volumes|v"),
    "network rm": ("NETWORK [NETWORK...]", "force|f"),
    "node inspect": ("self|NODE [NODE...]", "format|f! pretty"),
    "node ls": ("", LISTING),
    "node ps": ("[NODE...]", f"{LISTING} no-resolve no-trunc"),
    "ps": ("", f"{LISTING} no-trunc all|a last|n! latest|l size|s"),
    "secret create": ("SECRET [file|-]", "label|l! template-driver! driver|d!"),
    "secret inspect": ("SECRET [SECRET...]", "format|f! pretty"),
    "secret ls": ("", LISTING),
    "secret rm": ("SECRET [SECRET...]", ""),
    "service inspect": ("SERVICE [SERVICE...]", "format|f! pretty"),
    "service logs": (
        "SERVICE|TASK",
        "details follow|f no-resolve no-task-ids no-trunc raw since! tail|n! timestamps|t",
    ),
    "service ls": ("", LISTING),
    "service rm": ("SERVICE [SERVICE...]", ""),
    "service scale": ("SERVICE=REPLICAS [SERVICE=REPLICAS...]", "detach|d"),
    "service update": ("SERVICE", SERVICE_UPDATE),
    "stack config": ("", "compose-file|c!"),
    "stack deploy": ("STACK", "compose-file|c! detach|d prune quiet|q resolve-image! with-registry-auth"),
    "stack ls": ("", "format!"),
    "stack ps": ("STACK", f"{LISTING} no-resolve no-trunc"),
    "stack rm": ("STACK [STACK...]", "detach|d"),
    "version": ("", "format|f!"),
}
# Known to docker, not to the stand-in: no test may take a made-up answer for docker's.
UNPLAYED = """attach build builder buildx checkpoint commit compose container context cp create diff events exec export
    history image images import kill load login logout logs manifest pause plugin port pull push rename restart rmi run
    save search start stats stop swarm system tag top trust unpause update volume wait""".split()  # noqa: SIM905
GLOBAL = "config! context|c! debug|D host|H! log-level|l! tls tlscacert! tlscert! tlskey! tlsverify version|v"
# Not in every version of the command line.
SINCE = {("stack deploy", "detach"): (26,), ("stack deploy", "quiet"): (26,), ("stack rm", "detach"): (26,)}


class Refused(Exception):
    """What docker says on standard error before it asks an engine, and its exit code."""

    def __init__(self, said: str, code: int) -> None:
        super().__init__(said)
        self.code = code


@dataclass
class Parsed:
    command: str
    flags: dict[str, list[str]]
    operands: list[str]
    connection: dict[str, list[str]]

    def has(self, name: str) -> bool:
        return self.flags.get(name, ["false"])[-1] == "true"

    def one(self, name: str, default: str = "") -> str:
        return self.flags.get(name, [default])[-1]


def parse(argv: list[str], version: tuple[int, ...]) -> Parsed:
    connection, rest = _read_flags(argv, GLOBAL, "docker", version, stop_at_operand=True)
    if not rest:
        raise Refused("\nUsage:  docker [OPTIONS] COMMAND", 1)
    groups = {name.split()[0] for name in PLAYED if " " in name}
    command = rest[0]
    if command in groups:
        if len(rest) == 1:
            raise NotPlayed(f"docker {command} alone prints its help")
        command = " ".join(rest[:2])
    if command not in PLAYED:
        if rest[0] in UNPLAYED or " " in command and rest[1] in ("create", "update", "rollback", "demote", "promote"):
            raise NotPlayed(f"the stand-in does not play docker {command}")
        raise Refused(_unknown_command(command, version), 1)
    if command == "stack config" and version < (23,):
        _read_flags(rest[1:], "", "docker stack", version)
    usage, known = PLAYED[command]
    flags, operands = _read_flags(rest[len(command.split()) :], known, f"docker {command}", version)
    _count_operands(f"docker {command}", usage, operands, version)
    return Parsed(command, flags, operands, connection)


def _read_flags(
    words: list[str], known: str, command: str, version: tuple[int, ...], stop_at_operand: bool = False
) -> tuple[dict[str, list[str]], list[str]]:
    names, shorthands, valued = {}, {}, set()
    for each in known.split():
        name, _bar, short = each.rstrip("!").partition("|")
        since = SINCE.get((command.removeprefix("docker "), name), (0,))
        if version >= since:
            names[name] = f"-{short}, --{name}" if short else f"--{name}"
            shorthands[short] = name
            valued |= {name} if each.endswith("!") else set()
    found: dict[str, list[str]] = {}
    operands: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return found, operands + rest
        if word == "-" or not word.startswith("-"):
            operands.append(word)
            if stop_at_operand:
                return found, operands + rest
            continue
        name, sign, value = word.partition("=")
        if word.startswith("--"):
            name = name[2:]
            if name not in names:
                raise Refused(_usage(f"unknown flag: --{name}", command, version), 125)
        else:
            name, sign, value = _shorthand(word, shorthands, valued, command, version)
        if name in valued:
            if not sign:
                if not rest:
                    shown = f"--{name}" if word.startswith("--") else f"'{word[1]}' in {word}"
                    raise Refused(_usage(f"flag needs an argument: {shown}", command, version), 125)
                value = rest.pop(0)
            _check_value(name, names[name], value, command, version)
        else:
            value = _boolean(names[name], value if sign else "true", command, version)
        found.setdefault(name, []).append(value)
    return found, operands


def _shorthand(
    word: str, shorthands: dict[str, str], valued: set[str], command: str, version: tuple[int, ...]
) -> tuple[str, str, str]:
    letter = word[1]
    if letter not in shorthands:
        raise Refused(_usage(f"unknown shorthand flag: '{letter}' in {word}", command, version), 125)
    name = shorthands[letter]
    if len(word) > 2 and name not in valued:
        raise NotPlayed(f"the stand-in does not take several shorthand flags at once: {word}")
    return name, "=" if len(word) > 2 else "", word[2:].removeprefix("=")


def _check_value(name: str, shown: str, value: str, command: str, version: tuple[int, ...]) -> None:
    if name == "filter" and value and "=" not in value:
        said = f'invalid argument "{value}" for "{shown}" flag: '
        said += "bad format of filter (expected name=value)" if version >= (20, 10) else "bad format of filter"
        raise Refused(_usage(said, command, version), 125)


def _boolean(shown: str, value: str, command: str, version: tuple[int, ...]) -> str:
    if value in ("1", "t", "T", "TRUE", "true", "True"):
        return "true"
    if value in ("0", "f", "F", "FALSE", "false", "False"):
        return "false"
    said = f'invalid argument "{value}" for "{shown}" flag: strconv.ParseBool: parsing "{value}": invalid syntax'
    raise Refused(_usage(said, command, version), 125)


def _usage(said: str, command: str, version: tuple[int, ...]) -> str:
    if version < (28,):
        return f"{said}\nSee '{command} --help'."
    return f"{said}\n\nUsage:  {command} [OPTIONS]\n\nRun '{command} --help' for more information"


def _unknown_command(command: str, version: tuple[int, ...]) -> str:
    if version >= (28,):
        return f"docker: unknown command: docker {command}\n\nRun 'docker --help' for more information"
    if " " in command:
        return f"\nUsage:  docker {command.split()[0]} COMMAND"
    return f"docker: '{command}' is not a docker command.\nSee 'docker --help'"


def _count_operands(command: str, usage: str, operands: list[str], version: tuple[int, ...]) -> None:
    names = re.findall(r"\S+", re.sub(r"\[.*\]", "", usage))
    least, most = len(names), 1000 if "..." in usage else len(names) + usage.count("[")
    if least <= len(operands) <= most:
        return
    if not usage:
        old, new = "accepts no arguments", "accepts no arguments"
    else:
        noun = "argument" if least == 1 else "arguments"
        if most > least:
            old = new = f"requires at least {least} {noun}"
        else:
            old, new = f"requires exactly {least} {noun}", f"requires {least} {noun}"
    said = f"docker: '{command}' {new}" if version >= (28,) else f"\"{command}\" {old}.\nSee '{command} --help'."
    raise Refused(f"{said}\n\nUsage:  {command} {usage}", 1)
