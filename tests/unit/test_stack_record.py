"""What swarm_stack recorded at the last deployment, and how it is read again."""

import base64
import json
import zlib
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.record import Record, sort_lists
from ansible_collections.ddp.swarm.plugins.modules import swarm_stack_info
from swarm_stand_in.fixtures import definition

RECORD = "demo.swarm-stack"
# As the version before this one wrote it: what docker was sent, which was half of what the user wrote.
OLD: dict[str, Any] = {
    "image": "trainer:1",
    "command": "run 'it all'",
    "environment": {"A": "1"},
    "ports": ["8080:80", 90],
    "volumes": ["/host:/data:ro", {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 64}}],
    "networks": ["outer"],
    "init": True,
    "stop_grace_period": "90s",
    "tty": False,
    "deploy": {
        "resources": {"limits": {"memory": "512m"}},
        "restart_policy": {"condition": "on-failure", "max_attempts": 3, "window": "1h"},
        "placement": {"constraints": ["node.role == worker"]},
        "replicas": 1,
    },
}


def stack() -> dict[str, Any]:
    compose = definition(**{key: OLD[key] for key in OLD if key not in ("image", "environment")})
    return {**compose, "networks": {"outer": {"external": True, "name": "demo-elsewhere"}}}


def record(swarm, **changes):
    """Changes the record behind the module's back."""
    spec = swarm.configs[RECORD]["Spec"]
    spec["Data"] = json.dumps({**json.loads(spec["Data"]), **changes})


def test_a_record_of_the_version_before_is_understood(swarm, call):
    """A job that was deployed by it must not be taken for another."""
    call(compose=[stack()])
    first = json.loads(swarm.configs[RECORD]["Spec"]["Data"])["definition"]
    node0 = {**first["services"]["node0"], "networks": ["default"]}
    old = {
        "services": {"node0": node0, "node1": OLD},
        "networks": {"default": {}, "outer": {"external": True, "name": "demo-elsewhere"}},
        "volumes": {},
        "configs": {},
        "secrets": {},
    }
    del node0["networks"]
    record(swarm, format=1, definition=old)
    assert call(compose=[stack()])["actions"] == []
    old["services"]["node1"]["environment"] = {"A": "2"}
    record(swarm, format=1, definition=old)
    assert call(compose=[stack()])["actions"] == ["update service node1: environment.A"]


@pytest.mark.parametrize(
    "said",
    [
        "dial unix /var/run/docker.sock: connect: no such file or directory",
        "dial tcp: lookup manager: no such host",
        'context "there": context not found',
        "rpc error: code = Unavailable desc = the route was not found",
    ],
)
def test_a_record_that_cannot_be_read_now_is_not_taken_for_none(swarm, call, said):
    call(compose=[definition()])
    swarm.refusals = {"config inspect": [said]}
    made = call(compose=[definition()])
    assert made["failed"]
    assert said in made["msg"]
    assert made["actions"] == []


def test_a_record_is_written_again_when_that_fails(swarm, call):
    call(compose=[definition()])
    swarm.refusals = {"config create": ["rpc error: code = Unknown desc = try later"]}
    assert not call(compose=[definition(command=["other"])]).get("failed")
    swarm.refusals = {}
    assert call(compose=[definition(command=["other"])])["actions"] == []


def parts():
    """One stack in two halves, each with a volume, a network and a config of its own."""
    found = []
    for number, name in enumerate(("node0", "node1")):
        service = {
            **definition()["services"][name],
            "networks": [f"net{number}"],
            "volumes": [f"vol{number}:/data"],
            "configs": [f"text{number}"],
        }
        found.append(
            {
                "services": {name: service},
                "networks": {f"net{number}": {"attachable": True}},
                "volumes": {f"vol{number}": {"labels": {"part": number}}},
                "configs": {f"text{number}": {"content": name}},
            }
        )
    return found


def test_parts_that_are_deployed_one_after_another_are_idempotent(swarm, call):
    first, second = parts()
    for part in (first, second):
        assert call(compose=[part], prune=False)["changed"]
    for part in (first, second, first):
        assert call(compose=[part], prune=False)["actions"] == []
    assert call(compose=[first, second])["actions"] == []
    # A change of one leaves the record of the other alone, also of what somebody did to it.
    swarm.run("service update --detach --env-add X=1 demo_node1")
    first["services"]["node0"]["command"] = ["other"]
    assert call(compose=[first], prune=False)["actions"] == ["update service node0: command.0"]
    assert call(compose=[second], prune=False)["actions"] == ["repair service node1: TaskTemplate.ContainerSpec.Env.X"]
    second["volumes"]["vol1"]["labels"] = {"part": "other"}
    assert call(compose=[second], prune=False)["actions"] == ["update volumes: vol1.labels.part"]
    assert call(compose=[second])["actions"][0] == "remove network demo_net0"
    assert call(compose=[second])["actions"] == []


def test_the_order_of_ports_is_no_difference(swarm, call):
    ports = ["80:80", "53:53/udp", "53:53", {"target": 8080, "published": 8081}]
    call(compose=[definition(ports=ports)])
    assert call(compose=[definition(ports=ports[::-1])])["actions"] == []
    written = {"mode": "ingress", "protocol": "tcp", "target": 80, "published": 80}
    assert call(compose=[definition(ports=[*ports[1:], written])])["actions"] == []
    # Nor where the engine lists them otherwise.
    swarm.service("node1")["Spec"]["EndpointSpec"]["Ports"].reverse()
    assert call(compose=[definition(ports=ports)])["actions"] == []


def test_the_definition_is_returned_as_it_is_sent(swarm, call):
    compose = definition(
        environment={"DB_PASS": "geheimnis", "A": "$$1"}, secrets=["token"], configs=["c"], ports=["80:80"]
    )
    compose.update(secrets={"token": {"content": "s3cret-of-many"}}, configs={"c": {"content": "text of the config"}})
    predicted = call(compose=[compose], check=True)["definition"]
    assert call(swarm_stack_info)["definition"] == {}
    made = call(compose=[compose])
    assert made["definition"] == predicted
    service = made["definition"]["services"]["node1"]
    assert service["ports"] == [{"mode": "ingress", "target": 80, "published": 80, "protocol": "tcp"}]
    assert service["environment"]["A"] == "$1"
    assert service["environment"]["DB_PASS"].startswith("(hidden ")
    assert made["definition"]["secrets"]["token"]["name"].startswith("demo_token_")
    info = call(swarm_stack_info)["definition"]
    for shown in (made["definition"], info):
        assert not any(text in json.dumps(shown) for text in ("geheimnis", "s3cret-of-many", "text of the config"))
    for section in made["definition"]:
        assert info[section].keys() == made["definition"][section].keys()
    # Sent as it was, it is the same stack.
    assert call(swarm_stack_info, name="demo_two")["definition"] == {}


@pytest.mark.parametrize(
    ("environment", "seen"),
    [({"LC_ALL": None}, None), ({"LC_ALL": ""}, None), ({"LC_ALL": "de_DE"}, "C"), ({"A": None}, "C"), ({}, "C")],
)
def test_docker_fills_in_nothing_that_is_only_the_modules(swarm, call, monkeypatch, environment, seen):
    """A variable without a value is filled in from the environment of docker's command, in which the module sets LC_ALL."""
    monkeypatch.delenv("LC_ALL", raising=False)
    call(compose=[definition(environment=environment)])
    (told,) = [told["env"] for told in swarm.seen if "deploy" in told["argv"]]
    assert told.get("LC_ALL") == seen


@pytest.mark.parametrize("text", ["party 🎉", "next\x85line", "\u2028", "\x7f", "\ufeff", "$$not a variable"])
def test_any_character_reaches_the_swarm(swarm, call, text):
    call(compose=[definition(environment={"A": text}, labels={"b": text})])
    (sent,) = [told["stdin"] for told in swarm.seen if "deploy" in told["argv"]]
    assert not any(character in sent for character in "\x85\u2028\x7f\ufeff")
    spec = swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert spec["Env"] == [f"A={text.replace('$$', '$')}"]
    assert call(compose=[definition(environment={"A": text}, labels={"b": text})])["actions"] == []


def test_what_is_not_utf_8_is_told(call, monkeypatch):
    monkeypatch.setenv("BROKEN", "a\udcff")
    made = call(compose=[definition(environment={"A": "$BROKEN"})])
    assert made["msg"] == "compose, or a variable that it uses, holds what is not UTF-8"


@pytest.mark.parametrize(
    "silent", ["stack deploy", "stack rm", "service rm", "config create", "config rm", "network rm"]
)
def test_no_command_is_waited_for_without_end(swarm, call, silent):
    call(compose=[{**definition(configs=["c"]), "configs": {"c": {"content": "1"}}}])
    swarm.docker.silent = [silent]
    call(
        compose=[
            {**definition(configs=["c"], networks=["n"]), "configs": {"c": {"content": "2"}}, "networks": {"n": {}}}
        ]
    )
    call(compose=[{"services": {"node1": definition()["services"]["node1"]}}])
    call(state="absent")
    swarm.docker.silent = []


class TestLargeRecords:
    """A config of an old engine holds 500 KiB, and a stack's ports alone can be more."""

    def test_it_fits_and_comes_back(self):
        ports = [{"target": number, "published": number} for number in range(20_000)]
        large = Record(definition={"services": {"s": {"image": "i", "ports": ports}}}, live={}, networks={"n": "1"})
        text = large.to_json()
        assert len(text) < 500 * 1024
        assert json.loads(text).keys() == {"format", "packed"}
        assert Record.from_json(text) == large

    def test_a_small_one_can_be_read(self):
        assert json.loads(Record(definition={"services": {}}).to_json())["definition"] == {"services": {}}

    def test_one_that_would_fill_the_memory(self):
        bomb = base64.b64encode(zlib.compress(b" " * 70_000_000)).decode()
        assert Record.from_json(json.dumps({"format": 3, "packed": bomb})) is None

    @pytest.mark.parametrize("packed", ["", "x", "!", "AAAA", None, 1])
    def test_one_that_is_none(self, packed):
        assert Record.from_json(json.dumps({"format": 3, "packed": packed})) is None


def test_the_order_of_mounts_is_no_difference() -> None:
    """`docker service update` sorts them, as when a job is paused for a backup and resumed."""
    volume, disk = {"Type": "volume", "Source": "s", "Target": "/s"}, {"Type": "tmpfs", "Target": "/dev/shm"}
    specs: list[dict[str, Any]] = [
        {"TaskTemplate": {"ContainerSpec": {"Image": "i", "Mounts": mounts}}}
        for mounts in ([volume, disk], [disk, volume])
    ]
    assert sort_lists(specs[0]) == sort_lists(specs[1])
    assert specs[0]["TaskTemplate"]["ContainerSpec"]["Mounts"] == [volume, disk]
    assert sort_lists({"TaskTemplate": {}, "Name": "n"}) == {"TaskTemplate": {}, "Name": "n"}
