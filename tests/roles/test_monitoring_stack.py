"""The monitoring stack, as Ansible itself renders it. Nothing is deployed: that is tests/monitoring."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.load import load
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.refusals import refusals
from by_path import ROOT
from plays import HERE, of_role, play

ROLE = ROOT / "roles/monitoring"
NODES = [
    {"id": "a", "labels": {"ddp_host": "host1"}, "status": "ready", "resources": {}},
    {"id": "b", "labels": {"ddp_host": "Host_2"}, "status": "ready", "resources": {"NVIDIA-GPU": 2}},
    {"id": "c", "labels": {"ddp_host": "host3"}, "status": "down", "resources": {}},
]
JOBS = [
    {
        "name": "simple-training",
        "image": "my-ddp-trainer:0123456789ab",
        "launched": True,
        "mounts": [{"type": "volume", "source": "simple-training_snapshots", "target": "/snapshots"}],
        "ranks": [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "Host_2"}, {"rank": 2, "host": "host3"}],
    },
    {
        "name": "other",
        "image": "other:1",
        "launched": True,
        "mounts": [{"type": "bind", "source": "/srv/$results", "target": "/snapshots"}],
        "ranks": [{"rank": 0, "host": "host1"}],
    },
    {"name": "plain", "image": "plain:1", "launched": False, "mounts": [], "ranks": [{"rank": 0, "host": "host1"}]},
]


def rendered_as(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stack, and its files by their names."""
    tasks = [
        *of_role("monitoring", "stack/validate"),
        {
            "ansible.builtin.copy": {
                "content": "{{ {'stack': _monitoring_definition | from_yaml, 'compose': _monitoring_compose} | to_json }}",
                "dest": "{{ playbook_dir }}/rendered.json",
                "mode": "0644",
            },
            "run_once": True,
        },
    ]
    lead = {"item": "host1", "swarm": {"quorum": True}, "nodes": NODES}
    groups = {"managers": {"hosts": {"host1": HERE}}, "workers": {"hosts": {"Host_2": HERE, "host3": HERE}}}
    with TemporaryDirectory() as place:
        done = play(
            Path(place),
            tasks,
            {"swarm": {"children": groups}},
            _monitoring_asked={"results": [lead]},
            _monitoring_jobs={"jobs": JOBS},
            role_path=str(ROLE),
            **options,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads((Path(place) / "rendered.json").read_text())
    return found["stack"], {
        name: part for entry in found["compose"][1:] for name, part in entry.get("configs", {}).items()
    }


@cache
def whole() -> tuple[dict[str, Any], dict[str, Any]]:
    return rendered_as({})


def test_what_runs_where() -> None:
    stack, _files = whole()
    places = {name: service["deploy"]["placement"]["constraints"] for name, service in stack["services"].items()}
    second = next(name for name in places if name.startswith("node-exporter-host-2-")).removeprefix("node-exporter-")
    on = {
        "host1": ["prometheus", "grafana", "node-exporter-host1", "cadvisor-host1", "rank-simple-training-0", "rank-other-0"],
        "Host_2": [f"node-exporter-{second}", f"cadvisor-{second}", f"dcgm-exporter-{second}", "rank-simple-training-1"],
    }  # fmt: skip
    assert places == {name: [f"node.labels.ddp_host == {host}"] for host, names in on.items() for name in names}


def test_the_stack_is_one_that_swarm_stack_takes() -> None:
    stack, files = whole()
    parts, _directory = load([stack, {"configs": files}])
    assert [refusals(part) for part in parts] == [[], []]
    prepared = prepare([stack, {"configs": files}], "ddp-monitoring", {})
    assert len(prepared.contents) == len(files)
    # What the files hold is not interpolated, what the stack holds is.
    (mount,) = prepared.definition["services"]["rank-other-0"]["volumes"]
    assert mount["source"] == "/srv/$results"


def test_nothing_listens_on_a_hosts_network_and_nobody_gets_the_engine() -> None:
    stack, _files = whole()
    for name, service in stack["services"].items():
        assert service["networks"] == ["metrics"], name
        assert not service.keys() & {"ports", "cap_add", "privileged"}, name
        assert service["deploy"]["endpoint_mode"] == "dnsrr"
        for mount in service.get("volumes", []):
            if isinstance(mount, dict):
                assert mount["read_only"] is True, name
                # /var/run and / would hold the engine's socket.
                assert mount["source"] in ("/proc", "/sys", "simple-training_snapshots", "/srv/$$results"), name
    assert stack["networks"] == {"metrics": {"driver": "overlay"}}


def test_a_rank_is_exported_from_its_own_image_beside_its_results() -> None:
    stack, files = whole()
    service = stack["services"]["rank-simple-training-1"]
    assert service["image"] == "my-ddp-trainer:0123456789ab"
    assert service["command"] == [
        "python3", "/ddp-exporter", "--stack=simple-training", "--host=Host_2", "--node_rank=1", "--hosts=3", "--results=/results", "--port=9410",
    ]  # fmt: skip
    (mount,) = service["volumes"]
    assert mount == {
        "type": "volume",
        "source": "simple-training_snapshots",
        "target": "/results",
        "read_only": True,
        "volume": {"nocopy": True},
    }
    assert stack["volumes"]["simple-training_snapshots"] == {"external": True}
    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    assert files["exporter"]["content_base64"]


def test_prometheus_finds_each_service_by_its_name_and_knows_its_host() -> None:
    stack, files = whole()
    settings = yaml.safe_load(files["prometheus.yml"]["content"])
    jobs = {job["job_name"]: job for job in settings["scrape_configs"]}
    assert set(jobs) == {"prometheus", "node_exporter", "cadvisor", "dcgm_exporter", "ranks"}
    ports = {"node_exporter": 9100, "cadvisor": 8080, "dcgm_exporter": 9400, "ranks": 9410}
    scraped = set()
    for name, port in ports.items():
        (found,) = jobs[name]["dns_sd_configs"]
        assert (found["type"], found["port"]) == ("A", port)
        hosts = {rule["regex"]: rule["replacement"] for rule in jobs[name]["relabel_configs"]}
        for address in found["names"]:
            service = address.removeprefix("tasks.")
            scraped.add(service)
            (host,) = [host for pattern, host in hosts.items() if re.fullmatch(pattern, address)]
            assert stack["services"][service]["deploy"]["placement"]["constraints"][0].endswith(f" {host}")
    assert scraped == set(stack["services"]) - {"prometheus", "grafana"}
    assert jobs["ranks"]["honor_labels"] is True


def test_grafana_shows_what_is_measured_and_asks_for_no_login() -> None:
    stack, files = whole()
    grafana = stack["services"]["grafana"]
    assert {entry["source"] for entry in grafana["configs"]} == {"datasources.yml", "dashboards.yml", "ddp.json"}
    assert grafana["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert stack["secrets"] == {"grafana-admin": {"external": True, "name": "ddp-monitoring.grafana"}}
    board = json.loads(files["ddp.json"]["content"])
    source = yaml.safe_load(files["datasources.yml"]["content"])["datasources"][0]
    used = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}
    for metric in (
        "ddp_train_loss",
        "ddp_samples_per_second",
        "ddp_train_step",
        "node_cpu_seconds_total",
        "DCGM_FI_DEV_GPU_UTIL",
    ):
        assert metric in used
    told = set(re.findall(r"\bddp_\w+", used)) - {"ddp_container_info"}
    exporter = "".join(path.read_text() for path in (ROLE / "files/exporter").rglob("*.py"))
    assert not {name for name in told if f'"{name}"' not in exporter}


def test_only_what_is_asked_for() -> None:
    stack, files = rendered_as({"monitoring_parts": ["prometheus", "node_exporter"], "swarm_network_mtu": 1400})
    assert {name.split("-")[0] for name in stack["services"]} == {"prometheus", "node"}
    assert set(files) == {"prometheus.yml"}
    assert "secrets" not in stack
    assert stack["volumes"] == {"data": {"name": "ddp-monitoring-prometheus"}}
    assert stack["networks"]["metrics"]["driver_opts"] == {"com.docker.network.driver.mtu": "1400"}


def test_an_image_out_of_an_archive_has_a_name_that_no_registry_has(tmp_path: Path) -> None:
    (tmp_path / "p.tar").touch()
    stack, _files = rendered_as(
        {
            "monitoring_image_archives": {"prometheus": str(tmp_path / "p.tar")},
            "monitoring_node_exporter_image": "node:1@sha256:" + "a" * 64,
        }
    )
    assert re.fullmatch("ddp-monitoring-prometheus:[0-9a-f]{12}", stack["services"]["prometheus"]["image"])
    assert stack["services"]["node-exporter-host1"]["image"] == "node:1@sha256:" + "a" * 64


def test_bad_settings_are_refused_with_a_sentence_for_each(tmp_path: Path) -> None:
    groups = {"managers": {"hosts": {"host1": HERE}}, "workers": {}}
    wrong = {
        "monitoring_host": "elsewhere",
        "monitoring_retention": "ever",
        "monitoring_grafana_password": "hunter2",
    }
    done = play(tmp_path, of_role("monitoring", "stack/validate"), {"swarm": {"children": groups}}, **wrong)
    assert done.returncode != 0
    said = " ".join(done.stdout.replace("\\n", " ").split())
    assert "monitoring_host is elsewhere, which is no host of the group swarm: host1." in said
    assert "monitoring_retention is ever: it is a number with h, d, w or y behind it, such as 15d." in said
    assert "monitoring_grafana_password has less than 8 characters." in said
    assert "hunter2" not in said
