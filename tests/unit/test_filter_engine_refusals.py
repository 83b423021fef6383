"""What is refused of an engine's settings before anything is changed."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.engine_refusals import FilterModule, engine_refusals, restart_refusals

GPUS = {"gpus": [], "driver": "", "cards": 0, "error": "", "obstacle": ""}
ASKED: dict[str, Any] = {
    "settings": {}, "replace": False, "firewall": "auto", "closed_ports": [], "gpu": "auto", "gpus": [], "gpu_packages": [], "cuda": "", "proxy": {}, "direct": [],
    "packages_dir": "", "packages": [], "disturb": False,
}  # fmt: skip


def host(value: Any = None, gpus: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "engine": {"version": "26.1.5", "installed": "26.1.5", "root": "/var/lib/docker"},
        "settings": {"value": {} if value is None else value, "error": "", "unread": False, "before_gpus": None},
        "firewall": {"name": "ufw"},
        "distribution": {"id": "debian", "family": "debian", "version": "13"},
        "proxy": {},
        "volumes": [],
        "running": {"services": [], "containers": ["web"]},
        "gpus": {**GPUS, **(gpus or {})},
        **more,
    }


def said(found: dict[str, Any], **asked: Any) -> list[str]:
    return engine_refusals(found, "host1", {**ASKED, **asked})


def restarts(found: dict[str, Any], **asked: Any) -> list[str]:
    return restart_refusals(found, "host1", {**ASKED, **asked})


def test_nothing_is_refused_where_nothing_is_wrong() -> None:
    assert said(host(), settings={"debug": True}) == []
    assert restarts(host()) == []


def test_what_an_engine_cannot_read() -> None:
    (sentence,) = said(host(["http://u:S3CR3T@proxy:3128"]))
    assert "/etc/docker/daemon.json on host1 is not a JSON mapping" in sentence
    assert "S3CR3T" not in sentence
    broken = host()
    broken["settings"].update(value=None, error="Expecting value")
    assert "(Expecting value)" in said(broken)[0]
    assert said(broken, replace=True) == []


def test_live_restore() -> None:
    assert "live-restore is on in /etc/docker/daemon.json on host1" in said(host(), settings={"live-restore": True})[0]


def test_volumes_are_left_behind_only_where_there_are_some() -> None:
    asked = {"settings": {"data-root": "/srv/docker"}}
    assert said(host(), **asked) == []
    (sentence,) = said(host(volumes=list("abcdefg")), **asked)
    assert sentence.startswith("host1 has 7 volume(s) in /var/lib/docker (a, b, c, d, e, ...), and /srv/docker as")


@pytest.mark.parametrize(("firewall", "refused"), [("auto", True), ("Auto", True), (True, False), (False, False)])
def test_closed_ports(firewall: Any, refused: bool) -> None:
    told = said(host(), closed_ports=["7946/tcp", "4789/udp"], firewall=firewall)
    assert [sentence.split(",")[0] for sentence in told] == (["ufw on host1 lets in no 7946/tcp"] if refused else [])


def test_a_folder_without_packages() -> None:
    assert said(host(), packages_dir="/srv/debs") == [], "an engine that is there needs none"
    (sentence,) = said(host(), packages_dir="/srv/debs", lacks=True)
    assert sentence.startswith("docker_packages_dir is /srv/debs for host1, and no .deb file is in that folder")
    assert said(host(), packages_dir="/srv/debs", packages=["a.deb"], lacks=True) == []


BROKEN = {"cards": 1, "error": "it fails", "obstacle": "nouveau holds it"}


def test_gpus_that_cannot_be_used() -> None:
    assert said(host(gpus=BROKEN)) == [], "they are not demanded"
    (sentence,) = said(host(), gpu=True)
    assert sentence.startswith("host1 shall offer GPUs (docker_gpu is true), but it has no NVIDIA card.")
    merged = host(gpus=BROKEN)
    merged["settings"]["before_gpus"] = {}
    (sentence,) = said(merged)
    assert sentence.startswith(
        "host1 offers GPUs to swarm, but nvidia-smi there fails: it fails, since nouveau holds it."
    )
    assert said(merged, gpu="false") == []
    merged["gpus"] = GPUS
    assert said(merged) == [], "they are gone for good"
    assert "it has 2 NVIDIA card(s) without a driver" in said(host(gpus={"cards": 2}), gpu="true")[0]


def test_gpus_that_are_named_and_not_there() -> None:
    (sentence,) = said(host(gpus={"gpus": ["GPU-1"]}), gpus=["GPU-2"])
    assert sentence.startswith("docker_gpu_uuids names GPU-2, which host1 has not. It has GPU-1 (")
    assert said(host(gpus={"gpus": ["GPU-1"]}), gpus=["GPU-1"]) == []
    assert "It has none (" in said(host(), gpus=["GPU-2"])[0]


def test_a_driver_that_is_too_old() -> None:
    found = host(gpus={"gpus": ["GPU-1"], "driver": "535.104"})
    (sentence,) = said(found, gpus=["GPU-1"], cuda="13.0")
    assert sentence.startswith(
        "host1 has the NVIDIA driver 535.104, and the image's CUDA 13.0 needs 580 or newer: update"
    )
    assert said(found, cuda="13.0") == [], "none is offered"


def test_a_toolkit_that_does_not_listen_to_swarm() -> None:
    found = host(gpus={"gpus": ["GPU-1"], "toolkit": "1.18.1"})
    assert said(found, gpus=["GPU-1"])[0].startswith("host1 has NVIDIA Container Toolkit CLI version 1.18.1, which")
    assert said(found, gpus=["GPU-1"], gpu_packages=["toolkit.deb"]) == []


def test_a_restart_that_would_stop_what_runs() -> None:
    (sentence,) = restarts(host({"mtu": 1}), settings={"mtu": 2, "log-level": "warn"})
    assert sentence == (
        "The engine on host1 runs the containers web and was not restarted, as it would have to be for log-level and mtu in "
        "/etc/docker/daemon.json: nothing was changed. Wait until they are done and run this again, or say "
        "docker_restart_during_training=true."
    )
    assert restarts(host(), settings={"log-level": "warn"}, disturb=True) == []
    assert restarts(host(running={"services": [], "containers": []}), settings={"log-level": "warn"}) == []
    assert "for docker_proxy:" in restarts(host(), proxy={"http": "http://proxy:3128"})[0]
    assert "docker_proxy" in restarts(host(proxy={"/etc/ddp-swarm/proxy.env": "digest"}))[0]
    assert "for /etc/docker/daemon.json, which is written anew:" in restarts(host(["x"]), replace=True)[0]


def test_settings_that_are_read_anew_stop_nothing() -> None:
    assert restarts(host(), settings={"debug": True}) == []
    old = host()
    old["engine"]["installed"] = "20.10.24"
    assert "for debug in" in restarts(old, settings={"debug": True})[0]
    old["engine"]["installed"] = "unknown"
    assert restarts(old, settings={"debug": True}) == []


def test_settings_that_the_engine_has_not_read_yet() -> None:
    found = host()
    found["settings"]["unread"] = True
    (sentence,) = restarts(found)
    assert sentence.startswith(
        "/etc/docker/daemon.json on host1 is newer than its engine, which runs the containers web and was not restarted."
    )


def test_names() -> None:
    assert set(FilterModule().filters()) == {"engine_refusals", "restart_refusals"}
