"""Who cannot be asked, what is refused before anything is asked, and swarm_stack_info."""

import json
import re

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import ComposeError
from ansible_collections.ddp.swarm.plugins.modules import swarm_stack_info
from swarm_stand_in.fixtures import definition
from test_stack_definition import prepare, service


class TestRefusals:
    @pytest.mark.parametrize(
        ("said", "info", "sentence"),
        [
            ("not a swarm manager", {"LocalNodeState": "inactive"}, "host1 is not part of a swarm"),
            (
                "not a swarm manager",
                {"LocalNodeState": "active", "RemoteManagers": [{"Addr": "192.0.2.1:2377"}]},
                r"host1 is a swarm worker, not a manager: run this on a manager \(192.0.2.1:2377\)",
            ),
            ("Swarm is encrypted and needs to be unlocked", {"LocalNodeState": "locked"}, "swarm on host1 is locked"),
            (
                "The swarm does not have a leader",
                {"LocalNodeState": "active", "ControlAvailable": True},
                "swarm of host1 has no quorum",
            ),
            ("x", {"LocalNodeState": "error", "Error": "bad certificate"}, "swarm state error: bad certificate"),
            ("oops", {"LocalNodeState": "active", "ControlAvailable": True}, "swarm of host1 does not answer: .*oops"),
        ],
    )
    @pytest.mark.parametrize("state", ["present", "absent"])
    def test_hosts_that_cannot_manage(self, swarm, call, said, info, sentence, state):
        swarm.refuse, swarm.info, swarm.host = said, info, "host1"
        result = call(state=state, compose=[definition()])
        assert result["failed"]
        assert re.search(sentence, result["msg"])
        assert "\n" not in result["msg"]

    @pytest.mark.parametrize("engine", ["20.10.24", "26.1.5", "28.5.1"])
    def test_no_engine(self, swarm, call, engine):
        swarm.engine, swarm.off = engine, True
        message = call(compose=[definition()])["msg"]
        assert re.search(r"^Docker on \S+ does not answer: (docker info: )?Cannot connect", message)

    @pytest.mark.parametrize("key", ["shm_size", "privileged", "devices", "ipc", "network_mode", "build"])
    def test_ignored_keys(self, swarm, call, key):
        result = call(compose=[definition(**{key: "x"})])
        assert f"service node1: {key} has no effect: " in result["msg"]
        assert swarm.calls == []

    def test_not_strict(self, swarm, call):
        made = call(compose=[definition(shm_size="1g", depends_on=["node0"])], strict=False)
        assert made["changed"]
        assert "shm_size" not in swarm.compose["services"]["node1"]
        assert not call(compose=[definition()])["changed"]

    def test_the_longest_name(self, swarm, call):
        """With what the record's name adds it has 64 characters."""
        name = swarm.mine = "a" * 52
        assert call(name=name, compose=[definition()])["changed"]
        assert not call(name=name, compose=[definition()])["changed"]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ({"name": "a b", "compose": [{}]}, "is not a name for a stack"),
            ({"name": "a" * 53, "compose": [{}]}, "is longer than 52 characters"),
            ({"compose": [{}], "wait_timeout": -1}, "must not be negative"),
            ({"compose": [{}], "ready_pattern": "("}, "not a regular expression"),
            ({}, "compose"),
            ({"compose": [{}]}, "defines no service"),
            ({"compose": []}, "defines no service"),
        ],
    )
    def test_parameters(self, swarm, call, args, message):
        assert message in call(**args)["msg"]


class TestInfo:
    def test_of_a_running_stack(self, swarm, call):
        call(compose=[definition()])
        info = call(swarm_stack_info)
        assert info["exists"]
        assert info["converged"]
        assert info["running"]
        assert {task["node"] for task in info["tasks"]} == {"host1"}
        assert [service["name"] for service in info["services"]] == ["node0", "node1"]
        assert info["created_at"] == min(service["CreatedAt"] for service in swarm.services.values())
        assert not info["changed"]

    def test_of_a_stack_whose_record_is_packed(self, swarm, call):
        long = {f"VARIABLE_{number}": f"{number:09d}" * 20 for number in range(3000)}
        call(compose=[definition(environment=long)])
        assert call(swarm_stack_info)["definition"]["services"]["node1"]["environment"] == long

    def test_of_a_failed_stack(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 137, "task: non-zero exit (137)")}
        call(compose=[definition()])
        swarm.refusals = {"service logs": ["no log for you"]}
        info = call(swarm_stack_info, log_lines=5)
        assert not info.get("failed")
        assert info["failed_for_good"]
        assert "out of memory" in info["failures"][0]["hint"]
        assert info["failures"][0]["log"] == ["(no log: Error response from daemon: no log for you)"]

    def test_of_nothing(self, swarm, call):
        info = call(swarm_stack_info)
        assert (info["exists"], info["services"], info["tasks"], info["created_at"]) == (False, [], [], "")

    def test_on_a_worker(self, swarm, call):
        swarm.refuse, swarm.info = "no manager", {"LocalNodeState": "active"}
        assert "is a swarm worker" in call(swarm_stack_info)["msg"]


class TestKeys:
    @pytest.mark.parametrize(
        "compose",
        [
            {**service(), "version": "3.8", "name": "demo", "x-any": 1},
            service(**{"x-any": 1}, deploy={"x-any": 1}),
            service(ports=[80, "80:80", "0.0.0.0:80:80", {"target": 80}, "8080"]),
            service(ports=None, deploy={"resources": {"reservations": None}}),
            {**service(networks={"n": {"aliases": ["a"]}, "m": None}), "networks": {"n": None, "m": None}},
        ],
    )
    def test_what_is_in_order(self, compose):
        assert prepare(compose).warnings == []

    @pytest.mark.parametrize(
        ("compose", "kept", "sentences"),
        [
            ({"include": ["x"], **service()}, {}, ["top level: include is not supported: merge several compose entries"]),
            ({"models": {}, **service()}, {}, ["top level: models is not supported: docker stack does not know it"]),
            (service(nonsense=1), {}, ["service s: nonsense is not a key that docker stack knows"]),
            (service(tmpfs="/x", scale=2), {}, ["service s: tmpfs has no effect", "service s: scale has no effect"]),
            (service(deploy={"nonsense": 1, "replicas": 2}), {"deploy": {"replicas": 2}},
             ["service s: deploy.nonsense is not a key that docker stack knows"]),
            (service(deploy={"resources": {"reservations": {"devices": [], "cpus": "1"}}}),
             {"deploy": {"resources": {"reservations": {"cpus": "1"}}, "replicas": 1}},
             ["service s: deploy.resources.reservations.devices has no effect"]),
            ({**service(networks={"n": {"priority": 1, "ipv4_address": "192.0.2.1", "aliases": ["a"]}}), "networks": {"n": {}}},
             {"networks": {"n": {"aliases": ["a"]}}},
             ["service s: networks.n.ipv4_address has no effect", "service s: networks.n.priority has no effect"]),
        ],
    )  # fmt: skip
    def test_what_is_refused_is_left_out_with_a_warning_if_that_is_wanted(self, compose, kept, sentences):
        text = json.dumps(compose)
        prepared = prepare(json.loads(text), strict=False)
        assert prepared.definition["services"]["s"] == {"image": "i", "deploy": {"replicas": 1}, **kept}
        assert len(prepared.warnings) == len(sentences)
        for warning, sentence in zip(prepared.warnings, sentences, strict=True):
            assert warning.startswith(sentence)
            assert warning.endswith(" (left out)")
        with pytest.raises(ComposeError) as caught:
            prepare(json.loads(text))
        assert str(caught.value) == "; ".join(warning.removesuffix(" (left out)") for warning in prepared.warnings)

    @pytest.mark.parametrize("port", ["127.0.0.1:80:80", "[::1]:80:80"])
    def test_an_address_that_swarm_ignores_stays_with_a_warning(self, port):
        prepared = prepare(service(ports=["81:81", port]), strict=False)
        assert [entry["published"] for entry in prepared.definition["services"]["s"]["ports"]] == [80, 81]
        assert prepared.warnings == [
            f"service s: the address in ports {port} has no effect: swarm publishes on all addresses of a node"
        ]

    def test_another_name_of_the_stack_is_not_used(self):
        assert prepare({**service(), "name": "other"}).warnings == [
            "top level: name other is not used, the stack is called demo"
        ]

    @pytest.mark.parametrize(
        ("restart", "policy"),
        [
            ("always", {"condition": "any"}),
            ("unless-stopped", {"condition": "any"}),
            ("on-failure", {"condition": "on-failure"}),
            ("on-failure:3", {"condition": "on-failure", "max_attempts": 3}),
            ("on-failure:0", {"condition": "on-failure"}),
        ],
    )
    def test_restart_counts_where_there_is_no_policy(self, restart, policy):
        prepared = prepare(service(restart=restart))
        assert prepared.definition["services"]["s"] == {
            "image": "i",
            "deploy": {"restart_policy": policy, "replicas": 1},
        }
        assert prepared.warnings == []

    @pytest.mark.parametrize(
        ("parts", "said"),
        [
            ([service(restart="always", deploy={"restart_policy": {}})], "beside deploy.restart_policy"),
            ([service(restart="always"), service(deploy={"restart_policy": {}})], "beside deploy.restart_policy"),
            ([service(restart="no")], "swarm would start its tasks again and again: use deploy.restart_policy"),
        ],
    )
    def test_restart_is_refused_where_it_has_no_effect(self, parts, said):
        with pytest.raises(ComposeError, match=said):
            prepare(*parts)
        prepared = prepare(*parts, strict=False)
        assert "restart" not in prepared.definition["services"]["s"]
        assert [said in warning for warning in prepared.warnings] == [True]

    @pytest.mark.parametrize("restart", ["sometimes", "on-failure:x", "on-failure:-1", ":3", 3, ["always"]])
    def test_restart_that_docker_does_not_take(self, restart):
        with pytest.raises(ComposeError, match="^service s: restart"):
            prepare(service(restart=restart))
