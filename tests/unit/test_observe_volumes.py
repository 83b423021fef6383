"""Volumes with drivers. What engines say is as 20.10 and 26.1 said it; no engine is asked here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import volumes
from preflight_ranks import verdict
from test_observe_engine import Engine

OPTIONS = {"type": "nfs", "o": "addr=10.0.0.5,rw", "device": ":/srv/job"}
PLAIN = {"name": "job_snapshots", "target": "/snapshots", "read_only": False, "nocopy": False}
NFS = {**PLAIN, "driver": "local", "driver_opts": OPTIONS}
PLUGIN = {**PLAIN, "driver": "vieux/sshfs", "driver_opts": {"sshcmd": "me@files:/srv"}}
NONE = CompletedDocker(1, "", "Error: No such volume: job_snapshots")
FINE = "1000\n1000\n1000 755\nread\nwrite\n"
DEVICE = (
    "docker: Error response from daemon: error while mounting volume '/var/lib/docker/volumes/0123/_data': failed to mount local "
    "volume: mount :/srv/job:/var/lib/docker/volumes/0123/_data, data: addr=10.0.0.5,password=S3CR3T: no such device.\n"
    "See 'docker run --help'.\n"
)


def there(driver: str, options: Any) -> str:
    return json.dumps({"Driver": driver, "Options": options, "Name": "job_snapshots"})


def look(volume: dict[str, Any], has: Any, ran: Any = None) -> tuple[list[dict[str, Any]], list[str]]:
    answers = {"volume inspect": has, "volume rm": ""} | ({} if ran is None else {"run --rm": ran})
    docker = Engine(answers)
    return volumes.unusable(docker, "trainer:1", [volume], "/snapshots/"), docker.asked


def test_a_volume_of_dockers_own_is_not_tried() -> None:
    assert look(PLAIN, NONE)[0] == look(PLAIN, there("local", None))[0] == look(PLAIN, there("local", {}))[0] == []


@pytest.mark.parametrize(
    ("volume", "driver", "options"),
    [
        (NFS, "local", None),
        (NFS, "local", {**OPTIONS, "device": ":/srv/old"}),
        (PLAIN, "local", OPTIONS),
        (PLUGIN, "local", None),
        (PLUGIN, "vieux/sshfs:next", PLUGIN["driver_opts"]),
    ],
)  # fmt: skip
def test_a_volume_that_was_made_otherwise(volume: dict[str, Any], driver: str, options: Any) -> None:
    found, asked = look(volume, there(driver, options))
    assert [(one["lack"], one["name"]) for one in found] == [("other", "job_snapshots")]
    assert not [words for words in asked if words.startswith("run")]


def test_how_a_volume_is_tried() -> None:
    found, asked = look(NFS, NONE, FINE)
    assert found == []
    (run,) = [words for words in asked if words.startswith("run")]
    # Without its name: Docker removes such a volume with the container.
    assert (
        '--mount type=volume,target=/snapshots,volume-driver=local,volume-opt=type=nfs,"volume-opt=o=addr=10.0.0.5,rw",volume-opt=device=:/srv/job '
        in run
    )
    assert asked[1:] == [run]
    _, asked = look({**NFS, "read_only": True, "nocopy": True}, there("local", OPTIONS), FINE)
    assert (
        "--mount type=volume,target=/snapshots,source=job_snapshots,readonly,volume-nocopy,volume-driver=local,"
        in asked[1]
    )
    _, asked = look(PLUGIN, there("vieux/sshfs:latest", PLUGIN["driver_opts"]), FINE)
    assert "source=job_snapshots,volume-driver=vieux/sshfs,volume-opt=sshcmd=me@files:/srv" in asked[1]


def test_a_plugin_that_fails_leaves_no_volume() -> None:
    missing = CompletedDocker(
        125, "", 'docker: Error response from daemon: create job_snapshots: Plugin "vieux/sshfs" not found.\n'
    )
    found, asked = look(PLUGIN, NONE, missing)
    assert found[0]["said"] == 'create job_snapshots: Plugin "vieux/sshfs" not found.'
    assert asked[-1] == "volume rm job_snapshots"


@pytest.mark.parametrize(
    ("target", "said", "lack"),
    [
        ("/snapshots", FINE, ""),
        ("/snapshots", "1000\n1000\n0 755\nread\n", "write"),
        ("/data", "1000\n1000\n0 755\nread\n", ""),
        ("/data", "1000\n1000\n0 700\n", "read"),
        ("/snapshots", "1000\n1000\n0 700\n", "read"),
        # What cannot be told is no fault.
        ("/snapshots", "uid=1000\n", ""),
        ("/snapshots", CompletedDocker(127, "", "sh: stat: not found"), ""),
        ("/snapshots", CompletedDocker(125, "", "docker: Error response from daemon: No such image: trainer:1."), ""),
    ],
)
def test_what_the_user_of_the_image_may(target: str, said: Any, lack: str) -> None:
    found, _ = look({**NFS, "target": target}, NONE, said)
    assert [one["lack"] for one in found] == ([lack] if lack else [])
    if lack:
        assert (found[0]["uid"], found[0]["gid"], found[0]["owner"], found[0]["mode"][0]) == (1000, 1000, "0", "0")


MOUNTED = "/var/lib/docker/volumes/ee32ba69/_data"
# Engine 26.1, and 20.10.
SAID = [
    (125, f"failed to populate volume: error while mounting volume '{MOUNTED}': failed to mount local volume: mount :/srv:{MOUNTED}, data: addr=192.0.2.1: no such device.",
     "failed to mount local volume: mount :/srv, data: addr=192.0.2.1: no such device."),
    (127, f"failed to mount local volume: mount /srv/none:{MOUNTED}, flags: 0x1000: no such file or directory.",
     "failed to mount local volume: mount /srv/none, flags: 0x1000: no such file or directory."),
]  # fmt: skip


@pytest.mark.parametrize(("code", "words", "said"), SAID)
def test_what_engines_said(code: int, words: str, said: str) -> None:
    complaint = f"docker: Error response from daemon: {words}\nSee 'docker run --help'.\n"
    (found,) = look(NFS, NONE, CompletedDocker(code, "", complaint))[0]
    assert (found["lack"], found["said"]) == ("mount", said)


def test_an_image_without_a_shell_is_no_fault_of_the_volume() -> None:
    said = 'docker: Error response from daemon: OCI runtime create failed: exec: "sh": executable file not found in $PATH: unknown.'
    assert look(NFS, NONE, CompletedDocker(127, "", said))[0] == []


def test_a_server_that_does_not_answer() -> None:
    found, _ = look(NFS, NONE, DockerError("docker run: no answer within 30 s"))
    assert found[0]["said"] == "docker run: no answer within 30 s"


HINTS = [
    (DEVICE, "mount -t nfs"),
    ("failed to mount local volume: mount :/srv: connection refused", "and lets host2 in"),
    ("docker run: no answer within 30 s", "and lets host2 in"),
    ("error resolving passed in network volume address: lookup files: no such host", "and lets host2 in"),
    ("failed to mount local volume: mount :/srv: permission denied", "/etc/exports"),
    ("failed to mount local volume: mount /srv: no such file or directory", "create"),
    ("failed to chown /snapshots: operation not permitted", "volume: {nocopy: true}"),
    ('create job_snapshots: Plugin "vieux/sshfs" not found', "run 'docker plugin install"),
    ("something else", "driver_opts"),
]


@pytest.mark.parametrize(("said", "words"), HINTS)
def test_what_to_do(pair: Any, said: str, words: str) -> None:
    volume = {"name": "job_snapshots", "target": "/snapshots", "lack": "mount", "said": volumes.what_was_said(said)}
    pair[1]["host_checks"]["volumes"] = [volume]
    (found,) = verdict(pair)["findings"]
    assert (found["layer"], found["host"], found["check"]) == (2, "host2", "volume")
    assert words in found["hint"]
    assert "S3CR3T" not in str(found)
    assert "/var/lib/docker/volumes" not in found["observed"]


def test_the_sentences(pair: Any) -> None:
    of = {"name": "job_snapshots", "target": "/snapshots"}
    pair[1]["host_checks"]["volumes"] = [
        {**of, "lack": "other", "has": "local()", "wanted": "local(device=:/srv)"},
        {**of, "lack": "write", "uid": 1000, "gid": 1000, "owner": "0", "mode": "0755"},
    ]
    other, closed = verdict(pair)["findings"]
    assert other["observed"] == "the volume job_snapshots is local()"
    assert other["expected"] == "local(device=:/srv), as training_mounts has it"
    assert "run 'docker volume rm job_snapshots' on host2" in other["hint"]
    assert (
        closed["observed"]
        == "/snapshots, the volume job_snapshots, belongs to user 0 with mode 0755: user 1000 may not write there"
    )
