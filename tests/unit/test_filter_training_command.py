"""The command that starts a rank: what torchrun itself makes of it, and placeholders of commands of other programs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ddp.swarm.plugins.filter.training_command import training_command, words

SETTINGS: dict[str, Any] = {
    "training_command": "",
    "training_torchrun_args": "",
    "training_script": "train.py",
    "training_args": "",
    "training_master_port": 12355,
    "training_rendezvous_timeout": 120,
}
TWO = [{"processes": 2}, {"processes": "3"}]
ACCELERATE = (
    "accelerate launch --machine_rank {rank} --num_machines {hosts} --num_processes {world_size} "
    "--main_process_ip {master_addr} --main_process_port {master_port} train.py --note 'a b'"
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        (None, []),
        ("--note 'a b' c", ["--note", "a b", "c"]),
        ('--note "a b" --n 3', ["--note", "a b", "--n", "3"]),
        (r"a\ b", ["a b"]),
        ("''", [""]),
        (["a b", 3, 0.5], ["a b", "3", "0.5"]),
    ],
)
def test_words(given: Any, expected: list[str]) -> None:
    assert words(given) == expected


def test_torchrun() -> None:
    more = {**SETTINGS, "training_torchrun_args": "--tee 3", "training_args": '--note "a b"'}
    assert training_command(more, TWO, 1, "node0") == [
        "torchrun", "--nproc_per_node=3", "--nnodes=2", "--node_rank=1", "--master_addr=node0", "--master_port=12355",
        "--rdzv_conf=timeout=120", "--tee", "3", "--", "train.py", "--note", "a b",
    ]  # fmt: skip


def test_accelerate() -> None:
    assert training_command({**SETTINGS, "training_command": ACCELERATE}, TWO, 1, "10.0.0.1") == [
        "accelerate", "launch", "--machine_rank", "1", "--num_machines", "2", "--num_processes", "5", "--main_process_ip", "10.0.0.1",
        "--main_process_port", "12355", "train.py", "--note", "a b",
    ]  # fmt: skip


def test_other_braces_stay() -> None:
    own = {**SETTINGS, "training_command": ["python", "-m", "package", '{"lr": 1}', "{processes}", "{ranks}"]}
    assert training_command(own, TWO, 0, "node0") == ["python", "-m", "package", '{"lr": 1}', "2", "{ranks}"]


def test_a_world_size_that_nobody_knows() -> None:
    ranks = [{"processes": "auto"}, {"processes": "auto"}]
    assert training_command({**SETTINGS, "training_command": "start {processes}"}, ranks, 0, "node0") == [
        "start",
        "auto",
    ]
    with pytest.raises(AnsibleFilterError, match="training_command asks for {world_size}.*set it to a number"):
        training_command({**SETTINGS, "training_command": ACCELERATE}, ranks, 0, "node0")


def test_the_script_gets_all_of_its_arguments(tmp_path: Path) -> None:
    """From torchrun as it is installed: '--n' would be one of its own options, shortened."""
    given = ["--n", "3", "--note", "a b", "--nnodes", "7", "--", "-m", "", "10"]
    script = tmp_path / "train.py"
    script.write_text(
        "import json, pathlib, sys\npathlib.Path(__file__).with_name('seen').write_text(json.dumps(sys.argv[1:]))\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**SETTINGS, "training_script": script, "training_args": given, "training_master_port": port}
    command = training_command(settings, [{"processes": 1}], 0, "127.0.0.1")
    assert command[0] == "torchrun"
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command[1:]],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert json.loads((tmp_path / "seen").read_text()) == given
