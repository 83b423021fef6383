"""Filter: why packages could not be installed, in the package manager's own words, and what to do about it."""

import re
from collections.abc import Iterable
from typing import Any

from ..module_utils.masking import mask

# Who speaks at the beginning of a complaint. Lines that are indented go on with it; "N:" says what to read.
SPEAKER = re.compile(r"(?:E|W|Err|Error|Warning|dpkg|rpm|error|warning)(?::| \()")
# What apt prints on its output before it fails: what depends on what.
UNMET = "unmet dependencies"
# What a complaint shows, and what is to be done. The first that is found counts: without a network or room, everything else fails too.
CURES = {
    r"No space left|enough free space|more space (?:needed|on)": "Make room on its disk ('df -h' shows where)",
    r"Could not get lock|is locked by another|was locked by|dpkg frontend lock|Failed to obtain the \w+ lock|is held by process": (
        "Another program installs packages there: wait until it is done"
    ),
    r"signature|not signed|NO_PUBKEY|BADSIG|GPG|public key": (
        "Install the repository's right key, or take the repository out, and check the clock ('date')"
    ),
    r"connect|resolve|No route|unreachable|timed out|Connection|Failed to fetch|Failed to download|Cannot download|Curl error|No URLs": (
        "Make its mirrors reachable (network, name server, or docker_proxy)"
    ),
    r"podman|buildah": "Remove podman and buildah: docker-ce and they do not go together",
    # apt says "held broken packages" of whatever does not fit together.
    r"[Hh]eld|versionlock|exclude": (
        "Release there what is held or excluded, if anything is ('apt-mark showhold', or 'dnf versionlock list' and /etc/dnf/dnf.conf)"
    ),
}


def packages_problem(result: dict[str, Any], what: str, host: str) -> str:
    """One sentence for `result`, that of a task which failed with apt, dpkg or dnf, and could not install `what` on `host`."""
    # A proxy's address may hold a password.
    words = mask(" ".join(complaints(result))) or str(result.get("msg") or "it says nothing")
    words = re.sub(r"[. ]+$", "", re.sub(r"\s+", " ", words))
    cure = next((cure for shows, cure in CURES.items() if re.search(shows, words)), "Correct that there")
    return f"{what} could not be installed on {host}: {words}. {cure}, and run this again."


def complaints(result: dict[str, Any]) -> Iterable[str]:
    """Without what is said twice."""
    said = [*unmet(lines(result, "stdout")), *spoken(lines(result, "stderr"))]
    # dnf's module has no output.
    said = said or [
        str(result.get("msg") or ""),
        *map(str, result.get("failures") or []),
        *map(str, result.get("results") or []),
    ]
    return list(dict.fromkeys(text for text in said if text))


def lines(result: dict[str, Any], stream: str) -> list[str]:
    # What waits for a lock writes over its line again and again.
    return re.split(r"[\r\n]+", str(result.get(stream) or ""))


def spoken(said: list[str]) -> Iterable[str]:
    """The complaints in what apt, dpkg or dnf writes; all of it if there are none that look like it."""
    found, goes_on = [], False
    for line in said:
        goes_on = bool(SPEAKER.match(line)) or (goes_on and line[:1] in (" ", "\t"))
        if goes_on:
            found.append(line.strip())
    return found or [line.strip() for line in said if line.strip()]


def unmet(said: list[str]) -> Iterable[str]:
    start = next((number for number, line in enumerate(said, 1) if UNMET in line), len(said))
    for line in said[start:]:
        if not line.startswith(" "):
            return
        yield line.strip()


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"packages_problem": packages_problem}
