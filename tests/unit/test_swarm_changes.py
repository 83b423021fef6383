"""How hosts come into a swarm and leave it, and what becomes of a node and of the network. Docker is a stand-in."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.swarm_network import network_is_as_asked
from ansible_collections.ddp.swarm.plugins.module_utils.docker import api
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerCli, DockerError
from ansible_collections.ddp.swarm.plugins.modules import swarm_member, swarm_network, swarm_node
from docker_stand_in import StandIn, run

Json = dict[str, Any]
TOKEN = "SWMTKN-1-s3cr3t-t0k3n"
BOTH_CASES = pytest.mark.parametrize("check", [False, True], ids=["run", "check"])


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path / "docker", monkeypatch)


def place(state: str) -> str:
    """What `docker info` says of a host's place in a swarm."""
    return json.dumps({"ServerVersion": "26.1.5", "Swarm": {"LocalNodeState": state}})


def commands(docker: StandIn) -> list[str]:
    """What was called but to ask."""
    calls = [" ".join(call["argv"]) for call in docker.calls()]
    return [call for call in calls if not call.startswith("info") and " inspect" not in call and " ls" not in call]


@pytest.mark.parametrize(
    ("module", "params", "answers"),
    [
        (swarm_member, {}, {"info": place("inactive"), "swarm init": ""}),
        (swarm_member, {"state": "absent"}, {"info": place("active"), "swarm leave": ""}),
        (swarm_node, {"id": "n1", "role": "manager"}, {"node inspect": '[{"Spec": {}}]', "node update": ""}),
        (
            swarm_network,
            {"name": "n"},
            {
                "network ls": '{"ID": "1", "Name": "n"}',
                "network inspect": '[{"Id": "1", "Name": "n", "Driver": "bridge", "Scope": "local", "Attachable": false}]',
                "network rm": "",
                "network create": "2",
            },
        ),
    ],
)
def test_no_command_is_waited_for_without_end(
    module: Any,
    params: Json,
    answers: dict[str, str | tuple[str, int]],
    docker: StandIn,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A swarm without a quorum may never answer."""
    limits: dict[str, float | None] = {}
    real = DockerCli.run

    def watched(self: DockerCli, *args: str, timeout: float | None = None, **options: Any) -> CompletedDocker:
        limits[" ".join(word for word in args[:2] if not word.startswith("-"))] = timeout
        return real(self, *args, timeout=timeout, **options)

    monkeypatch.setattr(DockerCli, "run", watched)
    docker.answer(answers)
    assert run(module, capsys, **params)["changed"]
    assert list(limits) == list(answers)
    assert all(limits.values()), limits


# --- swarm_member

INIT, LEAVE = "swarm init", "swarm leave"
JOINING: Json = {"state": "joined", "join_token": TOKEN, "remote_addr": "192.0.2.1:2377"}


@pytest.mark.parametrize(
    ("was", "params", "called"),
    [
        ("inactive", {}, "swarm init"),
        ("inactive", {"advertise_addr": "192.0.2.1"}, "swarm init --advertise-addr 192.0.2.1"),
        (
            "inactive",
            {
                "data_path_addr": "eth1",
                "data_path_port": 7777,
                "default_addr_pool": ["10.20.0.0/16", "10.30.0.0/16"],
                "subnet_size": 25,
            },
            "swarm init --data-path-addr eth1 --data-path-port 7777 --default-addr-pool 10.20.0.0/16 "
            + "--default-addr-pool 10.30.0.0/16 --default-addr-pool-mask-length 25",
        ),
        (
            "active",
            {"force_new_cluster": True, "data_path_port": 7777},
            "swarm init --data-path-port 7777 --force-new-cluster",
        ),
        ("active", {}, ""),
        ("locked", {}, ""),
        ("active", {"force_new_cluster": True}, "swarm init --force-new-cluster"),
        ("active", {"state": "absent"}, "swarm leave --force"),
        ("error", {"state": "absent"}, "swarm leave --force"),
        ("inactive", {"state": "absent"}, ""),
    ],
)
@BOTH_CASES
def test_membership(
    was: str, params: Json, called: str, check: bool, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"info": place(was), INIT: f"docker swarm join --token {TOKEN}", LEAVE: ""})
    result = run(swarm_member, capsys, _ansible_check_mode=check, **params)
    assert (result["changed"], result["was"]) == (bool(called), was)
    assert commands(docker) == ([called] if called and not check else [])
    assert TOKEN not in json.dumps(result)


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Stands in for an engine's socket: it answers each request alike, and keeps what it was sent."""

    def __init__(self, path: Path, status: int, answer: str) -> None:
        self.status, self.answer, self.asked = status, answer, list[tuple[str, Json]]()
        super().__init__(str(path), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Engine

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer.encode())

    def log_message(self, *_words: Any) -> None:
        pass


@contextmanager
def engine(path: Path, status: int = 200, answer: str = "") -> Iterator[Engine]:
    with Engine(path, status, answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("address", ["192.0.2.2", None])
@pytest.mark.parametrize("was", ["inactive", "pending", "active"])
@BOTH_CASES
def test_joining(
    was: str, address: str | None, check: bool, docker: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"--host": place(was)})
    with engine(tmp_path / "s") as server:
        where = f"unix://{tmp_path / 's'}"
        result = run(
            swarm_member, capsys, docker_host=where, advertise_addr=address, _ansible_check_mode=check, **JOINING
        )
    body = {
        "ListenAddr": "0.0.0.0:2377",
        "AdvertiseAddr": address or "",
        "DataPathAddr": "",
        "JoinToken": TOKEN,
        "RemoteAddrs": ["192.0.2.1:2377"],
    }
    assert (result["changed"], result["was"]) == (was == "inactive", was)
    assert server.asked == ([("/swarm/join", body)] if was == "inactive" and not check else [])
    assert TOKEN not in json.dumps(result)
    # Every user of the host can read those.
    assert TOKEN not in json.dumps([call["argv"] for call in docker.calls()])


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("192.0.2.1", "192.0.2.1:2377"),
        ("fd00::1", "[fd00::1]:2377"),
        ("[fd00::1]:4000", "[fd00::1]:4000"),
        ("192.0.2.1:4000", "192.0.2.1:4000"),
        ("manager.example:2377", "manager.example:2377"),
    ],
)
def test_the_manager_that_is_asked(
    given: str, asked: str, docker: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"--host": place("inactive")})
    with engine(tmp_path / "s") as server:
        run(swarm_member, capsys, docker_host=f"unix://{tmp_path / 's'}", **{**JOINING, "remote_addr": given})
    assert server.asked[0][1]["RemoteAddrs"] == [asked]


def test_the_address_for_the_overlays_data(docker: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker.answer({"--host": place("inactive")})
    with engine(tmp_path / "s") as server:
        run(swarm_member, capsys, docker_host=f"unix://{tmp_path / 's'}", data_path_addr="eth1", **JOINING)
    assert server.asked[0][1]["DataPathAddr"] == "eth1"


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (
            503,
            json.dumps({"message": f"invalid join token {TOKEN}"}),
            "Error response from daemon: invalid join token ",
        ),
        (500, "plain words", "Error response from daemon: plain words"),
        (500, "[" * 5000, "Error response from daemon: [[["),
        (500, "[]", "Error response from daemon: []"),
        (404, "", "Error response from daemon: status 404"),
    ],
)
def test_what_the_engine_says_of_a_join(
    status: int, answer: str, said: str, docker: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"--host": place("inactive")})
    with engine(tmp_path / "s", status, answer):
        result = run(swarm_member, capsys, docker_host=f"unix://{tmp_path / 's'}", **JOINING)
    assert result["failed"]
    assert said in result["msg"]
    assert TOKEN not in json.dumps(result)


@pytest.mark.parametrize(
    ("host", "said"),
    [("unix:///nowhere", "/swarm/join: [Errno 2]"), ("tcp://192.0.2.9:2376", "is no socket of this host")],
)
def test_an_engine_that_cannot_be_asked(
    host: str, said: str, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"--host": place("inactive")})
    assert said in run(swarm_member, capsys, docker_host=host, **JOINING)["msg"]


def test_the_engine_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert api.socket_of(None) == "/var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/else.sock")
    assert (api.socket_of(None), api.socket_of("unix:///x")) == ("/run/else.sock", "/x")


def test_an_engine_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(DockerError, match="/swarm/join: no answer within 0.05 s"):
            api.post("/swarm/join", {}, f"unix://{tmp_path / 's'}", 0.05)


@pytest.mark.parametrize("missing", ["join_token", "remote_addr"])
def test_who_joins_says_where_and_as_what(missing: str, docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(swarm_member, capsys, **{**JOINING, missing: None})
    assert missing in result["msg"]
    assert docker.calls() == []


# --- swarm_node


def node(**spec: Any) -> str:
    return json.dumps([{"ID": "n1", "Spec": {"Role": "worker", "Availability": "active", "Labels": {}, **spec}}])


@pytest.mark.parametrize(
    ("spec", "params", "changes"),
    [
        ({}, {"labels": {"ddp_rank": "0"}}, ["--label-add=ddp_rank=0"]),
        ({"Labels": {"ddp_rank": "0"}}, {"labels": {"ddp_rank": "0"}}, []),
        ({"Labels": {"ddp_rank": "0"}}, {"labels": {"ddp_rank": 0}}, []),
        ({"Labels": {"ddp_rank": "1"}}, {"labels": {"ddp_rank": "0"}}, ["--label-add=ddp_rank=0"]),
        ({"Labels": {"ddp_rank": "1", "mine": "x"}}, {"labels_to_remove": ["ddp_rank", "b"]}, ["--label-rm=ddp_rank"]),
        ({"Labels": {"a": "1"}}, {"labels": {"a": "1"}, "labels_to_remove": ["a"]}, []),
        ({"Labels": None}, {"labels_to_remove": ["ddp_rank"]}, []),
        ({}, {"availability": "drain"}, ["--availability=drain"]),
        ({}, {"availability": "active", "role": "worker"}, []),
        ({}, {"role": "manager"}, ["--role=manager"]),
        (
            {"Availability": "drain"},
            {"labels": {"a": "1", "b": "2"}, "availability": "active", "role": "manager"},
            ["--label-add=a=1", "--label-add=b=2", "--availability=active", "--role=manager"],
        ),
    ],
)
@BOTH_CASES
def test_a_node_becomes_what_is_asked(
    spec: Json, params: Json, changes: list[str], check: bool, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"node inspect n1": node(**spec), "node update": "n1"})
    result = run(swarm_node, capsys, id="n1", _ansible_check_mode=check, **params)
    assert (result["changed"], result["changes"]) == (bool(changes), changes)
    assert commands(docker) == ([" ".join(["node update", *changes, "n1"])] if changes and not check else [])


def test_another_error_is_told_at_once(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    docker.answer({"node inspect n1": node(), "node update": ("Error response from daemon: no quorum", 1)})
    assert run(swarm_node, capsys, id="n1", role="manager")["msg"].endswith("no quorum")
    assert len(docker.calls("node", "update")) == 1


# --- swarm_network

MTU = "com.docker.network.driver.mtu"


def network(**more: Any) -> str:
    has = {"Id": "net1", "Name": "ddp-net", "Driver": "overlay", "Scope": "swarm", "Attachable": True, "Options": {}}
    return json.dumps([{**has, "IPAM": {"Config": [{"Subnet": "10.0.1.0/24"}]}, **more}])


def listed(*names: str) -> str:
    return "".join(json.dumps({"ID": f"id-{name}", "Name": name}) + "\n" for name in names)


CREATE = "network create --driver overlay --attachable"


@pytest.mark.parametrize(
    ("params", "created"),
    [
        ({}, f"{CREATE} ddp-net"),
        ({"subnet": "10.1.0.0/24", "mtu": 1400}, f"{CREATE} --subnet 10.1.0.0/24 --opt {MTU}=1400 ddp-net"),
    ],
)
@BOTH_CASES
def test_a_network_is_created(
    params: Json, created: str, check: bool, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"network ls": listed("ddp-net-else", "else-ddp-net"), "network create": "net9\n"})
    result = run(swarm_network, capsys, name="ddp-net", _ansible_check_mode=check, **params)
    assert (result["changed"], result["id"]) == (True, "" if check else "net9")
    assert result["diff"]["before"] == {}
    assert result["diff"]["after"] == {"driver": "overlay", "scope": "swarm", "attachable": True, **params}
    assert commands(docker) == ([] if check else [created])


@pytest.mark.parametrize(
    ("params", "has"),
    [
        ({}, {}),
        ({"subnet": "10.0.1.0/24"}, {}),
        ({"mtu": 1400}, {"Options": {MTU: "1400"}}),
        ({}, {"Options": {MTU: "1300"}}),
        ({}, {"Options": None}),
    ],
)
def test_a_network_that_is_right_is_kept(
    params: Json, has: Json, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"network ls": listed("ddp-net-else", "ddp-net"), "network inspect id-ddp-net": network(**has)})
    result = run(swarm_network, capsys, name="ddp-net", **params)
    assert (result["changed"], result["id"]) == (False, "net1")
    assert result["diff"]["before"] == result["diff"]["after"]
    assert commands(docker) == []


@pytest.mark.parametrize(
    ("params", "has", "before", "after"),
    [
        ({"subnet": "10.9.0.0/24"}, {}, {"subnet": "10.0.1.0/24"}, {"subnet": "10.9.0.0/24"}),
        ({"mtu": 1400}, {}, {"mtu": None}, {"mtu": 1400}),
        ({"mtu": 1400}, {"Options": {MTU: "1300"}}, {"mtu": 1300}, {"mtu": 1400}),
        ({}, {"Attachable": False}, {"attachable": False}, {"attachable": True}),
    ],
)
@BOTH_CASES
def test_a_network_that_differs_is_made_anew(
    params: Json, has: Json, before: Json, after: Json, check: bool, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer(
        {"network ls": listed("ddp-net"), "network inspect": network(**has), "network rm": "", "network create": "net9"}
    )
    result = run(swarm_network, capsys, name="ddp-net", _ansible_check_mode=check, **params)
    assert (result["changed"], result["id"]) == (True, "net1" if check else "net9")
    assert {name: value for name, value in result["diff"]["before"].items() if name in before} == before
    assert {name: value for name, value in result["diff"]["after"].items() if name in after} == after
    assert [call.split()[1] for call in commands(docker)] == ([] if check else ["rm", "create"])
    assert check or commands(docker)[0] == "network rm net1"


def test_a_network_in_use_stays(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    used = ("Error response from daemon: rpc error: network net1 is in use by service s1", 1)
    docker.answer({"network ls": listed("ddp-net"), "network inspect": network(), "network rm": used})
    result = run(swarm_network, capsys, name="ddp-net", subnet="10.9.0.0/24")
    assert (
        "ddp-net has subnet 10.0.1.0/24 instead of 10.9.0.0/24, and cannot be made anew while it is in use."
        in result["msg"]
    )
    assert "is in use by service s1" in result["msg"]
    assert docker.calls("network", "create") == []


@pytest.mark.parametrize(
    ("networks", "subnet", "mtu", "right"),
    [
        ([], "", 0, False),
        ([{}], "", 0, True),
        ([{}], "10.0.1.0/24", "0", True),
        ([{}], "10.9.0.0/24", 0, False),
        ([{}], "", 1400, False),
        ([{"mtu": 1400}], "", "1400", True),
        ([{"attachable": False}], "", 0, False),
        ([{"driver": "bridge", "scope": "local"}], "", 0, False),
        ([{}, {}], "", 0, False),
    ],
)
def test_a_network_that_is_as_asked(networks: list[Json], subnet: str, mtu: Any, right: bool) -> None:
    has = {"name": "n", "driver": "overlay", "scope": "swarm", "attachable": True, "subnet": "10.0.1.0/24", "mtu": None}
    other = {**has, "name": "m"}
    assert network_is_as_asked([other, *({**has, **changes} for changes in networks)], "n", subnet, mtu) is right
