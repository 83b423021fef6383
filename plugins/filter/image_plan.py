"""Filters: which host gives the training image to which, and which images the swarm's services name."""

import re
from collections.abc import Mapping
from typing import Any

State = dict[str, Any]


def familiar(name: str) -> str:
    """An image's name as the engine itself lists it: without Docker Hub's, with a tag, or with a digest alone."""
    name = re.sub(r"^(?:index\.)?docker\.io/(?:library/)?", "", name)
    repository, _at, digest = name.partition("@")
    if digest:
        return f"{re.sub(':[^:/]*$', '', repository)}@{digest}"
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def image_plan(
    states: dict[str, State], outside: list[State], base: str, pulled: State | None = None, finished: bool = False
) -> State:
    """What image_state saw on the hosts, put together.

    `states` has the hosts of the play that could tell. `outside` are the answers of hosts outside of a limit, with the host as `item`;
    one that could not tell has no `id`. `base` is the base image, `pulled` what image_pull returned if it was asked for. `finished` says
    that nothing is built on `base`: then a host that has it is the first to have the image.

    Returns `source` (the host that has the image, be it outside, or else the first, which then `builds` it), `lacking` and `receivers`
    (the hosts of the play that have to get it, and those of them that do not build it), `held` (chain IDs of layers that every receiver
    has), `compress` (all of them know zstd), `base_digests` (names with digests by which registries have the base image) and `surplus`
    (an image is one too many on some host).
    """
    having = [host for host, state in states.items() if state["id"]]
    lacking = [host for host, state in states.items() if not state["id"]]
    holding = [host for host in lacking if finished and base in states[host]["others"]]
    having_outside = [answer["item"] for answer in outside if answer.get("id")]
    source = next(iter(having + having_outside + holding + lacking), "")
    receivers = [host for host in lacking if host != source]
    return {
        "source": source,
        "builds": not having and not having_outside,
        "lacking": lacking,
        "receivers": receivers,
        "held": held_by_all([states[host]["chains"] for host in receivers]),
        "compress": not having_outside and all(state["zstd"] for state in states.values()),
        "base_digests": base_digests([*states.values(), *outside], base, pulled or {}),
        "surplus": any(state["surplus"] for state in states.values()),
    }


def image_settled(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether host_info has seen on each of these hosts the image, under the name latest too, with nothing left over and nothing changed since."""
    for host in hosts:
        known = hostvars[host]
        seen = (known.get("docker_host_info") or {}).get("image") or {}
        if seen.get("ref") != known.get("image_ref") or known.get("docker_changed"):
            return False
        if not (seen.get("id") and seen["latest"]) or seen["surplus"] or seen["left"]:
            return False
    return True


def held_by_all(chains: list[list[str]]) -> list[str]:
    return [chain for chain in chains[0] if all(chain in other for other in chains)] if chains else []


def base_digests(answers: list[State], base: str, pulled: State) -> list[str]:
    """Names of the base image with their digests. What a host calls one is pulled by the others, so it has to be of that very image."""
    told = [answer["digests"][base] for answer in answers if base in answer.get("digests", {})]
    told += (pulled.get("image") or {}).get("digests", [])
    name = re.escape(re.sub(":[^:/]*$", "", base))
    return [digest for digest in told if re.fullmatch(f"{name}@sha256:[0-9a-f]{{64}}", digest)]


def services_images(states: dict[str, State], asked: State | None = None) -> list[str] | None:
    """The images that the swarm's services name, None if nobody could tell.

    A manager tells, and a host in no swarm, which runs none. `asked` is the answer of `docker service ls` elsewhere, if it was asked for.
    """
    told = [state["services"] for state in states.values() if state["services"] is not None]
    answer = asked or {}
    if not told and answer.get("rc", 1) != 0 and "not a swarm manager" not in answer.get("stderr", ""):
        return None
    return [image for images in told for image in images] + list(answer.get("stdout_lines", []))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "familiar_image": familiar,
            "image_plan": image_plan,
            "image_settled": image_settled,
            "services_images": services_images,
        }
