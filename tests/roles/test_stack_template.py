"""The stack file, as Ansible itself renders it for one host and for many."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.filter import names
from ansible_collections.ddp.swarm.plugins.filter.swarm_jobs import job_results
from ansible_collections.ddp.swarm.plugins.module_utils.names import CHECK, RESULTS_LABEL
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.load import load
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.refusals import refusals

ROOT = Path(__file__).resolve().parents[2]
SIZES = [1, 2, 3, 8]
RESTARTS = {"condition": "on-failure", "max_attempts": 3, "delay": "1s", "window": "1h"}
IMAGE = "my-ddp-trainer:0123456789ab"


def render(size: int, task_variables: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    """Run a play on hosts h0, h1, ..., of which h0 is the manager, that writes the stack file and does nothing else."""
    play = {
        "name": "Render the stack",
        "hosts": "swarm",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": {"name": "training", "tasks_from": "validate", "public": True}},
            {
                "ansible.builtin.copy": {
                    "content": "{{ _training_definition }}",
                    "dest": "{{ playbook_dir }}/stack.yml",
                    "mode": "0644",
                },
                "run_once": True,
                "vars": {"role_path": str(ROOT / "roles/training"), **(task_variables or {})},
            },
        ],
    }
    groups = {
        "managers": {"hosts": {"h0": None}},
        "workers": {"hosts": {f"h{number}": None for number in range(1, size)}},
    }
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "image_ref": IMAGE,
        **variables,
    }
    with TemporaryDirectory() as name:
        work = Path(name)
        (work / "play.yml").write_text(yaml.safe_dump([play]))
        (work / "hosts.yml").write_text(
            json.dumps({"all": {"vars": common, "children": {"swarm": {"children": groups}}}})
        )
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", work / "hosts.yml", work / "play.yml"],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(work / "tmp")},
            cwd=work,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        stack: dict[str, Any] = yaml.safe_load((work / "stack.yml").read_text())
        return stack


@cache
def rendered(size: int) -> dict[str, Any]:
    """Ranks without launchers."""
    return render(size, training_snapshots="none")


@pytest.mark.parametrize("size", SIZES)
def test_one_service_for_each_rank(size: int) -> None:
    services = rendered(size)["services"]
    assert list(services) == [f"node{rank}" for rank in range(size)]
    for rank, service in enumerate(services.values()):
        assert service["image"] == IMAGE
        assert service["deploy"]["endpoint_mode"] == "dnsrr"
        assert service["deploy"]["placement"]["constraints"] == [f"node.labels.ddp_rank == {rank}"]
        assert service["deploy"]["restart_policy"] == RESTARTS


def started(service: dict[str, Any]) -> list[str]:
    """The command that the rank's launcher starts."""
    command: list[str] = service["command"]
    assert command[:2] == ["python3", "/ddp-launcher"]
    return command[command.index("--") + 1 :]


def options(service: dict[str, Any]) -> dict[str, str]:
    command = service["command"]
    return dict(word.removeprefix("--").split("=", 1) for word in command[2 : command.index("--")])


@pytest.mark.parametrize("size", SIZES)
def test_launcher(size: int) -> None:
    stack, plain = render(size), rendered(size)
    for rank, service in enumerate(stack["services"].values()):
        assert started(service) == plain["services"][f"node{rank}"]["command"]
        assert options(service) == {
            "rank": str(rank),
            "hosts": ",".join(f"node{number}" for number in range(size)),
            "port": "22355",
            "results": "/snapshots",
            "snapshots": "rank0",
            "secret_file": "/run/secrets/ddp-launcher",
            "patience": "120",
            "log_max_mb": "100",
            "stacks": "/dev/shm/.ddp-launcher",
            "stall_minutes": "10",
        }
        assert service["configs"] == [{"source": "launcher", "target": "/ddp-launcher"}]
        assert service.get("secrets", []) == (["ddp-launcher"] if size > 1 else [])
    secret = {"ddp-launcher": {"external": True, "name": "simple-training.launcher"}}
    assert stack.get("secrets", {}) == (secret if size > 1 else {})
    (content,) = prepare([stack], "simple-training", {}).contents
    assert content.data.startswith(b"PK")
    assert len(content.data) < 500_000, "swarm takes no larger config"


def test_who_is_told_is_a_secret(tmp_path: Path) -> None:
    """Of the address the definition has the name of a file; the project's own trainer gets launchers for it."""
    hook = "https://hooks.example.org/services/S3CR3T"
    stack = render(2, training_notify=hook)
    assert "S3CR3T" not in json.dumps(stack)
    for service in stack["services"].values():
        assert service["secrets"] == ["ddp-launcher", "ddp-notify"]
        assert options(service)["notify_file"] == "/run/secrets/ddp-notify"
        assert options(service)["snapshots"] == "rank0"
    # The alias without a prefix.
    assert "ddp-notify" in render(1, notify=hook)["services"]["node0"]["secrets"]
    assert "secrets" not in render(1, training_notify="notify-send done")["services"]["node0"]


def test_whose_launchers_share_snapshots() -> None:
    shared = {"training_snapshots": "shared"}
    secrets = {"training_secrets": {"token": {"content": "hush"}}, "training_secret_env": {"API_KEY": "token"}}
    node1 = render(2, **shared, **secrets, training_command="accelerate launch x.py", training_master_port=60000)[
        "services"
    ]["node1"]
    assert (options(node1)["snapshots"], options(node1)["port"]) == ("shared", "50000")
    assert started(node1)[3:] == ["sh", "API_KEY", "token", "--", "accelerate", "launch", "x.py"]
    assert node1["secrets"] == ["token", "ddp-launcher"]
    for without in (
        {"training_snapshots": "none"},
        {**shared, "training_mounts": [{"type": "bind", "source": "/srv", "target": "/snapshots"}]},
        {**shared, "training_mounts": []},
    ):
        stack = render(2, **without)
        assert stack["services"]["node1"]["command"][0] == "torchrun"
        assert not {"configs", "secrets"} & {*stack, *stack["services"]["node1"]}


@pytest.mark.parametrize("size", SIZES)
def test_command(size: int) -> None:
    for rank, service in enumerate(rendered(size)["services"].values()):
        assert service["command"] == [
            "torchrun",
            "--nproc_per_node=1",
            f"--nnodes={size}",
            f"--node_rank={rank}",
            "--master_addr=node0",
            "--master_port=12355",
            "--rdzv_conf=timeout=120",
            "--",
            "training_code.py",
            *["10", "2", "--batch_size", "32", "--snapshot_path", "/snapshots/snapshot.pt"],
        ]


@pytest.mark.parametrize("size", SIZES)
def test_environment(size: int) -> None:
    for service in rendered(size)["services"].values():
        environment = service["environment"]
        # NCCL would take eth01 as well.
        assert (environment["NCCL_SOCKET_IFNAME"], environment["GLOO_SOCKET_IFNAME"]) == ("=eth0", "eth0")
        assert environment["NCCL_IB_DISABLE"] == "1"
        assert environment["NCCL_DEBUG"] == "INFO"
        assert all(isinstance(value, str) for value in environment.values())


@pytest.mark.parametrize("size", SIZES)
def test_network_and_mounts(size: int) -> None:
    stack = rendered(size)
    assert stack["networks"] == {"ddp-net": {"external": True}}
    assert stack["volumes"] == {"snapshots": {"name": "simple-training_snapshots"}}
    for service in stack["services"].values():
        assert service["networks"] == ["ddp-net"]
        assert service["volumes"] == [
            {"type": "volume", "source": "snapshots", "target": "/snapshots"},
            {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 1073741824}},
        ]


@pytest.mark.parametrize("size", SIZES)
def test_swarm_ignores_nothing_of_it(size: int) -> None:
    (part,), _directory = load([rendered(size)])
    assert refusals(part) == []
    prepared = prepare([rendered(size)], "simple-training", {})
    assert prepared.warnings == []
    assert len(prepared.definition["services"]) == size


def test_what_a_user_sets() -> None:
    stack = render(
        3,
        training_stack="mine",
        training_hosts=["h2", "h0"],
        training_args=["--name", "two words"],
        training_env={"NCCL_DEBUG": "WARN", "SEED": 7, "WHO": "rank __RANK__"},
        training_mounts=[{"type": "bind", "source": "/data", "target": "/data", "read_only": True}],
        training_nproc_per_node=4,
        training_master_port=29500,
        training_network="other-net",
        training_max_restarts=0,
        training_collective_timeout=60,
        training_cpus="1.5",
        training_memory="2G",
        training_secrets={"key": {"content": "hush"}},
    )
    assert stack["networks"] == {"other-net": {"external": True}}
    assert "volumes" not in stack
    assert list(stack["services"]) == ["node0", "node1"]
    node1 = stack["services"]["node1"]
    assert node1["command"][:5] == [
        *["torchrun", "--nproc_per_node=4", "--nnodes=2", "--node_rank=1", "--master_addr=node0"]
    ]
    assert node1["command"][5] == "--master_port=29500"
    assert node1["command"][-3:] == ["training_code.py", "--name", "two words"]
    assert node1["environment"]["NCCL_DEBUG"] == "WARN"
    assert node1["environment"]["SEED"] == "7"
    assert node1["environment"]["WHO"] == "rank 1"
    assert node1["volumes"][0] == {"type": "bind", "source": "/data", "target": "/data", "read_only": True}
    assert node1["deploy"]["restart_policy"] == {"condition": "none"}
    assert node1["deploy"]["resources"] == {"limits": {"cpus": "1.5", "memory": "2G"}}
    assert node1["environment"]["DDP_TIMEOUT"] == "60"
    assert node1["secrets"] == ["key"]
    assert "hush" not in json.dumps(stack)


def test_a_volume_with_a_driver() -> None:
    options = {"type": "nfs", "o": "addr=10.0.0.5,rw", "device": ":/srv/job", "port": 2049}
    mount = {"type": "volume", "source": "snapshots", "target": "/snapshots", "volume": {"nocopy": True}}
    stack = render(2, training_mounts=[{**mount, "driver_opts": options}], training_data=["/srv/a"])
    driver = {"driver": "local", "driver_opts": {**options, "port": "2049"}}
    assert stack["volumes"] == {"snapshots": {"name": "simple-training_snapshots", **driver}}
    assert [service["volumes"][0] for service in stack["services"].values()] == [mount, mount]
    assert prepare([stack], "simple-training", {}).warnings == []


def test_logs_are_bounded_unless_the_user_says_otherwise() -> None:
    assert {json.dumps(service["logging"]) for service in rendered(3)["services"].values()} == {
        json.dumps({"driver": "json-file", "options": {"max-size": "50m", "max-file": "3"}})
    }
    own = {"driver": "local", "options": {"max-size": "5m"}}
    assert render(1, training_logging=own)["services"]["node0"]["logging"] == own
    assert "logging" not in render(1, training_logging={})["services"]["node0"]
    engines = {"log-opts": {"max-size": "9m"}}
    assert "logging" not in render(1, docker_daemon_options=engines)["services"]["node0"]
    assert "logging" in render(1, docker_daemon_options={"log-level": "debug"})["services"]["node0"]


def test_caches_are_in_the_volume_of_the_results_unless_the_user_says_otherwise() -> None:
    environment = rendered(1)["services"]["node0"]["environment"]
    names = ["HF_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"]
    assert {name: environment[name] for name in names} == {name: f"/snapshots/.ddp-caches/{name}" for name in names}
    own = render(
        1,
        training_env={"HF_HOME": "/data/hf"},
        training_results_dir="/out/",
        training_mounts=[{"type": "volume", "source": "out", "target": "/out"}],
    )["services"]["node0"]["environment"]
    assert (own["HF_HOME"], own["TRITON_CACHE_DIR"]) == ("/data/hf", "/out/.ddp-caches/TRITON_CACHE_DIR")
    without = render(1, training_caches=False, training_snapshots="none")
    assert without["services"]["node0"].pop("environment") == {
        name: value for name, value in environment.items() if name not in names
    }
    assert all(
        without["services"]["node0"][key] == value
        for key, value in rendered(1)["services"]["node0"].items()
        if key != "environment"
    )


def test_its_results_are_named_for_whoever_ends_it() -> None:
    for service in render(2, training_collect=["a$b*"], training_collect_from_each=["logs"])["services"].values():
        job = {"results": service["labels"][RESULTS_LABEL].replace("$$", "$")}
        assert job_results(job) == {"directory": "/snapshots", "from_rank_0": ["a$b*"], "from_each": ["logs"]}


def test_secrets_as_variables_are_in_the_command_by_their_names() -> None:
    """It is what swarm_stack takes, and the rest of the stack is as without them; so is that of the probe."""
    given = {
        "training_secrets": {"token": {"content": "hush"}},
        "training_env": {"A": "1"},
        "training_snapshots": "none",
    }
    stack, plain = render(1, training_secret_env={"API_KEY": "token"}, **given), render(1, **given)
    assert "hush" not in json.dumps(stack)
    (command, before) = (each["services"]["node0"].pop("command") for each in (stack, plain))
    assert stack == plain
    assert command[:2] == ["sh", "-c"]
    assert command[3:] == ["sh", "API_KEY", "token", "--", *before]
    stack["services"]["node0"]["command"] = command
    prepared = prepare([stack, {"secrets": given["training_secrets"]}], "demo", {})
    script = prepared.definition["services"]["node0"]["command"][2]
    assert '"$1=$__secret"' in script
    assert "$$" not in script
    probe = {"_training_plan": {"name": "p", "command": ["x"]}}
    assert render(1, probe, training_secret_env={"API_KEY": "token"}, **given)["services"]["node0"]["command"] == ["x"]


def test_a_command_of_ones_own() -> None:
    own = {"training_command": "start --rank {rank} 'a b' {master_addr}:{master_port}", "training_script": "none.py"}
    started = [["start", "--rank", rank, "a b", "node0:12355"] for rank in ("0", "1")]
    alone = render(2, **own, training_snapshots="none")["services"].values()
    assert [service["command"] for service in alone] == started
    # The ranks of a program that is not the project's have a launcher.
    launched = [service["command"] for service in render(2, **own)["services"].values()]
    assert [command[command.index("--") + 1 :] for command in launched] == started
    assert all("--snapshots=shared" in command for command in launched)


def offering(*counts: int) -> dict[str, Any]:
    """What swarm_node_info says of nodes that offer so many GPUs."""
    return {
        "nodes": [
            {"hostname": "box", "labels": {"ddp_rank": str(rank)}, "resources": {"NVIDIA-GPU": count} if count else {}}
            for rank, count in enumerate(counts)
        ]
    }


def reserved(service: dict[str, Any]) -> int:
    entries = service["deploy"].get("resources", {}).get("reservations", {}).get("generic_resources", [])
    assert all(entry["discrete_resource_spec"]["kind"] == "NVIDIA-GPU" for entry in entries)
    return sum(entry["discrete_resource_spec"]["value"] for entry in entries)


def test_gpus() -> None:
    stack = render(2, training_nproc_per_node="auto", training_cpus="2", _training_node=offering(2, 4))
    for service, count in zip(stack["services"].values(), (2, 4), strict=True):
        assert reserved(service) == count
        assert service["deploy"]["resources"]["limits"] == {"cpus": "2"}
        assert started(service)[1] == f"--nproc_per_node={count}"
        assert service["volumes"][-1]["tmpfs"]["size"] == count << 30
    (part,), _directory = load([stack])
    assert refusals(part) == []
    assert "NVIDIA_VISIBLE_DEVICES" not in stack["services"]["node0"]["environment"]
    spared = render(2, training_gpus=0, _training_node=offering(2, 0))["services"]
    assert [service["environment"].get("NVIDIA_VISIBLE_DEVICES") for service in spared.values()] == ["void", None]
    # A probe is the same stack: it sees the GPUs that the training will see.
    probe = render(
        2,
        {"_training_plan": {"name": "p", "command": ["x"]}},
        training_nproc_per_node="auto",
        _training_node=offering(2, 4),
    )
    assert [service["command"] for service in probe["services"].values()] == [["x"], ["x"]]
    assert [reserved(service) for service in probe["services"].values()] == [2, 4]


def test_the_longest_name_of_a_stack_has_room_for_the_probe() -> None:
    """The names of what swarm makes for the check: the check of names lets 42 characters pass, and one more not."""
    name = "s" * 42
    assert names.problems("training_stack", "stack", name) == []
    assert names.problems("training_stack", "stack", name + "s") != []
    (task,) = yaml.safe_load((ROOT / "roles/training/tasks/probe.yml").read_text())
    given = {
        "training_stack": name,
        "training_probe_stack": name + CHECK,
        "training_probe_archive": "UEsD/w==",
        "training_probe_env": {"PROBE_RANK": "__RANK__"},
    }
    stack = render(2, task["vars"], **given)
    for rank, service in enumerate(stack["services"].values()):
        assert service["command"] == ["python3", "/probe"]
        assert service["configs"] == [{"source": "probe", "target": "/probe"}]
        assert service["environment"]["PROBE_RANK"] == str(rank)
    (content,) = prepare([stack], name + CHECK, {}).contents
    assert content.data == b"PK\x03\xff"
    assert len(content.name) <= 64


def test_nccl_settings() -> None:
    plain = rendered(1)["services"]["node0"]
    assert "NCCL_P2P_DISABLE" not in plain["environment"]
    assert "ulimits" not in plain
    stack = render(
        1,
        training_nccl_debug="WARN",
        training_nccl_ib="true",
        training_nccl_p2p=False,
        training_memlock=-1,
        training_env={"NCCL_P2P_DISABLE": 0},
    )
    node0 = stack["services"]["node0"]
    assert node0["ulimits"] == {"memlock": -1}
    assert node0["environment"]["NCCL_IB_DISABLE"] == "0"
    assert node0["environment"]["NCCL_DEBUG"] == "WARN"
    assert node0["environment"]["NCCL_P2P_DISABLE"] == "0"


def test_a_container_has_its_machines_name_unless_that_is_a_ranks() -> None:
    nodes = [
        {"hostname": "node1", "labels": {"ddp_rank": "0"}, "resources": {}},
        {"hostname": "box", "labels": {"ddp_rank": "1"}, "resources": {}},
    ]
    services = render(2, _training_node={"nodes": nodes})["services"]
    assert services["node0"]["hostname"] == "machine-{{.Node.Hostname}}"
    assert services["node1"]["hostname"] == "{{.Node.Hostname}}"
    assert {service["hostname"] for service in rendered(2)["services"].values()} == {"{{.Node.Hostname}}"}


def test_the_network_of_the_hosts() -> None:
    """What swarm and ip say about each host is written down here; the lab's suites ask real ones."""
    addresses = [
        {"item": "h0", "stdout": "2: enp3s0    inet 192.168.1.10/24 brd 192.168.1.255 scope global enp3s0"},
        {"item": "h1", "stdout": "4: bond0    inet 192.168.1.11/24 brd 192.168.1.255 scope global bond0"},
    ]
    stack = render(2, training_network_mode="host", _training_addresses={"results": addresses})
    assert stack["networks"] == {"host": {"external": True}}
    for rank, interface in enumerate(("enp3s0", "bond0")):
        service = stack["services"][f"node{rank}"]
        assert service["networks"] == ["host"]
        assert service["extra_hosts"] == ["node0:192.168.1.10", "node1:192.168.1.11"]
        assert "endpoint_mode" not in service["deploy"]
        assert "hostname" not in service
        assert service["environment"]["GLOO_SOCKET_IFNAME"] == interface
        assert service["environment"]["NCCL_SOCKET_IFNAME"] == f"={interface}"
        assert "--master_addr=192.168.1.10" in service["command"]
