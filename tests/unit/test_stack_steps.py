"""What swarm_stack plans and then does, step by step: which services, which contents, which words to docker."""

import json
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.stack import module
from ansible_collections.ddp.swarm.plugins.module_utils.stack.apply import (
    create_contents,
    create_random_secrets,
    prune_contents,
    remove_networks,
    stack_deploy,
)
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import Content, Prepared
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import Live
from ansible_collections.ddp.swarm.plugins.module_utils.stack.wait import StackFailure
from ansible_collections.ddp.swarm.plugins.modules import swarm_stack
from docker_stand_in import run
from swarm_stand_in.fixtures import STACK, definition


def told(*answers):
    """A docker that gives these answers, the last one for ever, and keeps what it was asked."""
    left, asked = list(answers), []

    def run(*words, **options):
        asked.append((words, options))
        return left.pop(0) if len(left) > 1 else left[0]

    return SimpleNamespace(run=run, asked=asked)


class TestPlans:
    def deploy_by_hand(self, swarm, compose):
        text = json.dumps({"version": "3.9", **compose})
        swarm.run("stack deploy --detach=true --resolve-image never -c - demo", stdin=text)

    def volumes(self, size):
        compose = definition(volumes=[{"type": "volume", "source": "v", "target": "/v"}])
        return {**compose, "volumes": {"v": {"driver_opts": {"size": size}}}}

    def test_volumes_that_changed(self, swarm, call):
        made = call(compose=[self.volumes("1g")])
        assert [action for action in made["actions"] if "volume" in action] == []
        assert "volumes" not in [diff["before_header"] for diff in made["diff"]]
        made = call(compose=[self.volumes("2g")])
        assert made["actions"] == ["update volumes: v.driver_opts.size"]
        (diff,) = made["diff"]
        assert (diff["before_header"], "size: 1g" in diff["before"], "size: 2g" in diff["after"]) == (
            "volumes",
            True,
            True,
        )
        assert swarm.compose["volumes"]["v"]["driver_opts"] == {"size": "2g"}
        assert not call(compose=[self.volumes("2g")])["changed"]

    def test_volumes_of_which_nothing_is_known(self, swarm, call):
        call(compose=[self.volumes("1g")])
        swarm.run("config rm demo.swarm-stack")
        made = call(compose=[self.volumes("1g")])
        assert made["actions"] == ["adopt service node0", "adopt service node1"]
        assert made["diff"][-1]["before_header"] == "volumes"
        assert made["diff"][-1]["before"] == ""

    @pytest.mark.parametrize(
        ("image", "wanted"), [("trainer:1@sha256:00", "trainer:1"), ("trainer:1", "trainer:1@sha256:00")]
    )
    def test_a_digest_makes_no_other_image(self, swarm, call, image, wanted):
        self.deploy_by_hand(swarm, definition())
        swarm.run(f"service update --detach --image {image} demo_node1")
        assert call(compose=[definition(image=wanted)])["actions"] == ["adopt service node0", "adopt service node1"]
        assert swarm.count("service", "update") == 0

    def test_a_service_that_somebody_else_added_is_adopted(self, swarm, call):
        call(compose=[definition()])
        compose = definition()
        compose["services"]["node2"] = definition()["services"]["node0"]
        self.deploy_by_hand(swarm, compose)
        made = call(compose=[compose])
        assert made["actions"] == ["adopt service node2"]
        assert [diff["before_header"] for diff in made["diff"]] == ["service node2 (not deployed by this module)"]
        assert not call(compose=[compose])["changed"]

    def two_networks(self, attachable):
        compose = definition(networks=["second"])
        compose["networks"] = {"default": None, "second": {"attachable": attachable}}
        return compose

    def test_only_who_is_on_a_network_is_recreated_with_it(self, swarm, call):
        call(compose=[self.two_networks(False)])
        first = swarm.service("node0")["ID"]
        made = call(compose=[self.two_networks(True)], wait_for="running")
        assert made["actions"] == [
            "recreate network demo_second",
            "recreate service node1: what it uses is recreated",
        ]
        (diff,) = made["diff"]
        assert (diff["before"], diff["after"]) == ("driver: overlay\n", "attachable: true\n")
        assert swarm.service("node0")["ID"] == first
        assert made["state"]["converged"]

    def test_networks_come_and_go_with_their_differences(self, swarm, call):
        made = call(compose=[self.two_networks(False)])
        networks = [diff for diff in made["diff"] if "network" in diff["before_header"]]
        assert [(diff["before_header"], diff["before"], diff["after"]) for diff in networks] == [
            ("network demo_default", "", "driver: overlay\n"),
            ("network demo_second", "", "driver: overlay\n"),
        ]
        made = call(compose=[definition()])
        assert made["actions"] == ["remove network demo_second", "update service node1: networks"]
        networks = [diff for diff in made["diff"] if "network" in diff["before_header"]]
        assert [(diff["before_header"], diff["before"], diff["after"]) for diff in networks] == [
            ("network demo_second", "driver: overlay\n", "")
        ]
        record = json.loads(swarm.configs["demo.swarm-stack"]["Spec"]["Data"])
        assert record["networks"] == {"demo_default": swarm.networks["demo_default"]["Id"]}

    def test_a_removed_service_is_shown(self, swarm, call):
        call(compose=[definition()])
        compose = definition()
        del compose["services"]["node1"]
        (diff,) = call(compose=[compose])["diff"]
        assert (diff["before_header"], diff["after"]) == ("service node1", "")
        assert "Image: trainer:1" in diff["before"]

    def test_what_changed_and_drifted_shows_both(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service update --detach --env-add X=1 demo_node1")
        made = call(compose=[definition(command=["walk"])])
        assert made["actions"] == [
            "update service node1: command.0",
            "repair service node1: TaskTemplate.ContainerSpec.Env.X",
        ]
        (diff,) = made["diff"]
        assert "- run" in diff["before"]
        assert "- walk" in diff["after"]
        assert "TaskTemplate.ContainerSpec.Env.X: 1" in diff["before"]
        assert "Env.X" not in diff["after"]


class TestRestarts:
    def failing(self, swarm, call, *names):
        swarm.outcomes = {f"demo_{name}": ("failed", 1, "crash") for name in names}
        call(compose=[definition()])
        swarm.outcomes = {}

    def restarts(self, swarm):
        return [call[-1] for call in swarm.calls if call[:2] == ("service", "update") and "--force" in call]

    def test_one_that_changed_beside_one_that_failed(self, swarm, call):
        self.failing(swarm, call, "node1")
        compose = definition()
        compose["services"]["node0"]["image"] = "trainer:2"
        made = call(compose=[compose], wait_for="running")
        assert made["actions"] == [
            "update service node0: image",
            "restart service node1: failed on host1 with exit code 1",
        ]
        assert self.restarts(swarm) == ["demo_node1"]
        diff = made["diff"][-1]
        assert (diff["before"], diff["after"]) == ("tasks:\n  - 1 failed\n", "tasks:\n  - started again\n")

    def test_one_that_is_not_described_beside_one_that_failed(self, swarm, call):
        self.failing(swarm, call, "node0", "node1")
        compose = definition()
        del compose["services"]["node0"]
        made = call(compose=[compose], prune=False)
        assert made["actions"] == ["restart service node1: failed on host1 with exit code 1"]

    def test_an_update_starts_what_failed_again_by_itself(self, swarm, call):
        self.failing(swarm, call, "node1")
        made = call(compose=[definition(image="trainer:2")], wait_for="running", redeploy="always")
        assert made["actions"] == ["update service node1: image", "restart service node0"]
        assert self.restarts(swarm) == ["demo_node0"]

    def test_never_is_never(self, swarm, call):
        """Not even with a deployment of something else."""
        self.failing(swarm, call, "node1")
        swarm.run("service update --detach --label-add extra=x demo_node1")
        made = call(compose=[definition()], redeploy="never")
        assert made["actions"] == ["repair service node1: Labels.extra"]
        assert (self.restarts(swarm), made["state"]["failed"]) == ([], True)

    def test_a_dead_one_that_a_deployment_revives_is_started_once(self, swarm, call):
        self.failing(swarm, call, "node0", "node1")
        swarm.run("service update --detach --label-add extra=x demo_node1")
        call(compose=[definition()])
        assert self.restarts(swarm) == ["demo_node0", "demo_node1"]


class TestContents:
    def compose(self, text="one", **options):
        compose = definition(configs=["c"], secrets=["t"])
        return {**compose, "configs": {"c": {"content": text, **options}}, "secrets": {"t": {"content": "geheimnis"}}}

    def own(self, swarm):
        return sorted(name for name in swarm.configs if name.startswith("demo_c_"))

    def test_options_go_to_docker(self, swarm, call):
        call(compose=[self.compose(labels={"l": "m"}, template_driver="golang")])
        (name,) = self.own(swarm)
        assert swarm.configs[name]["Spec"]["Labels"] == {"com.docker.stack.namespace": "demo", "l": "m"}
        assert swarm.configs[name]["Spec"]["Templating"] == {"Name": "golang"}

    def test_one_of_which_nothing_is_known_stays(self, swarm, call):
        call(compose=[self.compose()])
        kept = (self.own(swarm), {item["ID"] for item in (*swarm.configs.values(), *swarm.secrets.values())})
        record = swarm.configs["demo.swarm-stack"]["ID"]
        swarm.run("config rm demo.swarm-stack")
        made = call(compose=[self.compose()])
        assert made["actions"] == ["adopt service node0", "adopt service node1"]
        now = {item["ID"] for item in (*swarm.configs.values(), *swarm.secrets.values())}
        assert (self.own(swarm), kept[1] - {record} <= now) == (kept[0], True)

    @pytest.mark.parametrize(
        ("options", "rolling", "left"),
        [
            ({}, False, 1),
            ({"prune": False}, False, 2),
            # Its update is still watched.
            ({"wait_for": "running"}, True, 2),
            ({"wait_for": "none"}, True, 2),
        ],
    )
    def test_those_that_are_no_longer_used(self, swarm, call, options, rolling, left):
        for text in ("one", "two"):
            compose = self.compose(text)
            if rolling:
                compose["services"]["node1"]["deploy"]["update_config"] = {"failure_action": "rollback"}
            made = call(compose=[compose], **options)
            assert not made.get("failed")
        assert len(self.own(swarm)) == left

    def test_which_are_pruned(self):
        """One that a driver holds has the name that docker stack gives it."""
        rows = {
            "config": {"demo.swarm-stack": "r", "demo_old": "o", "own_1": "k"},
            "secret": {"demo_held": "h", "demo_old": "p"},
        }
        docker = told(CompletedDocker(1, "", "in use"))
        docker.json_lines = lambda kind, *_words: [{"Name": name, "ID": key} for name, key in rows[kind].items()]
        wanted = {"configs": {"c": {"external": True, "name": "own_1"}}, "secrets": {"held": {"driver": "d"}}}
        prune_contents(docker, "demo", wanted, Live("demo"))
        assert [words for words, _options in docker.asked] == [("config", "rm", "o"), ("secret", "rm", "p")]

    @pytest.mark.parametrize(
        ("known", "asked"),
        [
            ({}, []),
            ({"config c_1": "now"}, []),
            ({"config c_1": "then"}, [("config", "rm"), ("config", "create")]),
        ],
    )
    def test_another_one_by_the_name_of_ours_is_replaced(self, known, asked):
        docker = told(CompletedDocker(0, "", ""))
        docker.json_lines = lambda kind, *_words: [{"Name": "c_1", "ID": "now"}]
        create_contents(docker, "demo", [Content("config", "c", "c_1", b"text", None)], known)
        assert [words[:2] for words, _options in docker.asked] == asked
        for words, options in docker.asked[1:]:
            assert (words[-2:], options) == (("c_1", "-"), {"check": False, "input": b"text", "timeout": 60.0})


class TestWordsOfDocker:
    PARAMS = (("resolve_image", "never"), ("prune", False), ("with_registry_auth", False))

    def deploy(self, *answers):
        docker = told(*answers)
        prepared = Prepared({"services": {"s": {"environment": {"PASS": "hush"}, "command": ["$x"]}}}, directory="/d")
        try:
            return stack_deploy(docker, "demo", prepared, dict(self.PARAMS)), docker
        except DockerError as error:
            return error, docker

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ((0, "Creating", " a warning of hush\n"), "a warning of ********"),
            ((0, "Creating", ""), ""),
            ((1, "out", "err\n"), "docker stack deploy: err"),
            ((1, " out with hush\n", " \n"), "docker stack deploy: out with ********"),
        ],
    )
    def test_what_it_says_of_a_deployment(self, answer, said):
        made, docker = self.deploy(CompletedDocker(*answer))
        assert (str(made), isinstance(made, DockerError)) == (said, answer[0] != 0)
        assert len(docker.asked) == 1

    @pytest.mark.parametrize(
        ("first", "asked"),
        [
            ((125, "", "unknown flag: --detach"), 2),
            ((125, "", "unknown flag: --prune"), 1),
            ((0, "", "unknown flag: --detach"), 1),
        ],
    )
    def test_a_command_line_that_does_not_know_detach(self, first, asked):
        _made, docker = self.deploy(CompletedDocker(*first), CompletedDocker(0, "", ""))
        assert ["--detach=true" in words for words, _options in docker.asked] == [True, False][:asked]
        for words, options in docker.asked:
            assert words[-5:] == ("--compose-file", "-", "--resolve-image", "never", "demo")
            assert (options["cwd"], json.loads(options["input"])["services"]["s"]["command"]) == ("/d", ["$$x"])

    @pytest.mark.parametrize("said", ["Error: No such network: n", "network n not found", ""])
    def test_a_network_that_has_gone_is_as_good_as_removed(self, swarm, said):
        docker = told(CompletedDocker(0 if not said else 1, "", said))
        remove_networks(docker, "demo", ["n", "m"], deadline=0)
        assert [words for words, _options in docker.asked] == [("network", "rm", "n"), ("network", "rm", "m")]
        assert swarm.clock.slept == []

    def test_a_network_that_is_in_use_is_tried_until_time_is_up(self, swarm):
        docker = told(CompletedDocker(0, "", ""), CompletedDocker(1, "", "in use\n"))
        with pytest.raises(StackFailure) as caught:
            remove_networks(docker, "demo", ["n", "m"], swarm.clock.monotonic() + 2)
        assert str(caught.value) == "Cannot remove network m of stack demo: in use"
        assert [words[-1] for words, _options in docker.asked] == ["n", *["m"] * (len(docker.asked) - 1)]
        assert swarm.clock.slept == [1.0] * 3

    def test_tasks_of_what_is_recreated_are_waited_for(self, swarm, call):
        call(compose=[definition()])
        swarm.stubborn = True
        made = call(compose=[{**definition(), "networks": {"default": {"attachable": True}}}], later=0)
        assert made["msg"].startswith("Not all tasks have ended in time: task ")
        assert made["msg"].count("(running)") == 2
        assert swarm.count("network", "rm") == 0

    def test_an_image_that_somebody_gave_a_service_that_is_recreated(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service update --detach --image other:1 demo_node1")
        made = call(compose=[{**definition(), "networks": {"default": {"attachable": True}}}])
        assert not made.get("failed")
        assert swarm.count("service", "update") == 0
        assert swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "trainer:1"

    def test_an_image_that_somebody_gave_a_service_without_the_label(self, swarm, call):
        call(compose=[definition()])
        swarm.run("service update --detach --image other:1 --label-rm com.docker.stack.image demo_node1")
        call(compose=[definition()])
        assert swarm.count("service", "update") == 0
        assert swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "trainer:1"


class TestResults:
    def external(self):
        compose = definition(networks=["own", "there", "missing"], configs=["b", "a", "there"])
        compose["networks"] = {
            "own": None,
            "there": {"external": True, "name": "demo-elsewhere"},
            "missing": {"external": True},
        }
        compose["configs"] = {
            "b": {"external": True},
            "a": {"external": True},
            "there": {"external": True, "name": "demo_foreign_config"},
        }
        return compose

    def test_each_thing_that_is_missing_and_no_other(self, swarm, call):
        missing = [
            "network missing is external, and there is no such network: create it first",
            "config a is external, and there is no such config: create it first",
            "config b is external, and there is no such config: create it first",
        ]
        made = call(compose=[self.external()])
        assert made["msg"] == f"Stack demo cannot be deployed: {'; '.join(missing)}"
        assert not made["changed"]
        assert swarm.services == {}
        made = call(compose=[self.external()], check=True)
        assert made["changed"]
        assert len(made["warnings"]) == 3
        assert all(text in str(made["warnings"]) for text in missing)
        assert swarm.count("secret", "ls") == 0

    def test_without_a_reason_there_is_no_warning_and_no_question(self, swarm, call):
        made = call(compose=[definition()], wait_for="running")
        assert "warnings" not in made
        before = len(swarm.calls)
        made = call(compose=[definition()], later=0)
        assert made["calls"] == len(swarm.calls) - before == 6
        assert (made["diff"], made["failures"]) == ([], [])

    def test_differences_are_shown_only_if_they_are_asked_for(self, swarm, capsys):
        made = run(swarm_stack, capsys, name=STACK, compose=[definition()])
        assert "diff" not in made
        assert "diff" not in run(swarm_stack, capsys, name=STACK, state="absent", wait_timeout=20)

    @pytest.mark.parametrize(
        ("command", "said", "message"),
        [
            ("stack deploy", "boom", "docker stack deploy: Error response from daemon: boom"),
            ("stack deploy", "context deadline exceeded", "The swarm of host0 has no quorum: "),
            ("network ls", "too few managers", "The swarm of host0 has no quorum: "),
        ],
    )
    def test_what_fails_on_the_way_is_told_with_the_number_of_calls(self, swarm, call, command, said, message):
        swarm.refusals = {command: [said]}
        before = len(swarm.calls)
        made = call(compose=[definition()], later=0)
        assert made["msg"].startswith(message)
        assert made["calls"] == len(swarm.calls) - before

    def test_each_failure_has_the_number_of_calls(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "crash")}
        made = call(compose=[definition()], wait_for="running", later=0)
        assert made["failed"]
        assert made["calls"] == len(swarm.calls)
        assert call(compose=[{}])["calls"] == 0

    def test_what_nobody_thought_of_has_it_too(self, swarm, call, monkeypatch):
        monkeypatch.setattr(module, "make_plan", lambda *_arguments: 1 // 0)
        made = call(compose=[definition()], later=0)
        assert made["msg"].startswith("ZeroDivisionError: ")
        assert made["calls"] == len(swarm.calls)

    @pytest.mark.parametrize("option", ["wait_timeout", "stability_period", "log_lines"])
    def test_numbers_are_not_negative(self, swarm, call, option):
        assert call(compose=[definition()], **{option: -1})["msg"] == f"{option} must not be negative"
        assert not call(compose=[definition()], **{option: 0}).get("failed")

    @pytest.mark.parametrize("name", ["-a", "_a", "a.b", "a b", "ä", "a/b", ""])
    def test_names_that_are_none(self, swarm, call, name):
        assert (
            "is not a name for a stack: letters, digits, _ and - only" in call(name=name, compose=[definition()])["msg"]
        )
        assert swarm.calls == []

    def test_a_definition_that_is_no_list_is_shown_as_one(self, swarm, call):
        for compose in ("secrets: {t: hush}", ["secrets: {t: hush}", "/no/file"]):
            made = call(compose=compose)
            shown = made["invocation"]["module_args"]["compose"]
            assert shown == ["(a text, not shown)", "/no/file"][: 1 if isinstance(compose, str) else 2]


class TestRandomSecrets:
    """What services prove to each other: made with the stack, seen by nobody, and gone with it."""

    def compose(self):
        compose = definition(secrets=["proof"])
        return {**compose, "secrets": {"proof": {"external": True, "name": "demo.proof"}}}

    def test_made_once_and_removed_with_the_stack(self, swarm, call):
        given = {"compose": [self.compose()], "random_secrets": ["demo.proof"]}
        looked = call(check=True, **given)
        assert not looked.get("failed")
        assert looked.get("warnings", []) == []
        assert swarm.secrets == {}
        call(**given)
        (made,) = swarm.secrets.values()
        assert made["Spec"]["Name"] == "demo.proof"
        assert not call(**given)["changed"]
        assert list(swarm.secrets.values()) == [made]
        call(state="absent")
        assert swarm.secrets == {}

    def test_each_stack_has_another(self):
        docker = told(CompletedDocker(0, "", ""))
        docker.json_lines = lambda *_words: []
        for _ in range(2):
            create_random_secrets(docker, "demo", ["demo.proof"])
        contents = [options["input"] for words, options in docker.asked if "create" in words]
        assert len({len(content) for content in contents}) == 1 == len(contents[0]) // 64
        assert contents[0] != contents[1]
        assert all(content not in words for words, _options in docker.asked for content in contents)

    def test_without_it_an_external_secret_has_to_be_there(self, swarm, call):
        result = call(compose=[self.compose()])
        assert "secret demo.proof is external, and there is no such secret" in result["msg"]
