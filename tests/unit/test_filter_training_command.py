"""The command that starts a rank: what torchrun itself makes of it, and placeholders of commands of other programs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ddp.swarm.plugins.filter.training_command import training_command, words
from ports import free_port

SETTINGS: dict[str, Any] = {
    "training_command": "",
    "training_torchrun_args": "",
    "training_script": "train.py",
    "training_args": "",
    "training_secret_env": {},
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


def started(directory: Path, variables: dict[str, str], *command: str, shell: str = "sh") -> subprocess.Popen[str]:
    """As swarm starts it: a doubled $ is one, and the secrets lie in a directory."""
    own = {**SETTINGS, "training_secret_env": variables, "training_command": list(command)}
    first, *rest = training_command(own, [{"processes": 1}], 0, "node0")
    assert first == "sh"
    words = [word.replace("$$", "$").replace("/run/secrets", str(directory)) for word in rest]
    environment = {**os.environ, "KEPT": "yes"}
    return subprocess.Popen([shell, *words], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_secrets_become_variables(tmp_path: Path, shell: str) -> None:
    """With whatever is in them, and under no other name; the command and its words are as they were."""
    (tmp_path / "token").write_text("a 'b' \"c\" $HOME `id` \\n *\n")
    (tmp_path / "lines").write_text("one\n\n two")
    code = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]]))"
    words = ["", "a b", "--", "$(id)", "*", "-c"]
    program = started(
        tmp_path, {"API_KEY": "token", "KEY": "lines", "_x": "token"}, sys.executable, "-c", code, *words, shell=shell
    )
    out, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, "")
    environment, seen = json.loads(out)
    assert environment["API_KEY"] == environment["_x"] == "a 'b' \"c\" $HOME `id` \\n *"
    assert environment["KEY"] == "one\n\n two"
    assert seen == [word.replace("$$", "$") for word in words]
    assert set(environment) - set(os.environ) - {"_", "PWD", "SHLVL", "OLDPWD"} == {"API_KEY", "KEY", "_x", "KEPT"}


def test_the_program_takes_the_place_of_the_shell(tmp_path: Path) -> None:
    """So that it gets the signals and its exit code is the container's."""
    (tmp_path / "token").write_text("x")
    code = "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(os.getpid(), flush=True); signal.pause()"
    program = started(tmp_path, {"API_KEY": "token"}, sys.executable, "-c", code)
    assert program.stdout is not None
    assert int(program.stdout.readline()) == program.pid
    program.terminate()
    assert program.wait(60) == 7
    program.communicate()


def test_a_secret_that_cannot_be_read_starts_nothing(tmp_path: Path) -> None:
    program = started(tmp_path, {"API_KEY": "token"}, "echo", "started")
    out, err = program.communicate(timeout=60)
    assert (out, program.returncode) == ("", 1)
    assert f"{tmp_path}/token" in err


def test_torchrun_gets_them_as_well() -> None:
    plain = training_command(SETTINGS, TWO, 1, "node0")
    command = training_command({**SETTINGS, "training_secret_env": {"B": "two", "A": "one"}}, TWO, 1, "node0")
    assert command[3:] == ["sh", "A", "one", "B", "two", "--", *plain]


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
    port = free_port()
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
