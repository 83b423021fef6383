"""What ranks use, of what docker and nvidia-smi were recorded to say."""

import json
import time

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerCli, DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.stack.usage import amount, gpus, percent, read_slow, read_usage
from ansible_collections.ddp.swarm.plugins.modules import training_usage_info

# docker 26.1 on a lab host; the second container ended between the two commands.
PS = "aa11 simple-training_node0\nbb22 simple-training_node10\ncc33 web\ndd44 simple-training-preflight_node0\n"
STATS = {
    "BlockIO": "0B / 0B", "CPUPerc": "101.53%", "Container": "aa11", "ID": "aa11", "MemPerc": "2.1%",
    "MemUsage": "412.3MiB / 15.6GiB", "Name": "simple-training_node0.1.x", "NetIO": "1.2MB / 3.45kB", "PIDs": "9",
}  # fmt: skip
ENDED = {**STATS, "ID": "bb22", "CPUPerc": "--", "MemUsage": "-- / --", "NetIO": "--"}


class Recorded:
    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def run(self, *words, **_options):
        self.asked.append(words)
        return self.answers[words[0]]


def test_the_ranks_of_a_host():
    rows = "\n".join(json.dumps(row) for row in (STATS, ENDED, {"ID": "other"}, [])) + "\nnot json"
    docker = Recorded(ps=CompletedDocker(0, PS, ""), stats=CompletedDocker(1, rows, "no such container"))
    assert read_usage(docker) == {
        "simple-training_node0": {
            "cpu_percent": 101.53, "memory_bytes": 432327885, "received_bytes": 1200000, "sent_bytes": 3450,
        },
        "simple-training_node10": {
            "cpu_percent": None, "memory_bytes": None, "received_bytes": None, "sent_bytes": None,
        },
    }  # fmt: skip
    assert docker.asked[1][-2:] == ("aa11", "bb22")


SLOW = "rank 1 on host2 is slow: in the last 45 s the others waited for it."


@pytest.mark.parametrize(
    ("note", "read"),
    [
        ({"time": time.time(), "sentence": SLOW}, SLOW),
        ({"time": time.time(), "sentence": "a\x1b[2J\nb"}, "a b"),
        ({"time": time.time(), "sentence": ""}, ""),
        ({"time": time.time() - 3600, "sentence": SLOW}, ""),
        ({"time": "now", "sentence": SLOW}, ""),
        ({"sentence": 5}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_what_rank_0_notes_of_slow_ranks(tmp_path, note, read):
    if note is not None:
        (tmp_path / ".ddp-launcher").mkdir()
        (tmp_path / ".ddp-launcher/pace.json").write_text(json.dumps(note))
    mounts = [
        {"Type": "bind", "Source": "/"},
        {"Type": "volume", "Source": f"{tmp_path}/none"},
        {"Type": "volume", "Source": str(tmp_path)},
    ]
    docker = Recorded(ps=CompletedDocker(0, PS, ""), inspect=CompletedDocker(0, json.dumps(mounts), ""))
    assert read_slow(docker) == ({"simple-training_node0": read} if read else {})
    assert docker.asked[1][-1] == "aa11"
    assert len(docker.asked) == 2
    for said in ("", "null", "[1]"):
        assert read_slow(Recorded(ps=CompletedDocker(0, PS, ""), inspect=CompletedDocker(1, said, ""))) == {}


def test_a_host_without_ranks_is_not_measured():
    docker = Recorded(ps=CompletedDocker(0, "cc33 web\n", ""))
    assert read_usage(docker) == {}


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("0B", 0),
        ("1.5kB", 1500),
        (" 2GiB ", 2**31),
        ("3 TB", 3 * 10**12),
        ("--", None),
        ("", None),
        ("5iB", None),
        ("9" * 30 + "B", None),
    ],
)
def test_amounts(text, bytes_):
    assert amount(text) == bytes_


def test_percents():
    assert [percent(text) for text in ("7.5%", "8", "--", "[N/A]")] == [7.5, 8.0, None, None]


def test_gpus():
    said = "0, 97, 30000, 81559\n1, [N/A], 5, 16384\nNo devices were found\n"
    assert gpus(said) == [
        {"index": 0, "percent": 97.0, "used_mib": 30000.0, "total_mib": 81559.0},
        {"index": 1, "percent": None, "used_mib": 5.0, "total_mib": 16384.0},
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_the_module(fails, capsys, monkeypatch):
    def run(self, *words, **_options):
        if fails:
            raise DockerError("docker ps: Cannot connect to the Docker daemon")
        return CompletedDocker(0, PS if words[0] == "ps" else json.dumps(STATS), "")

    monkeypatch.setattr(DockerCli, "run", run)
    with patch_module_args({}), pytest.raises(SystemExit):
        training_usage_info.main()
    result = json.loads(capsys.readouterr().out)
    if fails:
        assert result["msg"] == "docker ps: Cannot connect to the Docker daemon"
    else:
        assert list(result["ranks"]) == ["simple-training_node0"]
        assert result["gpus"] == []
