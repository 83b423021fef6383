"""What swarm_stack decides to do, and does: against the stand-in for a swarm."""

import json

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.record import Record
from swarm_stand_in.fixtures import definition


class TestPresent:
    def test_one_definition_needs_no_list(self, swarm, call):
        assert call(compose=definition())["changed"]
        assert not call(compose=[definition()])["changed"]

    def test_creates_and_then_does_nothing(self, swarm, call):
        predicted = call(compose=[definition()], check=True)
        assert swarm.services == {}
        made = call(compose=[definition()], wait_for="running")
        assert made["changed"]
        assert made["actions"] == predicted["actions"]
        assert made["actions"] == ["create network demo_default", "create service node0", "create service node1"]
        assert made["running"]
        assert made["state"]["converged"]
        again = call(compose=[definition()], wait_for="running")
        assert not again["changed"]
        assert again["calls"] <= 6
        assert again["diff"] == []

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"image": "trainer:2"}, "image"),
            ({"environment": {"A": "2"}}, "environment.A"),
            ({"command": ["walk"]}, "command.0"),
        ],
    )
    def test_a_change_rolls_one_service(self, swarm, call, change, path):
        call(compose=[definition()])
        predicted = call(compose=[definition(**change)], check=True)
        made = call(compose=[definition(**change)], wait_for="running")
        assert made["actions"] == predicted["actions"] == [f"update service node1: {path}"]
        part = path.partition(".")[0]
        assert made["changes"] == [{"verb": "update", "kind": "service", "name": "node1", "parts": [part]}]
        assert made["diff"] == predicted["diff"]
        assert [diff["before_header"] for diff in made["diff"]] == ["service node1"]
        assert not call(compose=[definition(**change)])["changed"]

    def test_old_command_line(self, swarm, call):
        swarm.engine = "20.10.24"
        assert call(compose=[definition()])["changed"]
        # It knows no --detach, and wants a version.
        assert swarm.count("stack", "deploy") == 3
        assert swarm.compose["version"] == "3.9"
        assert not call(compose=[definition()])["changed"]

    def test_a_new_command_line_is_given_no_version(self, swarm, call):
        """So that it goes by its newest schema, whatever the file says."""
        call(compose=[{"version": "3.1", **definition(init=True)}])
        assert "version" not in swarm.compose

    def test_dollar_signs_reach_the_container(self, swarm, call):
        call(compose=[definition(command=["echo", "$$HOME"])])
        assert swarm.compose["services"]["node1"]["command"] == ["echo", "$$HOME"]
        assert swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"] == ["echo", "$HOME"]

    def test_deploy_error_is_shown(self, swarm, call):
        swarm.refusals = {"stack deploy": ["services.node0 Additional property x is not allowed"]}
        result = call(compose=[definition()])
        assert result["failed"]
        assert "Additional property x" in result["msg"]

    def test_missing_external_objects(self, swarm, call):
        compose = definition(networks=["ddp"], configs=["c"], secrets=["s"])
        compose["networks"] = {"ddp": {"external": True, "name": "ddp-net"}}
        compose["configs"] = {"c": {"external": True}}
        compose["secrets"] = {"s": {"external": {"name": "real"}}}
        result = call(compose=[compose])
        assert result["failed"]
        assert not result["changed"]
        for name in ("network ddp-net", "config c", "secret real"):
            assert f"{name} is external" in result["msg"]
        assert call(compose=[compose], check=True)["changed"]

    def test_external_network_of_the_wrong_scope(self, swarm, call):
        swarm.run("network create --driver bridge ddp-net")
        compose = definition(networks=["ddp-net"])
        compose["networks"] = {"ddp-net": {"external": True}}
        assert "of scope local" in call(compose=[compose])["msg"]

    def test_host_network_needs_no_overlay(self, swarm, call):
        compose = definition(networks=["h"])
        compose["networks"] = {"h": {"external": True, "name": "host"}}
        assert not call(compose=[compose]).get("failed")


class TestDrift:
    def repaired(self, call, action):
        predicted = call(compose=[definition()], check=True)
        made = call(compose=[definition()], wait_for="running")
        assert predicted["actions"] == made["actions"] == [action]
        assert not call(compose=[definition()])["changed"]
        return made

    def test_scaled(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service scale --detach demo_node0=3")
        made = self.repaired(call, "repair service node0: Mode.Replicated.Replicas")
        assert "Mode.Replicated.Replicas: 3" in made["diff"][0]["before"]
        assert "Mode.Replicated.Replicas: 1" in made["diff"][0]["after"]

    def test_edited(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service update --detach --env-add X=1 demo_node0")
        self.repaired(call, "repair service node0: TaskTemplate.ContainerSpec.Env.X")

    def test_removed(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service rm demo_node1")
        self.repaired(call, "create service node1")

    def test_force_updates_are_no_drift(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service update --detach --force demo_node0")
        assert not call(compose=[definition()])["changed"]

    def test_network_recreated_by_another_hand(self, swarm, call):
        call(compose=[definition()])
        network = swarm.swarm.networks.pop(swarm.networks["demo_default"]["Id"])
        swarm.swarm.networks["other" * 5] = {**network, "Id": "other" * 5}
        made = call(compose=[definition()])
        assert made["actions"][0] == "recreate network demo_default (it is not the one that was deployed)"
        assert any("missing network" in diff["before"] for diff in made["diff"])
        assert not call(compose=[definition()])["changed"]

    def test_network_with_another_definition(self, swarm, call):
        call(compose=[definition()])
        compose = {**definition(), "networks": {"default": {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}}}
        swarm.busy_networks = 2
        made = call(compose=[compose])
        assert made["actions"] == [
            "recreate network demo_default",
            "recreate service node0: what it uses is recreated",
            "recreate service node1: what it uses is recreated",
        ]
        assert not call(compose=[compose])["changed"]

    def test_network_that_does_not_go(self, swarm, call):
        call(compose=[definition()])
        swarm.busy_networks = 1000
        compose = {**definition(), "networks": {"default": {"attachable": True}}}
        assert "Cannot remove network demo_default" in call(compose=[compose])["msg"]

    def test_network_that_somebody_else_needs(self, swarm, call):
        """Swarm would refuse to remove it, after our services had been taken down."""
        call(compose=[definition()])
        other = {"services": {"front": {"image": "web:1", "networks": ["theirs"]}}}
        other["networks"] = {"theirs": {"external": True, "name": "demo_default"}}
        swarm.run("stack deploy --detach=true -c - web", stdin=json.dumps({"version": "3.9", **other}))
        compose = {**definition(), "networks": {"default": {"attachable": True}}}
        for check in (True, False):
            result = call(compose=[compose], check=check)
            assert result["failed"]
            assert not result["changed"]
            assert "demo_default must be removed, and web_front of another stack uses it" in result["msg"]
        assert "demo_node0" in swarm.services

    def test_network_that_a_container_of_no_service_needs(self, swarm, call):
        """Where it runs does not matter. Its name is known while this host has a container on the network, too."""
        attachable = {**definition(), "networks": {"default": {"attachable": True}}}
        call(compose=[attachable])
        here = swarm.swarm.attach("host0", "mine", "demo_default")
        there = swarm.swarm.attach("host1", "theirs", "demo_default")
        swarm.swarm.attach("host1", "elsewhere", "demo-elsewhere")
        assert not call(compose=[attachable]).get("failed")
        short = there["Spec"]["NetworkAttachmentSpec"]["ContainerID"][:12]
        swarm.refusals = {"network inspect": ["boom"]}
        assert f"container {short} on host1, which no service made" in call(compose=[definition()])["msg"]
        both = "container mine on host0, container theirs on host1"
        for task, users in ((here, both), (there, f"container {short} on host1")):
            for check in (True, False):
                result = call(compose=[definition()], check=check)
                assert result["failed"]
                assert not result["changed"]
                assert result["msg"] == (
                    f"Stack demo cannot be deployed: demo_default must be removed, and {users}, which no service "
                    "made, uses it: stop it, or take it off the network (docker network disconnect NETWORK CONTAINER on that "
                    "host), and call again"
                )
            assert "demo_node0" in swarm.services
            swarm.swarm.detach(task)
        assert not call(compose=[definition()]).get("failed")

    @pytest.mark.parametrize(("desired", "state"), [("remove", "running"), ("running", "shutdown")])
    def test_network_that_a_container_needed(self, swarm, call, desired, state):
        """Swarm looks at both when it removes a network."""
        attachable = {**definition(), "networks": {"default": {"attachable": True}}}
        call(compose=[attachable])
        task = swarm.swarm.attach("host0", "mine", "demo_default")
        task["DesiredState"], task["Status"]["State"] = desired, state
        assert not call(compose=[definition()], check=True).get("failed")

    @pytest.mark.parametrize("engine", ["20.10.24", "26.1.5", "28.5.1"])
    def test_docker_is_asked_before_services_are_taken_down(self, swarm, call, engine):
        """For a definition that it would refuse then. Docker 20.10 has no command that only looks."""
        swarm.engine = engine
        call(compose=[definition()])
        compose = {**definition(), "networks": {"default": {"attachable": True}}}
        swarm.refusals = {"stack config": ["services.node1 is wrong", "services.node1 is wrong"]}
        for check in (True, False):
            result = call(compose=[compose], check=check)
            assert bool(result.get("failed")) == (engine != "20.10.24")
            if result.get("failed"):
                assert result["msg"] == "docker stack config: Error response from daemon: services.node1 is wrong"
                assert not result["changed"]
                assert swarm.count("service", "rm") == 0
        assert not call(compose=[compose]).get("failed")

    def test_network_that_a_service_needs_which_is_not_described(self, swarm, call):
        call(compose=[definition()])
        compose = {**definition(), "networks": {"default": {"attachable": True}}}
        del compose["services"]["node1"]
        result = call(compose=[compose], prune=False)
        assert "demo_default must be created again, and service node1 uses it, which is not described" in result["msg"]
        assert "demo_node1" in swarm.services
        assert not call(compose=[compose], prune=True).get("failed")

    @pytest.mark.parametrize("kind", ["config", "secret"])
    def test_another_content_by_the_same_name(self, swarm, call, kind):
        compose = definition(**{f"{kind}s": ["c"]})
        compose[f"{kind}s"] = {"c": {"content": "geheimnis"}}
        call(compose=[compose])
        (name,) = [name for name in getattr(swarm, f"{kind}s") if "_c_" in name]
        title = kind.capitalize()
        (used,) = swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"][f"{title}s"]
        swarm.swarm.edit("demo_node1", lambda spec: spec["TaskTemplate"]["ContainerSpec"].pop(f"{title}s"))
        swarm.run(f"{kind} rm {name}")
        forged = {**used, f"{title}ID": swarm.run(f"{kind} create {name} -", stdin="forged").strip()}
        swarm.swarm.edit(
            "demo_node1", lambda spec: spec["TaskTemplate"]["ContainerSpec"].update({f"{title}s": [forged]})
        )
        swarm.not_theirs(kind, name)
        predicted = call(compose=[compose], check=True)
        made = call(compose=[compose])
        assert predicted["actions"] == made["actions"]
        assert made["actions"] == [
            f"recreate {kind} {name} (it is not the one that was deployed)",
            "recreate service node1: what it uses is recreated",
        ]
        assert not call(compose=[compose])["changed"]

    def test_what_is_rolled_back_at_once_is_not_recorded_as_asked_for(self, swarm, call):
        """The update may fail and be taken back before the record of what was deployed is written."""
        call(compose=[definition()])
        swarm.updates = {"demo_node1": "rollback_started"}
        call(compose=[definition(image="trainer:2")])
        swarm.updates = {}
        assert call(compose=[definition(image="trainer:2")], redeploy="never")["actions"] == ["adopt service node1"]

    def test_without_a_record_it_is_adopted_once(self, swarm, call):
        call(compose=[definition()])
        swarm.run("config rm demo.swarm-stack")
        assert call(compose=[definition()])["actions"] == ["adopt service node0", "adopt service node1"]
        assert not call(compose=[definition()])["changed"]

    @pytest.mark.parametrize("data", ["{", "[]", '{"format": 99}', '{"format": 1, "other": 1}'])
    def test_a_record_of_another_kind_counts_as_none(self, data):
        assert Record.from_json(data) is None


class TestPrune:
    def test_service_and_network(self, swarm, call):
        compose = definition(networks=["extra"])
        compose["networks"] = {"extra": None}
        call(compose=[compose])
        del compose["services"]["node1"]
        assert not call(compose=[compose], prune=False, check=True)["changed"]
        made = call(compose=[compose])
        assert made["actions"] == ["remove network demo_extra", "remove service node1"]
        assert list(swarm.services) == ["demo_node0"]
        assert "demo_extra" not in swarm.networks
        assert not call(compose=[compose])["changed"]

    @pytest.mark.parametrize("prune", [True, False])
    def test_a_service_that_goes_while_another_changes(self, swarm, call, prune):
        call(compose=[definition()])
        compose = definition()
        del compose["services"]["node1"]
        compose["services"]["node0"]["image"] = "trainer:2"
        call(compose=[compose], prune=prune)
        assert set(swarm.services) == {"demo_node0", *([] if prune else ["demo_node1"])}
        assert not call(compose=[compose], prune=prune)["changed"]


class TestWhatDockerIsTold:
    """Options of the module that end as options of docker."""

    def deploys(self, swarm):
        return [call for call in swarm.calls if call[:2] == ("stack", "deploy")]

    @pytest.mark.parametrize("engine", ["20.10.24", "26.1.5"])
    @pytest.mark.parametrize("wanted", [True, False])
    def test_registry_auth(self, swarm, call, engine, wanted):
        swarm.engine = engine
        call(compose=[definition()], with_registry_auth=wanted)
        assert ["--with-registry-auth" in told for told in self.deploys(swarm)] == [wanted] * (1 + 2 * (engine < "26"))
        call(compose=[definition()], with_registry_auth=wanted, redeploy="always")
        updates = [told for told in swarm.calls if told[:2] == ("service", "update")]
        assert ["--with-registry-auth" in told for told in updates] == [wanted] * 2

    @pytest.mark.parametrize("resolve", [None, "never", "changed", "always"])
    def test_who_asks_a_registry(self, swarm, call, resolve):
        """Docker says for which images it could not."""
        options = {} if resolve is None else {"resolve_image": resolve}
        made = call(compose=[definition()], **options)
        assert ("could not be accessed" in str(made.get("warnings"))) == (resolve in ("changed", "always"))
        made = call(compose=[definition(environment={"A": "2"})], **options)
        assert ("could not be accessed" in str(made.get("warnings"))) == (resolve == "always")

    @pytest.mark.parametrize("engine", ["20.10.24", "26.1.5"])
    def test_relative_paths_are_those_of_the_first_file(self, swarm, call, tmp_path, engine):
        swarm.engine = engine
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        compose = definition(volumes=["./data:/data", {"type": "bind", "source": "more", "target": "/more"}])
        (tmp_path / "first" / "stack.json").write_text(json.dumps(compose))
        (tmp_path / "second" / "stack.json").write_text(json.dumps({"services": {"node1": {"hostname": "h"}}}))
        made = call(compose=[str(tmp_path / "first" / "stack.json"), str(tmp_path / "second" / "stack.json")])
        assert made["changed"]
        mounts = swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"]
        assert [mount["Source"] for mount in mounts] == [f"{tmp_path}/first/data", f"{tmp_path}/first/more"]

    def test_the_home_directory_is_no_volume(self, swarm, call, monkeypatch):
        monkeypatch.setenv("HOME", "/home/somebody")
        call(compose=[definition(volumes=["~/data:/data"])])
        (mount,) = swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"]
        assert (mount["Type"], mount["Source"]) == ("bind", "/home/somebody/data")

    def test_a_local_network_of_the_same_name_is_another_one(self, swarm, call):
        swarm.run("network create --driver bridge demo_default")
        made = call(compose=[definition()])
        assert made["actions"][0] == "create network demo_default"
        assert swarm.networks["demo_default"]["Scope"] == "swarm"
        assert not call(compose=[definition()])["changed"]


class TestWhatDockerKeeps:
    def test_an_image_that_somebody_changed(self, swarm, call):
        """Docker takes the live service's image over, as long as the definition's is the one that it remembers."""
        call(compose=[definition()])
        swarm.run("service update --detach --image other:1 demo_node1")
        predicted = call(compose=[definition()], check=True)
        made = call(compose=[definition()], wait_for="running")
        assert predicted["actions"] == made["actions"] == ["repair service node1: TaskTemplate.ContainerSpec.Image"]
        assert swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "trainer:1"
        assert swarm.newest("demo_node1")["Spec"]["ContainerSpec"]["Image"] == "trainer:1"
        assert not call(compose=[definition()])["changed"]

    def test_an_image_that_somebody_changed_while_another_was_asked_for(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service update --detach --image other:1 demo_node0")
        swarm.run("service update --detach --image other:1 demo_node1")
        made = call(compose=[definition(image="trainer:2")], wait_for="running")
        assert [action.partition(":")[0] for action in made["actions"]] == [
            "repair service node0",
            "update service node1",
            "repair service node1",
        ]
        images = {
            name: service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] for name, service in swarm.services.items()
        }
        assert images == {"demo_node0": "trainer:1", "demo_node1": "trainer:2"}
        assert not call(compose=[definition(image="trainer:2")])["changed"]

    def test_a_stack_that_was_deployed_by_hand_with_another_image(self, swarm, call):
        text = json.dumps({"version": "3.9", **definition()})
        swarm.run("stack deploy --detach=true --resolve-image never -c - demo", stdin=text)
        swarm.run("service update --detach --image other:1 demo_node1")
        assert call(compose=[definition()])["actions"] == ["adopt service node0", "adopt service node1"]
        assert swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "trainer:1"

    def test_services_that_are_not_described_are_not_restarted(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "boom")}
        call(compose=[definition()])
        compose = definition()
        del compose["services"]["node1"]
        for redeploy in ("failed", "always"):
            made = call(compose=[compose], prune=False, redeploy=redeploy)
            assert [action for action in made["actions"] if "node1" in action] == []
        assert len(swarm.swarm.tasks_of("demo_node1")) == 1
        assert len(swarm.swarm.tasks_of("demo_node0")) == 2
