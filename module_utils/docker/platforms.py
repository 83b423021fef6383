"""Where the role docker can install an engine, and of which packages. Adding a distribution means adding it here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# What Docker's own repository has, and the engine first (https://docs.docker.com/engine/install).
DOCKERS = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin"]
# The first two get the version that is asked for; what else there is, fits it.
VERSIONED = ("docker-ce", "docker-ce-cli", "docker.io", "docker-cli", "moby-engine")


@dataclass(frozen=True)
class Platform:
    """A distribution by its ID of os-release(5)."""

    name: str
    # As VERSION_ID begins. Distributions of the family redhat count their minor releases behind a point.
    releases: tuple[str, ...]
    # Its folder in Docker's repository, of those that have one.
    folder: str
    # Its own packages of an engine, none if it has no engine.
    own: list[str] = field(default_factory=list)
    # Packages that its later releases have apart from those, by the first of these releases.
    later: dict[str, list[str]] = field(default_factory=dict)


DEBIAN = ["docker.io", "containerd", "runc"]
PLATFORMS = {
    "debian": Platform("Debian", ("12", "13"), "debian", DEBIAN, {"13": ["docker-cli"]}),
    "ubuntu": Platform("Ubuntu", ("22.04", "24.04", "26.04"), "ubuntu", DEBIAN),
    "rhel": Platform("RHEL", ("9", "10"), "rhel"),
    "centos": Platform("CentOS Stream", ("9", "10"), "centos"),
    "rocky": Platform("Rocky Linux", ("9", "10"), "centos"),
    "almalinux": Platform("AlmaLinux", ("9", "10"), "centos"),
    "fedora": Platform("Fedora", ("42", "43", "44"), "fedora", ["moby-engine", "containerd", "runc"]),
}


def release(system: dict[str, Any]) -> str:
    """As PLATFORMS count it, of what host_info says of a distribution."""
    version: str = system["version"]
    return version.split(".")[0] if system["family"] == "redhat" else version


def platform_of(system: dict[str, Any]) -> Platform | None:
    """None where the role can install nothing."""
    found = PLATFORMS.get(system["id"])
    return found if found and release(system) in found.releases else None


def engine_packages(source: str, system: dict[str, Any], version: str = "") -> list[str]:
    """Those that make an engine, the engine's own first, in the words of the package manager; none if the distribution has no engine."""
    found = PLATFORMS.get(system["id"])
    if source == "docker":
        names = DOCKERS
    elif source == "distribution" and found:
        later = [
            name for since, more in found.later.items() if int(release(system) or 0) >= int(since) for name in more
        ]
        names = [*found.own[:1], *later, *found.own[1:]]
    else:
        return []
    # Each rpm package has an epoch of its own, and dnf takes a version without it.
    mark, version = ("-", version.rpartition(":")[2]) if system["family"] == "redhat" else ("=", version)
    return [f"{name}{mark}{version}" if version and name in VERSIONED else name for name in names]


def known() -> str:
    """For people: where the role can install an engine."""
    return ", ".join(f"{system.name} {' and '.join(system.releases)}" for system in PLATFORMS.values())
