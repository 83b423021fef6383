"""Filters: what a teardown of everything takes of what the role docker has installed, and what it leaves."""

import re
from typing import Any

from ..module_utils.host.packages import ENGINES
from .docker_plan import what_runs

# By the family of the distribution, what a repository of the role is made of.
REPOSITORY = {
    "debian": ("/etc/apt/sources.list.d/{}.sources", "/etc/apt/keyrings/{}.asc"),
    "redhat": ("/etc/yum.repos.d/{}.repo", "/etc/pki/rpm-gpg/{}.asc"),
}
# No name of a package, a repository or a certificate has more in it, and nothing else becomes part of a path.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def docker_removal(host: dict[str, Any], noted: list[str]) -> dict[str, Any]:
    """What can go from a host, of which `host` is what host_info says. `noted` are the paths below the role's notes.

    Returns `packages`, `repositories` and `certificates` (files), `kept`, why the engine stays, empty if it goes or is not there, and `ours`,
    whether the role has installed one there.
    """
    notes: dict[str, list[str]] = {}
    for line in noted:
        kind, _, name = line.partition("/")
        notes.setdefault(kind, []).extend([name] if NAME.fullmatch(name) else [])
    own = notes.get("packages", [])
    kept = why_kept(host, own, notes.get("before", []))
    folder = host["certificates"]["folder"].rstrip("/")
    paths = REPOSITORY.get(host["distribution"]["family"], ())
    return {
        "packages": [] if kept else [name for name in own if name in host["packages"]["installed"]],
        "repositories": [] if kept else [path.format(name) for name in notes.get("repositories", []) for path in paths],
        "certificates": [f"{folder}/{name}" for name in notes.get("certificates", [])],
        "kept": kept,
        "ours": bool(own) and not kept,
    }


def why_kept(host: dict[str, Any], own: list[str], before: list[str]) -> str:
    """As the end of a sentence. `own` are the packages that the role has installed, `before` those of an engine that were there first."""
    installed, engine = host["packages"]["installed"], host["engine"]
    if not (engine["version"] or engine["installed"]):
        return ""
    foreign = [name for name in ENGINES if name in installed and name not in own]
    if foreign or set(before) & set(ENGINES) or not set(own) & set(ENGINES) & set(installed):
        return "which this collection has not installed"
    if not engine["version"]:
        return "which does not answer, so that nobody knows what it holds"
    # Services are gone with the swarm, which check mode has not left.
    running = what_runs({"services": [], "containers": host["running"]["containers"]})
    return f"which runs {running}" if running else ""


def new_packages(installed: dict[str, str], before: list[str], known: list[str]) -> list[str]:
    """Those of an engine, `known`, that are installed and were not there `before` the role came."""
    return [name for name in known if name in installed and name not in before]


def own_images(lines: list[str], name: str, registry: str) -> list[str]:
    """Tags of images that the role has built, or has given the name `name`.

    `lines` have the tags as a JSON list and, after a tab, the label that says how the role called it. What somebody has built on such an image
    has the same label, and another name. `registry` is the address of the registry, if there is one.
    """
    found = []
    for line in lines:
        tags, _, label = line.partition("\t")
        for tag in re.findall(r'"([a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*)"', tags):
            repository = tag.rpartition(":")[0]
            if repository == name or (label and repository in (label, f"{registry}/{label}")):
                found.append(tag)
    return list(dict.fromkeys(found))


def apt_removals(said: str) -> list[str]:
    """The packages that `apt-get --simulate` would remove."""
    return re.findall(r"(?m)^(?:Remv|Purg) ([A-Za-z0-9][A-Za-z0-9.+:-]*)", said)


def what_is_left(
    removal: dict[str, Any], needed: dict[str, Any], measured: list[str], volumes: list[str], name: str, check: bool
) -> str:
    """A sentence for people.

    `needed` is what the package manager said of packages that need it, `measured` are the lines of `du` in MiB, and `volumes` the volumes of the
    engine.
    """
    said = []
    if removal["kept"]:
        said.append(f"the engine stays, {removal['kept']}")
    elif removal["packages"] and needed.get("rc", 1):
        words = " ".join([*needed.get("stderr_lines", []), *needed.get("stdout_lines", [])]).strip().rstrip(".")
        said.append(f"the engine stays, which other packages need ({words})")
    elif removal["packages"]:
        said.append(f"{', '.join(removal['packages'])} {'would be' if check else 'are'} removed")
    sizes = [line.split("\t", 1) for line in measured if re.match(r"\d+\t/", line)]
    left = [f"{path} ({size} MB)" for size, path in sizes]
    where = f"left {'would be' if check else 'are'} {', '.join(left)}" if left else "nothing is left"
    if volumes:
        where += f", with the volumes {', '.join(volumes)} (teardown_volumes=true removes those of the jobs)"
    return f"{name}: {'; '.join([*said, where])}."


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "apt_removals": apt_removals,
            "docker_removal": docker_removal,
            "new_packages": new_packages,
            "own_images": own_images,
            "what_is_left": what_is_left,
        }
