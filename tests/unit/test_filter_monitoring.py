"""What the monitoring stack consists of, and where it is reached."""

import json
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.monitoring import (
    LONGEST,
    PARTS,
    FilterModule,
    left_out,
    local_image,
    monitoring_addresses,
    monitoring_archives,
    monitoring_images,
    monitoring_refusals,
    monitoring_services,
    monitoring_way,
    slug,
)

CONTAINER, OTHER = "a" * 64, "b" * 64
SETTINGS: dict[str, Any] = {
    "monitoring_parts": list(PARTS),
    "monitoring_host": "host1",
    "monitoring_image_archives": {},
    "monitoring_retention": "15d",
    "monitoring_retention_size": "5GB",
    "monitoring_interval": "15",
    "monitoring_grafana_password": "",
}


def node(host: str, status: str = "ready", gpus: int = 0) -> dict[str, Any]:
    return {"labels": {"ddp_host": host}, "status": status, "resources": {"NVIDIA-GPU": gpus} if gpus else {}}


def job(name: str = "job", **changes: Any) -> dict[str, Any]:
    mounts = [
        {"type": "volume", "source": f"{name}_data", "target": "/data"},
        {"type": "volume", "source": f"{name}_snapshots", "target": "/snapshots"},
    ]
    ranks = [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}]
    return {"name": name, "image": "image:1", "launched": True, "mounts": mounts, "ranks": ranks, **changes}


def services(*jobs: dict[str, Any], nodes: Any = (), parts: Any = tuple(PARTS)) -> list[dict[str, Any]]:
    return monitoring_services(
        parts, "host1", ["host1", "host2"], nodes or [node("host1"), node("host2")], jobs, "/snapshots"
    )


def test_each_part_where_it_belongs() -> None:
    found = services(nodes=[node("host1", gpus=1), node("host2"), node("stranger", gpus=1)])
    assert [(one["name"], one["host"]) for one in found] == [
        ("prometheus", "host1"),
        ("node-exporter-host1", "host1"),
        ("node-exporter-host2", "host2"),
        ("cadvisor-host1", "host1"),
        ("cadvisor-host2", "host2"),
        ("dcgm-exporter-host1", "host1"),
        ("grafana", "host1"),
    ]


def test_a_host_that_is_not_ready_is_left_out() -> None:
    found = services(
        job(), nodes=[node("host1"), node("host2", "down")], parts=["prometheus", "node_exporter", "ranks"]
    )
    assert [one["name"] for one in found] == ["prometheus", "node-exporter-host1", "rank-job-0"]


def test_a_rank_beside_its_results() -> None:
    found = services(job(), parts=["ranks"])
    assert found[1] == {
        "part": "ranks",
        "name": "rank-job-1",
        "host": "host2",
        "port": 9410,
        "job": "job",
        "node_rank": 1,
        "hosts": 2,
        "image": "image:1",
        "mount": {"type": "volume", "source": "job_snapshots"},
    }


@pytest.mark.parametrize("change", [{"launched": False}, {"mounts": []}, {"ranks": [{"rank": 0, "host": ""}]}])
def test_of_a_job_without_launcher_or_results_nothing_is_exported(change: dict[str, Any]) -> None:
    jobs = [job(), job("other", **change)]
    found = services(*jobs, parts=["ranks"])
    assert {one["job"] for one in found} == {"job"}
    assert left_out(jobs, found) == ["other"]


def test_names_of_services_are_short_and_never_the_same() -> None:
    assert slug("host1") == "host1"
    names = ["Host1", "host.1", "host_1", "host-1", "a" * 52, "a" * 51 + "b", "a" * 252, "::1", "-", "_"]
    made = [slug(name) for name in names]
    assert len(set(made)) == len(names)
    # docker/swarmkit: at most 63 characters, with the stack's name before.
    assert all(len(name) <= LONGEST and name.strip("-") == name for name in made)
    assert len(f"ddp-monitoring_dcgm-exporter-{'x' * LONGEST}") <= 63


def test_images_and_archives() -> None:
    images, archives = {"prometheus": "prom:1", "grafana": "graf:1"}, {"prometheus": "p.tar"}
    local = local_image("prom:1", "prometheus")
    assert monitoring_images(images, archives) == {"prometheus": local, "grafana": "graf:1"}
    assert local_image("prom:2", "prometheus") != local
    found = services(parts=["prometheus", "grafana"])
    assert monitoring_archives(found, "host1", images, archives) == [
        {"name": "prom:1", "archive": "p.tar", "tag": local}
    ]
    assert monitoring_archives(found, "host2", images, archives) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "parts",
            ["prometheus", "loki"],
            "monitoring_parts names loki: its entries are among prometheus, node_exporter",
        ),
        ("parts", ["grafana"], "monitoring_parts lacks prometheus"),
        ("host", "elsewhere", "monitoring_host is elsewhere, which is no host of the group swarm: host1, host2."),
        ("retention", "ever", "monitoring_retention is ever: it is a number with h, d, w or y behind it, such as 15d."),
        ("retention_size", "5", "monitoring_retention_size is 5: it is a number with MB, GB or TB behind it"),
        ("interval", 1, "monitoring_interval is 1: it is a number of seconds from 5 to 300."),
        ("image_archives", {"ranks": "x"}, "monitoring_image_archives names ranks: its keys are among prometheus"),
        ("grafana_password", "short", "monitoring_grafana_password has less than 8 characters."),
    ],
)
def test_what_cannot_be_meant(name: str, value: Any, said: str) -> None:
    assert monitoring_refusals(SETTINGS, ["host1", "host2"]) == []
    (sentence,) = monitoring_refusals({**SETTINGS, f"monitoring_{name}": value}, ["host1", "host2"])
    assert sentence.startswith(said)


def test_the_address_that_only_the_host_reaches() -> None:
    bridge = json.dumps(
        {
            CONTAINER: {"Name": "gateway_1", "IPv4Address": "172.18.0.5/16"},
            "ingress-sbox": {"IPv4Address": "172.18.0.2/16"},
        }
    )
    found = monitoring_addresses({"prometheus": CONTAINER + "\n", "grafana": OTHER}, bridge)
    assert found == {"prometheus": {"address": "172.18.0.5", "port": 9090}}
    tunnel = "ssh -N -L 127.0.0.1:9090:172.18.0.5:9090 -p 2222 me@host"
    assert monitoring_way(["ssh", "-p", "2222", "me@host"], found) == tunnel
    assert monitoring_way([], found) == "http://172.18.0.5:9090/"


@pytest.mark.parametrize(
    "bridge", ["", "{", "[]", "null", f'{{"{CONTAINER}": 1}}', f'{{"{CONTAINER}": {{"IPv4Address": "$(reboot)"}}}}']
)
def test_an_answer_that_is_none(bridge: str) -> None:
    assert monitoring_addresses({"prometheus": CONTAINER}, bridge) == {}


def test_the_filters_have_their_names() -> None:
    assert all(name.startswith("monitoring_") for name in FilterModule().filters())
