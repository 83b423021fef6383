"""What swarm_stack promises, on a real swarm. Each call is made in check mode first, see Manager.apply."""

import copy
import json
import time
from typing import Any

import pytest
from stacks import Compose, Manager, service, two

STACK: Compose = two(environment={"COLOUR": "red", "API_TOKEN": "tok-1"})
for each in STACK["services"].values():
    each["command"] = ["sh", "-c", "sleep 1000", "--x=1", "--x=2"]
    each.update(configs=[{"source": "settings", "target": "/settings"}], secrets=["password"], networks=["own"])
STACK.update(
    configs={"settings": {"content": "one"}},
    secrets={"password": {"content": "first secret"}},
    networks={"own": {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}},
)


class TestLife:
    """One stack from its creation to its removal. Each test goes on where the one before it stopped."""

    def compose(self, **changes: Any) -> Compose:
        """As the last test that changed it left it, with changes of service b."""
        b = STACK["services"]["b"]
        b.update(changes)
        return STACK

    def present(self, manager: Manager, compose: Compose, *actions: str, **args: Any) -> dict[str, Any]:
        made = manager.succeed("life", compose, **args)
        assert made["actions"] == list(actions)
        return made

    def read(self, manager: Manager, path: str) -> str:
        """A file as the task of service b on host2 sees it."""
        container = manager.docker("ps -q --filter label=com.docker.swarm.service.name=life_b", host="host2")
        return manager.docker(f"exec {container} cat {path}", host="host2")

    def names(self, manager: Manager, kind: str) -> list[str]:
        listed = manager.docker(f"{kind} ls --format '{{{{.Name}}}}' --filter label=com.docker.stack.namespace=life")
        return [name for name in listed.split() if name != "life.swarm-stack"]

    def test_create(self, manager: Manager) -> None:
        made = self.present(
            manager, STACK, "create network life_own", "create service a", "create service b", wait_for="running"
        )
        assert {(task["service"], task["node"], task["state"]) for task in made["tasks"]} == {
            ("a", "host1", "running"),
            ("b", "host2", "running"),
        }
        assert self.read(manager, "/settings") == "one"
        assert self.read(manager, "/run/secrets/password") == "first secret"

    def test_no_op(self, manager: Manager) -> None:
        """With at most six docker commands on a converged stack of two services."""
        made = self.present(manager, STACK, wait_for="running")
        assert not made["changed"]
        assert made["calls"] <= 6

    def test_secrets_are_in_no_output(self, manager: Manager) -> None:
        compose = copy.deepcopy(STACK)
        compose["secrets"]["password"]["content"] = "another secret"
        compose["services"]["b"]["environment"]["API_TOKEN"] = "tok-3"
        args = json.dumps({"name": "life", "compose": compose})
        said = manager.ansible("ansible", "host1", "--become", "-m", "swarm_stack", "-a", args, "-vvv", "--check")
        assert "update service b: environment.API_TOKEN" in said
        assert "another secret" not in said
        diff = said[said.index("--- before") :]
        assert "API_TOKEN: (hidden" in diff
        assert "tok-" not in diff[: diff.index("host1 |")]

    def test_changed_image_environment_and_command(self, manager: Manager) -> None:
        changes = {"image": "shell:2", "environment": {"COLOUR": "blue", "API_TOKEN": "tok-2"}}
        changes["command"] = ["sh", "-c", "sleep 1000", "--x=3", "--x=2"]
        made = self.present(
            manager,
            self.compose(**changes),
            "update service b: command.3, environment.API_TOKEN, environment.COLOUR, image",
            wait_for="running",
        )
        (diff,) = made["diff"]
        assert diff["before_header"] == "service b"
        assert "COLOUR: red" in diff["before"]
        assert "COLOUR: blue" in diff["after"]
        assert next(task for task in made["tasks"] if task["service"] == "b")["image"] == "shell:2"

    def test_changed_content_of_config_and_secret(self, manager: Manager) -> None:
        STACK["configs"]["settings"]["content"] = "two"
        STACK["secrets"]["password"]["content"] = "second secret"
        made = self.present(
            manager,
            STACK,
            "update service a: configs.0.name, secrets.0.name",
            "update service b: configs.0.name, secrets.0.name",
            wait_for="running",
        )
        assert self.read(manager, "/settings") == "two"
        assert self.read(manager, "/run/secrets/password") == "second secret"
        assert len(self.names(manager, "config")) == len(self.names(manager, "secret")) == 1
        assert "second secret" not in str(made["diff"])
        (text,) = [part for part in made["diff"] if part["before_header"] == "config settings"]
        assert (text["before"], text["after"]) == ("one", "two")

    def test_drift_of_services(self, manager: Manager) -> None:
        manager.docker("service scale --detach life_a=2")
        manager.docker("service update --detach --env-add COLOUR=green --image shell:1 --label-add x=y life_b")
        self.present(
            manager,
            STACK,
            "repair service a: Mode.Replicated.Replicas",
            "repair service b: Labels.x, TaskTemplate.ContainerSpec.Env.COLOUR, TaskTemplate.ContainerSpec.Image",
        )
        manager.docker("service rm life_a")
        manager.docker("service update --detach --args 'sh -c \"sleep 999\"' life_b")
        changed = "repair service b: TaskTemplate.ContainerSpec.Args"
        self.present(manager, STACK, "create service a", changed, wait_for="running")

    @pytest.mark.parametrize("kind", ["config", "secret"])
    def test_drift_of_contents(self, manager: Manager, kind: str) -> None:
        """Gone, and another one in its place: swarm allows both only when no service uses it."""
        (name,) = self.names(manager, kind)
        target = "source=NAME,target=/settings" if kind == "config" else "source=NAME,target=password"
        for each in ("a", "b"):
            manager.docker(f"service update --detach --{kind}-rm {name} life_{each}")
        manager.docker(f"{kind} rm {name}")
        made = manager.succeed("life", STACK)
        assert [action.partition(":")[0] for action in made["actions"]] == ["repair service a", "repair service b"]
        for each in ("a", "b"):
            manager.docker(f"service update --detach --{kind}-rm {name} life_{each}")
        manager.docker(f"{kind} rm {name}; echo forged | docker {kind} create {name} -")
        manager.docker(f"service update --detach --{kind}-add {target.replace('NAME', name)} life_b")
        manager.docker(f"service update --detach --{kind}-add {target.replace('NAME', name)} life_a")
        self.present(
            manager,
            STACK,
            f"recreate {kind} {name} (it is not the one that was deployed)",
            "recreate service a: what it uses is recreated",
            "recreate service b: what it uses is recreated",
            wait_for="running",
        )
        assert self.read(manager, "/settings") == "two"
        assert self.read(manager, "/run/secrets/password") == "second secret"

    def test_drift_of_the_network(self, manager: Manager) -> None:
        manager.docker("service rm life_a life_b")
        remove = "until docker network rm life_own; do sleep 1; done; while docker network inspect life_own; do sleep 1; done"
        manager.lab.on("host1", "sh", "-c", f"({remove}) >/dev/null 2>&1", timeout=60)
        manager.docker("network create --driver overlay --label com.docker.stack.namespace=life life_own")
        self.present(
            manager,
            STACK,
            "recreate network life_own (it is not the one that was deployed)",
            "create service a",
            "create service b",
            wait_for="running",
        )
        assert self.mtu(manager) == "1400"

    def mtu(self, manager: Manager) -> str:
        return manager.docker(
            "network inspect life_own --format '{{index .Options \"com.docker.network.driver.mtu\"}}'"
        )

    def test_changed_network(self, manager: Manager) -> None:
        STACK["networks"]["own"]["driver_opts"]["com.docker.network.driver.mtu"] = "1390"
        self.present(
            manager,
            STACK,
            "recreate network life_own",
            "recreate service a: what it uses is recreated",
            "recreate service b: what it uses is recreated",
        )
        assert self.mtu(manager) == "1390"

    def test_moved(self, manager: Manager) -> None:
        """Whose task still runs where it should not is not running."""
        compose = self.compose()
        compose["services"]["b"]["deploy"]["placement"]["constraints"] = ["node.hostname == host1"]
        made = self.present(
            manager,
            compose,
            "update service b: deploy.placement.constraints.0",
            wait_for="running",
        )
        assert {task["node"] for task in made["tasks"] if task["desired_state"] == "running"} == {"host1"}

    def test_prune(self, manager: Manager) -> None:
        del STACK["services"]["b"]
        STACK["services"]["a"].update(networks=["other"], secrets=[])
        STACK["networks"] = {"other": {}}
        kept = manager.call(name="life", compose=[STACK], prune=False, check=True)
        assert not [action for action in kept["actions"] if "remove" in action]
        self.present(
            manager,
            STACK,
            "create network life_other",
            "remove network life_own",
            "update service a: networks.other, networks.own, secrets",
            "remove service b",
            wait_for="running",
        )
        assert self.names(manager, "network") == ["life_other"]
        assert self.names(manager, "secret") == []
        assert self.names(manager, "service") == ["life_a"]

    def test_removal(self, manager: Manager) -> None:
        made = manager.remove("life")
        assert made["actions"][:2] == ["remove service life_a", "remove network life_other"]
        assert not made["state"]["exists"]

    def test_removal_again(self, manager: Manager) -> None:
        made = manager.remove("life")
        assert not made["changed"]
        assert made["actions"] == []


class TestEnds:
    """How deployments end. Each test has a stack of its own."""

    def test_failing_task(self, manager: Manager, name: str) -> None:
        bad, good = two(second="echo one; echo two >&2; exit 3"), two(second="sleep 999")
        made = manager.fail(name, bad, wait_for="running")
        assert made["msg"].startswith(
            f"{name}_b on host2 failed with exit code 3: task: non-zero exit (3). Last 2 log lines:"
        )
        (failure,) = made["failures"]
        assert (failure["node"], failure["exit_code"], sorted(failure["log"])) == ("host2", 3, ["one", "two"])
        assert made["state"]["failed"]
        # Called again, it starts what failed again, and nothing else.
        made = manager.fail(name, bad, wait_for="running")
        assert made["actions"] == ["restart service b: failed on host2 with exit code 3"]
        made = manager.fail(name, bad, wait_for="running", redeploy="never")
        assert not made["changed"]
        # What is right then is not blamed for what was wrong before.
        made = manager.succeed(name, good, wait_for="running")
        assert made["actions"] == ["update service b: command.2"]
        # Swarm pauses an update that fails.
        made = manager.fail(name, bad, wait_for="running")
        assert made["failures"][0]["exit_code"] == 3

    def test_attempts(self, manager: Manager, name: str) -> None:
        """Failed is what failed in its last attempt."""
        again = {"restart_policy": {"condition": "on-failure", "max_attempts": 1, "delay": "1s"}}
        made = manager.fail(name, two(deploy=again, second="sleep 1; exit 4"), wait_for="complete", wait_timeout=60)
        assert "exit code 4" in made["msg"]
        assert len([task for task in made["tasks"] if task["service"] == "b"]) == 2

    def test_hints(self, manager: Manager, name: str) -> None:
        """Four ways to die, told apart, and swarm_stack_info knows them too."""
        compose = {
            "services": {
                "greedy": service(
                    "x=aaaaaaaa; while :; do x=$$x$$x; done", deploy={"resources": {"limits": {"memory": "16M"}}}
                ),
                "sick": service(healthcheck={"test": ["CMD-SHELL", "exit 1"], "interval": "1s", "retries": 1}),
                "unknown": {**service(), "command": ["nonsense"]},
                "unmounted": service(volumes=["/no/such/path:/x"]),
            }
        }
        manager.succeed(name, compose)
        deadline = time.monotonic() + 60
        while True:
            info = manager.call("swarm_stack_info", name=name)
            failures = {failure["service"]: failure for failure in info["failures"]}
            if len(failures) == 4 or time.monotonic() > deadline:
                break
        assert not info["changed"]
        assert (info["exists"], info["converged"], info["complete"], info["failed_for_good"]) == (
            True,
            False,
            False,
            True,
        )
        hints = {full.removeprefix(f"{name}_"): failure["hint"] for full, failure in failures.items()}
        assert "out of memory" in hints["greedy"]
        assert failures[f"{name}_greedy"]["exit_code"] == 137
        assert "health check failed" in hints["sick"]
        assert "command was not found" in hints["unknown"]
        assert "make /no/such/path on" in hints["unmounted"]

    def test_never_scheduled(self, manager: Manager, name: str) -> None:
        compose = two()
        compose["services"]["a"]["deploy"]["placement"]["constraints"] = ["node.labels.gpu == yes"]
        compose["services"]["b"]["deploy"]["resources"] = {
            "reservations": {"generic_resources": [{"discrete_resource_spec": {"kind": "NVIDIA-GPU", "value": 2}}]}
        }
        made = manager.fail(name, compose, wait_for="running", wait_timeout=3)
        assert f"Stack {name} is not running after 3 s: {name}_a is not scheduled: no suitable node" in made["msg"]
        assert "No node fulfils node.labels.gpu == yes" in made["msg"]
        assert f"{name}_b is not scheduled: no suitable node" in made["msg"]
        assert "No node has NVIDIA-GPU=2 free" in made["msg"]
        assert [failure["node"] for failure in made["failures"]] == ["", ""]

    def test_missing_image(self, manager: Manager, name: str) -> None:
        compose = two(image="shell:late")
        manager.docker("tag shell:1 shell:late", host="host1")
        manager.docker("rmi shell:late", host="host2", check=False)
        made = manager.fail(name, compose, wait_for="running", wait_timeout=60)
        assert made["msg"].startswith(f"{name}_b on host2 was rejected: No such image: shell:late.")
        assert "Image shell:late is not on host2: build it there, or load it there" in made["msg"]
        # Another image is not blamed for the rejections of the first, and neither is this one, now that it is there.
        made = manager.succeed(name, two(image="shell:1"), wait_for="running")
        manager.docker("tag shell:1 shell:late", host="host2")
        made = manager.succeed(name, compose, wait_for="running")

    def test_completion(self, manager: Manager, name: str) -> None:
        compose = two("echo done", "sleep 2; echo done")
        made = manager.succeed(name, compose, wait_for="complete")
        assert made["state"]["complete"]
        assert {task["exit_code"] for task in made["tasks"]} == {0}
        assert not manager.succeed(name, compose, wait_for="complete")["changed"]
        again = manager.succeed(name, compose, wait_for="complete", redeploy="always")
        assert again["actions"] == ["restart service a", "restart service b"]
        assert len(again["tasks"]) == 4

    def test_completion_with_failure(self, manager: Manager, name: str) -> None:
        """The other one would go on for long: the wait ends when the first has failed."""
        made = manager.fail(name, two("sleep 1000", "exit 5"), wait_for="complete", wait_timeout=100)
        assert "exit code 5" in made["msg"]
        assert made["running"]

    def test_timeout(self, manager: Manager, name: str) -> None:
        made = manager.fail(name, two("echo done", "echo hello; sleep 1000"), wait_for="complete", wait_timeout=8)
        assert f"Stack {name} is not complete after 8 s: {name}_b is still running on host2 since" in made["msg"]
        assert made["failures"][0]["log"] == ["hello"]

    def test_rollback(self, manager: Manager, name: str) -> None:
        keys = {"update_config": {"failure_action": "rollback", "monitor": "2s"}}
        good = {"services": {"b": service(on="host2", deploy=keys)}}
        bad = {"services": {"b": service("exit 6", on="host2", deploy=keys)}}
        manager.succeed(name, good, wait_for="running")
        made = manager.fail(name, bad, wait_for="running")
        assert "rolled back" in made["msg"]
        assert "exit code 6" in made["msg"]
        assert made["failures"][0]["update_state"].startswith("rollback")
        # The good one runs. That is not what is asked for, and is never reported to be.
        assert manager.fail(name, bad, wait_for="running")["changed"]
        manager.succeed(name, good, wait_for="running")
        assert not manager.succeed(name, good, wait_for="running")["changed"]

    def test_ready_pattern(self, manager: Manager, name: str) -> None:
        compose = two("sleep 2; echo step 1; sleep 1000", "echo step 1; sleep 1000")
        made = manager.succeed(name, compose, wait_for="running", ready_pattern=r"^step \d")
        assert made["state"]["converged"]
        made = manager.fail(name, compose, wait_for="running", ready_pattern="never", wait_timeout=1)
        assert f"{name}_a is running on host1, but its log has no line that matches 'never'" in made["msg"]

    def test_global_from_a_file(self, manager: Manager, name: str) -> None:
        compose = {
            "services": {"a": service(deploy={"mode": "global"}, configs=["text"])},
            "configs": {"text": {"file": "text"}},
        }
        for file, text in (("stack.json", json.dumps(compose)), ("text", "hello")):
            manager.lab.on("host1", "sh", "-c", f"printf %s '{text}' > /root/{file}")
        made = manager.succeed(
            name, "/root/stack.json", {"services": {"a": {"environment": ["X=1"]}}}, wait_for="running"
        )
        assert {task["node"] for task in made["tasks"]} == {"host1", "host2"}
        manager.lab.on("host1", "sh", "-c", "printf other > /root/text")
        made = manager.succeed(name, "/root/stack.json", {"services": {"a": {"environment": ["X=1"]}}})
        assert made["actions"] == ["update service a: configs.0.name"]


def test_info_of_nothing(manager: Manager) -> None:
    info = manager.call("swarm_stack_info", name="no-such-stack")
    assert (info["exists"], info["converged"], info["tasks"]) == (False, False, [])
