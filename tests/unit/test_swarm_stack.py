"""swarm_stack and swarm_stack_info, against a swarm that lives in a few dictionaries.

The fake answers the docker commands with the shapes that engines 20.10 and 26 were seen to answer with.
"""

import base64
import copy
import json
import re
import sys

import pytest
import swarm_stack
import swarm_stack_info
from ansible.module_utils import stack_compose, swarm_state
from ansible.module_utils.docker_cli import CompletedDocker, DockerCli, DockerError
from ansible.module_utils.testing import patch_module_args

NS = "com.docker.stack.namespace"


class FakeSwarm:
    """Enough of a swarm manager. `outcomes` tells how the tasks of a service end: state, exit code, error."""

    def __init__(self):
        self.services, self.tasks, self.calls = {}, [], []
        self.networks = {"net-host": {"Name": "host", "Scope": "host", "Labels": ""}}
        self.configs, self.secrets = {}, {}
        self.outcomes, self.logs, self.updates = {}, {}, {}
        self.nodes = [{"ID": "n1", "Hostname": "host1", "Status": "Ready"}]
        self.refuse, self.info, self.old_cli, self.busy_networks = "", {}, False, 0
        self.deploy_error, self.sticky_tasks, self.counter = "", False, 0

    # What the tests ask

    def count(self, *words):
        return sum(call[: len(words)] == words for call in self.calls)

    def task(self, service, state="running", code=0, error="", desired="running", node="n1", slot=1, spec=None):
        self.counter += 1
        full = self.services[service]
        self.tasks.insert(
            0,
            {
                "ID": f"task{self.counter}",
                "CreatedAt": f"2025-01-01T10:00:{self.counter:02d}.5Z",
                "ServiceID": full["ID"],
                "Slot": slot,
                "NodeID": node,
                "DesiredState": desired,
                "Spec": copy.deepcopy(spec or full["Spec"]["TaskTemplate"]),
                "Status": {
                    "State": state,
                    "Err": error,
                    "Timestamp": "2025-01-01T10:00:00.5Z",
                    "ContainerStatus": {"ContainerID": "c" if node else "", "ExitCode": code},
                },
            },
        )

    # What docker does

    def run(self, *args, check=True, input=None, timeout=None, cwd=None):
        self.calls.append(args)
        try:
            out = self.answer(args, input)
        except DockerError as error:
            if check:
                raise DockerError(f"docker {args[0]} {args[1]}: {error}", 1, str(error)) from error
            return CompletedDocker(1, getattr(error, "out", ""), str(error))
        return CompletedDocker(0, out, "")

    def answer(self, args, text):
        if self.refuse and args[0] != "info":
            raise DockerError(self.refuse)
        if args[0] in ("info", "inspect", "ps"):
            return getattr(self, f"do_{args[0]}")(args)
        return getattr(self, f"do_{args[0]}_{args[1]}")(args, text)

    def do_info(self, args):
        return json.dumps({"Name": "host1", "Swarm": self.info})

    def do_ps(self, args):
        return ""

    def do_inspect(self, args):
        ids = args[3:] if args[1] == "--type" else args[1:]
        known = {item["ID"]: item for item in [*self.services.values(), *self.tasks]}
        found = [known[identifier] for identifier in ids if identifier in known]
        if len(found) < len(ids):
            error = DockerError("Error: No such object: x")
            error.out = json.dumps(found)
            raise error
        return json.dumps(found)

    @staticmethod
    def lines(rows):
        return "\n".join(json.dumps(row) for row in rows)

    def do_service_ls(self, args, text):
        if "--quiet" in args:
            return "\n".join(item["ID"] for item in self.services.values())
        ours = {name: item for name, item in self.services.items() if item["Spec"]["Labels"].get(NS) == "demo"}
        return self.lines({"ID": item["ID"], "Name": name} for name, item in ours.items())

    def do_service_rm(self, args, text):
        for name in args[2:]:
            name = next((key for key, item in self.services.items() if item["ID"] == name), name)
            gone = self.services.pop(name)["ID"]
            if not self.sticky_tasks:
                self.tasks = [task for task in self.tasks if task["ServiceID"] != gone]
        return ""

    def do_service_update(self, args, text):
        template = self.services[args[-1]]["Spec"]["TaskTemplate"]
        template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
        self.roll(args[-1])
        return ""

    def do_service_logs(self, args, text):
        if args[-1] not in self.logs:
            raise DockerError("no log for you")
        return self.logs[args[-1]]

    def do_node_ls(self, args, text):
        return self.lines(self.nodes)

    def do_network_ls(self, args, text):
        rows = [{"ID": key, **row} for key, row in self.networks.items()]
        return self.lines(row for row in rows if "--filter" not in args or NS in row["Labels"])

    def do_network_rm(self, args, text):
        if self.busy_networks:
            self.busy_networks -= 1
            raise DockerError("network is in use by task")
        keys = [key for key, row in self.networks.items() if args[2] in (key, row["Name"])]
        if not keys:
            raise DockerError("network not found")
        del self.networks[keys[0]]
        return ""

    def objects(self, args):
        return self.configs if args[0] == "config" else self.secrets

    def do_config_ls(self, args, text):
        rows = [{"ID": key, **row} for key, row in self.objects(args).items()]
        return self.lines(row for row in rows if "--filter" not in args or NS in row["Labels"])

    def do_config_create(self, args, text):
        name = args[-2]
        assert name not in self.objects(args)
        self.objects(args)[name] = {"Name": name, "Labels": f"{NS}=demo", "data": text, "source": args[-1]}
        return name

    def do_config_rm(self, args, text):
        if args[2] not in self.objects(args):
            raise DockerError("no such config")
        del self.objects(args)[args[2]]
        return ""

    def do_config_inspect(self, args, text):
        if args[2] not in self.configs:
            raise DockerError("no such config")
        return json.dumps(
            [{"Spec": {"Data": base64.b64encode((self.configs[args[2]]["data"] or "").encode()).decode()}}]
        )

    do_secret_ls, do_secret_create, do_secret_rm = do_config_ls, do_config_create, do_config_rm

    def do_stack_ps(self, args, text):
        if not self.tasks:
            raise DockerError("nothing found in stack: demo")
        if "-q" in args:
            return "\n".join(task["ID"] for task in self.tasks)
        hosts = {"n1": "host1", "n2": "host2"}
        return self.lines({"ID": task["ID"], "Node": hosts.get(task["NodeID"], "")} for task in self.tasks)

    def do_stack_rm(self, args, text):
        for name in list(self.services):
            self.do_service_rm(("service", "rm", name), None)
        for store in (self.configs, self.secrets):
            for name in [key for key, row in store.items() if NS in row["Labels"]]:
                del store[name]
        return ""

    def do_stack_deploy(self, args, text):
        if self.old_cli and "--detach=true" in args:
            raise DockerError("unknown flag: --detach")
        if self.deploy_error:
            raise DockerError(self.deploy_error)
        compose, stack = json.loads(text), args[-1]
        self.compose = compose
        for key, network in compose["networks"].items():
            name = network.get("name") or f"{stack}_{key}"
            if not network.get("external") and name not in [row["Name"] for row in self.networks.values()]:
                self.counter += 1
                self.networks[f"net{self.counter}"] = {"Name": name, "Scope": "swarm", "Labels": f"{NS}={stack}"}
        ids = {row["Name"]: key for key, row in self.networks.items()}
        if "--prune" in args:
            for name in list(self.services):
                if name[len(stack) + 1 :] not in compose["services"]:
                    self.do_service_rm(("service", "rm", name), None)
        for name, service in compose["services"].items():
            self.deploy_service(f"{stack}_{name}", service, compose, ids)
        return ""

    def deploy_service(self, full, service, compose, ids):
        old = self.services.get(full)
        template = {
            "ContainerSpec": {
                "Image": service["image"],
                "Args": service.get("command"),
                "Env": [f"{key}={value}" for key, value in service.get("environment", {}).items()],
                **{
                    f"{kind}s": [
                        {
                            f"{kind}ID": "id",
                            f"{kind}Name": compose[f"{kind.lower()}s"][getattr(entry, "get", {}.get)("source", entry)][
                                "name"
                            ],
                        }
                        for entry in service.get(f"{kind.lower()}s", [])
                    ]
                    for kind in ("Config", "Secret")
                },
                "DNSConfig": {},
            },
            "RestartPolicy": {"Condition": service["deploy"].get("restart_policy", {}).get("condition", "any")},
            "Placement": {"Constraints": service["deploy"].get("placement", {}).get("constraints")},
            "Networks": [
                {"Target": ids[compose["networks"].get(key, {}).get("name") or f"demo_{key}"]}
                for key in service.get("networks") or ["default"]
            ],
            "ForceUpdate": old["Spec"]["TaskTemplate"]["ForceUpdate"] if old else 0,
        }
        spec = {
            "Name": full,
            "Labels": {NS: "demo"},
            "TaskTemplate": template,
            "Mode": {"Replicated": {"Replicas": service["deploy"].get("replicas")}},
        }
        self.services[full] = {"ID": old["ID"] if old else f"svc-{full}", "Spec": spec}
        if not old or old["Spec"]["TaskTemplate"] != template:
            self.roll(full)
        if full in self.updates:
            self.services[full]["UpdateStatus"] = {"State": self.updates[full], "StartedAt": "now", "Message": "m"}

    def roll(self, full):
        for task in self.tasks:
            if task["ServiceID"] == self.services[full]["ID"]:
                task["DesiredState"] = "shutdown"
        state, code, error = self.outcomes.get(full, ("running", 0, ""))
        desired = "running" if state in ("running", "starting", "pending", "preparing") else "shutdown"
        self.task(full, state, code, error, desired, node="" if state == "pending" else "n1")


@pytest.fixture
def swarm(monkeypatch):
    fake = FakeSwarm()

    def run(self, *args, **options):
        self.calls += 1
        return fake.run(*args, **options)

    clock = [1_800_000_000.0]
    monkeypatch.setattr(DockerCli, "run", run)
    monkeypatch.setattr(swarm_stack.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(swarm_stack.time, "monotonic", lambda: clock[0])
    return fake


@pytest.fixture
def call(capsys):
    def call(module=swarm_stack, check=False, **args):
        args = {"name": "demo", "wait_timeout": 20, **args} if module is swarm_stack else {"name": "demo", **args}
        with (
            patch_module_args({**args, "_ansible_check_mode": check, "_ansible_diff": True}),
            pytest.raises(SystemExit),
        ):
            module.main()
        result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        result.pop("invocation", None) if "secret" not in str(args) else None
        return result

    return call


def definition(**changes):
    service = {
        "image": "trainer:1",
        "command": ["run"],
        "environment": {"A": "1"},
        "deploy": {
            "restart_policy": {"condition": "on-failure"},
            "placement": {"constraints": ["node.role == worker"]},
        },
    }
    services = {"node0": copy.deepcopy(service), "node1": copy.deepcopy(service)}
    services["node1"].update(changes)
    return {"services": services}


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
        assert again["calls"] <= 5
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
        assert made["diff"] == predicted["diff"]
        assert [diff["before_header"] for diff in made["diff"]] == ["service node1"]
        assert not call(compose=[definition(**change)])["changed"]

    def test_old_command_line(self, swarm, call):
        swarm.old_cli = True
        assert call(compose=[definition()])["changed"]
        assert swarm.count("stack", "deploy") == 2

    def test_dollar_signs_reach_the_container(self, swarm, call):
        call(compose=[definition(command=["echo", "$$HOME"])])
        assert swarm.compose["services"]["node1"]["command"] == ["echo", "$$HOME"]

    def test_deploy_error_is_shown(self, swarm, call):
        swarm.deploy_error = "services.node0 Additional property x is not allowed"
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
        swarm.networks["x"] = {"Name": "ddp-net", "Scope": "local", "Labels": ""}
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
        swarm.services["demo_node0"]["Spec"]["Mode"]["Replicated"]["Replicas"] = 3
        made = self.repaired(call, "repair service node0: Mode.Replicated.Replicas")
        assert "Mode.Replicated.Replicas: 3" in made["diff"][0]["before"]
        assert "Mode.Replicated.Replicas: 1" in made["diff"][0]["after"]

    def test_edited(self, swarm, call):
        call(compose=[definition()])
        swarm.services["demo_node0"]["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"].append("X=1")
        swarm.roll("demo_node0")
        self.repaired(call, "repair service node0: TaskTemplate.ContainerSpec.Env.X")

    def test_removed(self, swarm, call):
        call(compose=[definition()])
        swarm.do_service_rm(("service", "rm", "demo_node1"), None)
        self.repaired(call, "create service node1")

    def test_force_updates_are_no_drift(self, swarm, call):
        call(compose=[definition()])
        swarm.do_service_update(("demo_node0",), None)
        assert not call(compose=[definition()])["changed"]

    def test_network_recreated_by_another_hand(self, swarm, call):
        call(compose=[definition()])
        old = next(key for key, row in swarm.networks.items() if row["Name"] == "demo_default")
        swarm.networks["other"] = swarm.networks.pop(old)
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
        network = {"Target": next(key for key, row in swarm.networks.items() if row["Name"] == "demo_default")}
        swarm.services["web_front"] = {
            "ID": "web",
            "Spec": {"Name": "web_front", "Labels": {NS: "web"}, "TaskTemplate": {"Networks": [network]}},
        }
        compose = {**definition(), "networks": {"default": {"attachable": True}}}
        for check in (True, False):
            result = call(compose=[compose], check=check)
            assert result["failed"]
            assert not result["changed"]
            assert "demo_default must be removed, and web_front of another stack uses it" in result["msg"]
        assert "demo_node0" in swarm.services

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
        container = swarm.services["demo_node1"]["Spec"]["TaskTemplate"]["ContainerSpec"]
        container[f"{kind.capitalize()}s"][0][f"{kind.capitalize()}ID"] = "another"
        (name,) = [name for name in swarm.objects((kind,)) if "_c_" in name]
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
        del swarm.configs["demo.swarm-stack"]
        assert call(compose=[definition()])["actions"] == ["adopt service node0", "adopt service node1"]
        assert not call(compose=[definition()])["changed"]

    @pytest.mark.parametrize("data", ["{", "[]", '{"format": 99}', '{"format": 1, "other": 1}'])
    def test_a_record_of_another_kind_counts_as_none(self, data):
        assert swarm_stack.Record.from_json(data) is None


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
        assert "demo_extra" not in [row["Name"] for row in swarm.networks.values()]
        assert not call(compose=[compose])["changed"]


class TestContents:
    def compose(self, text="one", secret="geheimnis"):
        compose = definition(configs=[{"source": "c", "target": "/c"}], secrets=["s"])
        return {**compose, "configs": {"c": {"content": text}}, "secrets": {"s": {"content": secret}}}

    def test_a_new_content_is_a_new_name(self, swarm, call):
        call(compose=[self.compose()])
        (old,) = [name for name in swarm.configs if "_c_" in name]
        made = call(compose=[self.compose("two")], wait_for="running")
        assert made["actions"] == ["update service node1: configs.0.name"]
        assert [diff["before_header"] for diff in made["diff"]] == ["service node1", "config c"]
        assert (made["diff"][1]["before"], made["diff"][1]["after"]) == ("one", "two")
        names = [name for name in swarm.configs if "_c_" in name]
        assert len(names) == 1
        assert names != [old]
        assert not call(compose=[self.compose("two")])["changed"]

    def test_a_secret_is_never_shown(self, swarm, call):
        made = call(compose=[self.compose()])
        changed = call(compose=[self.compose(secret="neues geheimnis")])
        assert changed["actions"] == ["update service node1: secrets.0.name"]
        assert "geheimnis" not in json.dumps([made, changed])
        assert [row["data"] for row in swarm.secrets.values()] == ["neues geheimnis"]
        assert not any("geheimnis" in str(argument) for arguments in swarm.calls for argument in arguments)

    def test_old_contents_stay_while_swarm_may_roll_back(self, swarm, call):
        first, second = self.compose(), self.compose("two")
        for compose in (first, second):
            compose["services"]["node1"]["deploy"]["update_config"] = {"failure_action": "rollback"}
        call(compose=[first])
        call(compose=[second])
        assert len([name for name in swarm.configs if "_c_" in name]) == 2

    def test_files(self, swarm, call, tmp_path):
        path = tmp_path / "c"
        compose = {**self.compose(), "configs": {"c": {"file": str(path)}}}
        assert "there is no file" in call(compose=[compose])["msg"]
        assert call(compose=[compose], check=True)["changed"]
        path.write_text("one")
        call(compose=[compose])
        assert [row["source"] for name, row in swarm.configs.items() if "_c_" in name] == [str(path)]
        path.write_text("two")
        assert call(compose=[compose])["actions"] == ["update service node1: configs.0.name"]


class TestWaiting:
    def test_complete(self, swarm, call):
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        made = call(compose=[definition()], wait_for="complete")
        assert made["state"]["complete"]
        assert not made["running"]
        assert not call(compose=[definition()], wait_for="complete")["changed"]
        assert call(compose=[definition()], wait_for="running")["calls"] <= 5

    def test_failure_names_task_and_shows_log(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "task: non-zero exit (1)"), "demo_node0": ("complete", 0, "")}
        swarm.logs = {"task3": "2025-01-01T10:00:01.5Z out\n2025-01-01T10:00:03Z last\n2025-01-01T10:00:02Z middle\n"}
        result = call(compose=[definition()], wait_for="complete")
        assert result["failed"]
        assert result["changed"]
        assert result["msg"].startswith("demo_node1 on host1 failed with exit code 1: task: non-zero exit (1).")
        (failure,) = result["failures"]
        assert (failure["service"], failure["exit_code"], failure["node"]) == ("demo_node1", 1, "host1")
        assert failure["log"] == ["out", "middle", "last"]
        assert "Last 3 log lines:\n  out\n  middle\n  last" in result["msg"]

    def test_redeploy(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "boom")}
        call(compose=[definition()])
        left = call(compose=[definition()], redeploy="never", wait_for="running")
        assert left["failed"]
        assert not left["changed"]
        swarm.outcomes = {}
        predicted = call(compose=[definition()], check=True)
        made = call(compose=[definition()], wait_for="running")
        assert predicted["actions"] == made["actions"] == ["restart service node1: failed on host1 with exit code 1"]
        assert made["state"]["converged"]
        always = call(compose=[definition()], redeploy="always")
        assert always["actions"] == ["restart service node0", "restart service node1"]

    def test_a_repair_that_rolls_nothing_still_revives_the_dead(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "boom")}
        call(compose=[definition()])
        swarm.outcomes = {}
        swarm.services["demo_node1"]["Spec"]["Labels"]["extra"] = "x"
        made = call(compose=[definition()], wait_for="running")
        assert made["actions"] == ["repair service node1: Labels.extra"]
        assert made["state"]["converged"]

    def test_timeout_says_who_waits_for_what(self, swarm, call):
        swarm.outcomes = {
            "demo_node0": ("preparing", 0, ""),
            "demo_node1": ("pending", 0, "no suitable node (scheduling constraints not satisfied on 2 nodes)"),
        }
        result = call(compose=[definition()], wait_for="running")
        assert "Stack demo is not running after 20 s" in result["msg"]
        assert "demo_node0 is preparing on host1" in result["msg"]
        assert "demo_node1 is not scheduled: no suitable node" in result["msg"]
        assert "No node fulfils node.role == worker" in result["msg"]
        assert len(result["failures"]) == 2

    @pytest.mark.parametrize("state", sorted(swarm_state.BAD_UPDATES))
    def test_bad_updates_are_failures(self, swarm, call, state):
        call(compose=[definition()])
        swarm.updates = {"demo_node1": state}
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        result = call(compose=[definition(image="trainer:2")], wait_for="running")
        assert result["failed"]
        assert swarm_state.BAD_UPDATES[state] in result["msg"]
        assert result["failures"][0]["update_state"] == state

    def test_an_old_paused_update_is_repaired(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        call(compose=[definition()])
        swarm.outcomes = {}
        swarm.services["demo_node1"]["UpdateStatus"] = {"State": "paused", "StartedAt": "then", "Message": "m"}
        made = call(compose=[definition()], wait_for="running", redeploy="never")
        assert made["failed"]
        assert call(compose=[definition()])["actions"] == ["restart service node1: update paused"]

    def test_an_update_paused_by_a_task_that_finished_well_is_no_failure(self, swarm, call):
        """Engine 20.10: "update paused due to failure or early termination of task", and the task had exited with 0."""
        call(compose=[definition()])
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        swarm.updates = {"demo_node1": "paused"}
        assert not call(compose=[definition(image="trainer:2")], wait_for="running").get("failed")

    def test_ready_pattern(self, swarm, call):
        swarm.logs = {"task2": "2025-01-01T10:00:01Z READY\n", "task3": "2025-01-01T10:00:01Z waiting\n"}
        result = call(compose=[definition()], wait_for="running", ready_pattern="^READY")
        assert "demo_node1 is running on host1, but its log has no line that matches '^READY'" in result["msg"]
        swarm.logs["task3"] = "2025-01-01T10:00:01Z READY\n"
        assert not call(compose=[definition()], wait_for="running", ready_pattern="^READY").get("failed")

    def test_ready_pattern_does_not_ask_what_has_completed(self, swarm, call):
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        assert not call(compose=[definition()], wait_for="running", ready_pattern="x").get("failed")

    def test_complete_refuses_what_restarts_for_ever(self, swarm, call):
        result = call(compose=[definition(deploy={})], wait_for="complete")
        assert "node1 would be restarted" in result["msg"]
        assert swarm.calls == []


class TestAbsent:
    def test_removes_all_and_then_nothing(self, swarm, call):
        compose = TestContents().compose()
        call(compose=[compose])
        predicted = call(state="absent", check=True)
        assert swarm.services
        swarm.busy_networks = 2
        made = call(state="absent")
        assert made["changed"]
        assert made["actions"] == predicted["actions"]
        assert (swarm.services, swarm.configs, swarm.secrets) == ({}, {}, {})
        assert list(swarm.networks) == ["net-host"]
        assert not call(state="absent")["changed"]

    def test_names_what_is_left(self, swarm, call):
        call(compose=[definition()])
        swarm.busy_networks = 10_000
        result = call(state="absent")
        assert "left are network demo_default" in result["msg"]
        assert "in use by task" in result["msg"]

    def test_tasks_that_do_not_end(self, swarm, call):
        call(compose=[definition()])
        swarm.sticky_tasks = True
        assert "task task2 (running)" in call(state="absent")["msg"]

    def test_tasks_of_a_lost_node_do_not_hold_it_up(self, swarm, call):
        call(compose=[definition()])
        swarm.sticky_tasks = True
        swarm.nodes[0]["Status"] = "Down"
        assert call(state="absent")["changed"]


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
        swarm.refuse, swarm.info = said, info
        result = call(state=state, compose=[definition()])
        assert result["failed"]
        assert re.search(sentence, result["msg"])
        assert "\n" not in result["msg"]

    def test_no_engine(self, swarm, call, monkeypatch):
        def refuse(self, *args, **options):
            raise DockerError("Cannot connect to the Docker daemon")

        monkeypatch.setattr(DockerCli, "run", refuse)
        assert "does not answer: Cannot connect" in call(compose=[definition()])["msg"]

    @pytest.mark.parametrize("key", ["shm_size", "privileged", "devices", "ipc", "network_mode", "build", "restart"])
    def test_ignored_keys(self, swarm, call, key):
        result = call(compose=[definition(**{key: "x"})])
        assert f"service node1: {key} has no effect: " in result["msg"]
        assert swarm.calls == []

    def test_not_strict(self, swarm, call):
        made = call(compose=[definition(shm_size="1g", depends_on=["node0"])], strict=False)
        assert made["changed"]
        assert "shm_size" not in swarm.compose["services"]["node1"]
        assert not call(compose=[definition()])["changed"]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ({"name": "a b", "compose": [{}]}, "is not a name for a stack"),
            ({"name": "a" * 53, "compose": [{}]}, "is longer than 52 characters"),
            ({"compose": [{}], "wait_timeout": -1}, "must not be negative"),
            ({"compose": [{}], "ready_pattern": "("}, "not a regular expression"),
            ({}, "compose"),
            ({"compose": [{}]}, "defines no service"),
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
        assert not info["changed"]

    def test_of_a_failed_stack(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 137, "task: non-zero exit (137)")}
        call(compose=[definition()])
        info = call(swarm_stack_info, log_lines=5)
        assert not info.get("failed")
        assert info["failed_for_good"]
        assert "out of memory" in info["failures"][0]["hint"]
        assert info["failures"][0]["log"] == ["(no log: no log for you)"]

    def test_of_nothing(self, swarm, call):
        info = call(swarm_stack_info)
        assert (info["exists"], info["services"], info["tasks"]) == (False, [], [])

    def test_on_a_worker(self, swarm, call):
        swarm.refuse, swarm.info = "no manager", {"LocalNodeState": "active"}
        assert "is a swarm worker" in call(swarm_stack_info)["msg"]


def make_task(state="running", desired="running", created=1, spec=None, **fields):
    values = {"service": "s", "slot": "1", "node": "host1", "error": "", "exit_code": None, "image": "i", "updated": ""}
    values.update(fields)
    return swarm_state.Task(
        id=f"t{created}",
        state=state,
        desired=desired,
        created=f"2025-01-01T00:00:{created:02d}Z",
        spec=spec or {},
        **values,
    )


class TestJudging:
    @pytest.mark.parametrize(
        ("condition", "history", "verdict"),
        [
            ("any", [("running", "running")], "running"),
            ("on-failure", [("complete", "shutdown")], "complete"),
            ("none", [("complete", "shutdown")], "complete"),
            ("any", [("complete", "shutdown")], "restarting"),
            ("on-failure", [("failed", "shutdown")], "failed"),
            ("on-failure", [("failed", "running")], "restarting"),
            ("on-failure", [("ready", "ready"), ("failed", "shutdown")], "restarting"),
            ("on-failure", [("starting", "running")], "starting"),
            ("any", [("running", "shutdown")], "outdated"),
            ("any", [("shutdown", "shutdown")], ""),
            ("any", [("running", "remove")], ""),
            ("any", [("preparing", "running"), *[("rejected", "shutdown")] * 2], "restarting"),
            ("any", [("preparing", "running"), *[("rejected", "shutdown")] * 3], "failed"),
            ("any", [("preparing", "running"), ("rejected", "shutdown"), ("failed", "shutdown")], "restarting"),
            ("any", [("rejected", "ready"), *[("rejected", "shutdown")] * 2], "failed"),
            ("on-failure", [("orphaned", "shutdown")], "failed"),
        ],
    )
    def test_slot(self, condition, history, verdict):
        tasks = [make_task(*entry, created=number) for number, entry in enumerate(history)]
        assert swarm_state.judge_slot({"RestartPolicy": {"Condition": condition}}, tasks) == verdict

    def test_rejections_of_an_earlier_definition_do_not_count(self):
        old, new = {"ContainerSpec": {"Image": "a"}}, {"ContainerSpec": {"Image": "b"}}
        history = [make_task("preparing", spec=new), *[make_task("rejected", "shutdown", spec=old)] * 3]
        assert swarm_state.judge_slot(new, history) == "starting"

    def test_a_task_that_has_to_move(self):
        """Swarm keeps a task that fits a new placement; as long as an update goes on, it may not have looked yet."""
        task = make_task(spec={"Placement": {"Constraints": ["node.hostname == a"]}})
        template = {"Placement": {"Constraints": ["node.hostname == b"]}}
        assert swarm_state.judge_slot(template, [task], rolling=True) == "outdated"
        assert swarm_state.judge_slot(template, [task]) == "running"

    def test_outdated(self):
        task = make_task(spec={"ContainerSpec": {"Image": "a"}})
        assert swarm_state.judge_slot({"ContainerSpec": {"Image": "b"}}, [task]) == "outdated"

    def test_defaults_that_only_a_service_shows(self):
        """As engine 26.1.5 answered: the task leaves out what the service spells out."""
        task = {"ContainerSpec": {"Image": "t:1", "Isolation": "default"}, "Placement": {}, "ForceUpdate": 0}
        service = {
            "ContainerSpec": {"Image": "t:1", "StopGracePeriod": 10000000000, "DNSConfig": {}, "Isolation": "default"},
            "Placement": {"Constraints": ["node.role == manager"]},
            "Runtime": "container",
            "ForceUpdate": 0,
        }
        assert swarm_state.same_template(task, service)
        assert not swarm_state.same_template(task, {**service, "ForceUpdate": 1})
        service["ContainerSpec"]["StopGracePeriod"] = 1
        assert not swarm_state.same_template(task, service)

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            ({"Replicated": {"Replicas": 3}}, ("replicated", 3)),
            ({"Replicated": {}}, ("replicated", 1)),
            ({"Replicated": {"Replicas": 0}}, ("replicated", 0)),
            ({"Global": {}}, ("global", 0)),
            ({"GlobalJob": {}}, ("global-job", 0)),
            ({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 4}}, ("replicated-job", 4)),
        ],
    )
    def test_mode(self, mode, expected):
        assert swarm_state.service_mode({"Mode": mode}) == expected

    def state(self, mode, tasks, **service):
        spec = {"Name": "d_s", "TaskTemplate": {}, "Mode": mode}
        return swarm_state.judge_service("d", {"ID": "x", "Spec": spec, **service}, tasks)

    def test_replicas_that_are_missing(self):
        state = self.state({"Replicated": {"Replicas": 2}}, [make_task()])
        assert state.missing == 1
        assert not state.reached("running")

    def test_scaled_to_zero_is_reached(self):
        assert self.state({"Replicated": {"Replicas": 0}}, [make_task("shutdown", "shutdown")]).reached("running")

    def test_global(self):
        tasks = [make_task(slot="n1"), make_task(slot="n2", created=2)]
        assert self.state({"Global": {}}, tasks).wanted == 2
        assert not self.state({"Global": {}}, []).reached("running")

    def test_job_counts_only_its_own_round(self):
        job = {"JobStatus": {"JobIteration": {"Index": 7}}}
        old = make_task("complete", "complete", job_iteration=6)
        new = make_task("complete", "complete", created=2, job_iteration=7)
        assert not self.state({"ReplicatedJob": {"TotalCompletions": 1}}, [old], **job).reached("complete")
        assert self.state({"ReplicatedJob": {"TotalCompletions": 1}}, [new, old], **job).reached("complete")

    def test_times_sort_as_text(self):
        stamps = ["2025-01-01T10:00:00.5Z", "2025-01-01T10:00:00.05Z", "2025-01-01T10:00:00Z"]
        assert sorted(stamps, key=swarm_state.time_key) == stamps[::-1]

    @pytest.mark.parametrize(
        ("error", "code", "hint"),
        [
            ("No such image: a:1", None, "is not on host1"),
            ("no suitable node (insufficient resources on 2 nodes)", None, "No node has NVIDIA-GPU=1 free"),
            ("no suitable node (host-mode port already in use on 1 node)", None, "published host port"),
            ("no suitable node (1 node not available for new tasks)", None, "drained"),
            ("no suitable node (max replicas per node limit exceed)", None, "max_replicas_per_node"),
            ("no suitable node (odd)", None, "docker node ls"),
            ("task: non-zero exit (137)", 137, "out of memory"),
            ("task: non-zero exit (137): dockerexec: unhealthy container", 137, "health check"),
            ("task: non-zero exit (139)", 139, "Segmentation"),
            ("task: non-zero exit (134)", 134, "SIGABRT"),
            ("task: non-zero exit (143)", 143, "SIGTERM"),
            ("task: non-zero exit (127)", 127, "command was not found"),
            ("bind source path does not exist: /nix", None, "make /nix on host1"),
            ("unknown or invalid runtime name: nvidia", None, "daemon.json"),
            ("port is already allocated", None, "ss -ltnp"),
            ("network ddp not found", None, "could not attach the network"),
            ("heartbeat failure", None, "was lost"),
            ("task: non-zero exit (1)", 1, ""),
        ],
    )
    def test_hints(self, error, code, hint):
        reservations = {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "NVIDIA-GPU", "Value": 1}}]}
        state = self.state({}, [])
        state = swarm_state.judge_service(
            "d", {"ID": "x", "Spec": {"Name": "d_s", "TaskTemplate": {"Resources": {"Reservations": reservations}}}}, []
        )
        found = swarm_state.hint_for(state, make_task("failed", "shutdown", error=error, exit_code=code))
        assert hint in found
        assert bool(hint) == bool(found)


class TestCompose:
    def prepare(self, *sources, environment=None, **options):
        return stack_compose.prepare(list(sources), "demo", environment or {}, **options)

    def service(self, **keys):
        return {"services": {"s": {"image": "i", **keys}}}

    def test_nothing_but_a_compose_error(self):
        """Whatever is wrong with a definition is said in a sentence, not in a traceback."""
        keys = [*stack_compose.KNOWN_SERVICE_KEYS, *stack_compose.REFUSED_SERVICE_KEYS]
        for value in ("x", 1, True, [], {}, ["x"], [1], [None], [[]], {"x": 1}, {"x": None}, {"x": {"y": []}}):
            definitions = [self.service(**{key: value}) for key in keys]
            definitions += [self.service(deploy={key: value}) for key in stack_compose.KNOWN_DEPLOY_KEYS]
            definitions += [
                {**self.service(networks=["x"], configs=["x"]), section: value} for section in stack_compose.SECTIONS
            ]
            definitions += [
                {**self.service(**{section: ["x"]}), section: {"x": value}}
                for section in ("networks", "configs", "secrets")
            ]
            for compose in definitions:
                for strict in (True, False):
                    try:
                        prepared = self.prepare(compose, strict=strict)
                    except stack_compose.ComposeError:
                        continue
                    swarm_stack.endless_services(prepared.definition)
                    [stack_compose.service_view(prepared.definition, name) for name in prepared.definition["services"]]

    def test_merge(self):
        base = self.service(command=["a"], environment=["A=1", "B=1"], volumes=["v:/x", "w:/y"])
        extra = self.service(
            command=["b"], environment={"B": "2"}, volumes=[{"type": "bind", "source": "/s", "target": "/x"}]
        )
        merged, _directory = stack_compose.load([base, extra])
        service = merged["services"]["s"]
        assert service["command"] == ["b"]
        assert service["environment"] == {"A": "1", "B": "2"}
        assert service["volumes"] == ["w:/y", {"type": "bind", "source": "/s", "target": "/x"}]

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("$A-${A}", "1-1"),
            ("$$A", "$A"),
            ("${B:-x}", "x"),
            ("${E-x}", ""),
            ("${E:-x}", "x"),
            ("${A:+y}", "y"),
            ("${B+y}", ""),
            ("$B", ""),
        ],
    )
    def test_interpolation(self, text, value):
        assert stack_compose.interpolate(text, {"A": "1", "E": ""}, []) == value

    @pytest.mark.parametrize("text", ["${A", "$1", "${B:?must be}"])
    def test_bad_interpolation(self, text):
        with pytest.raises(stack_compose.ComposeError):
            stack_compose.interpolate(text, {"A": "1"}, [])

    def test_unset_variables_are_told(self):
        prepared = self.prepare(self.service(hostname="$NOPE"))
        assert "the variable NOPE is not set" in prepared.warnings[0]

    def test_contents_are_not_interpolated(self):
        compose = {**self.service(configs=["c"]), "configs": {"c": {"content": "cost: $5"}}}
        assert self.prepare(compose).contents[0].text == "cost: $5"

    def test_canonical_forms(self, tmp_path):
        (tmp_path / "e").write_text("# no\nX=1\n\nHOMELESS\nFROM\n")
        service = self.service(
            env_file=str(tmp_path / "e"), environment=["Y=2", "FROM2"], labels=["l=1"], deploy={"labels": ["m=1"]}
        )
        service["x-any"] = service["services"]["s"]["x-thing"] = 1
        made = self.prepare(service, environment={"FROM": "f", "FROM2": "g"}).definition["services"]["s"]
        assert made["environment"] == {"X": "1", "Y": "2", "FROM": "f", "FROM2": "g"}
        assert made["labels"] == {"l": "1"}
        assert made["deploy"] == {"labels": {"m": "1"}, "replicas": 1}
        assert "env_file" not in made
        assert "x-thing" not in made

    def test_booleans_and_numbers_become_text(self):
        service = self.service(environment={"T": True, "F": False, "N": 1, "Z": None})
        assert self.prepare(service).definition["services"]["s"]["environment"] == {"T": "true", "F": "false", "N": "1"}

    def test_global_services_have_no_replicas(self):
        made = self.prepare(self.service(deploy={"mode": "global"}))
        assert made.definition["services"]["s"]["deploy"] == {"mode": "global"}

    def test_only_what_is_used_is_kept(self):
        compose = {**self.service(volumes=["v:/v", "/h:/h", "/anonymous"]), "volumes": {"v": {}, "w": {}}}
        compose.update(configs={"c": {"content": ""}}, networks={"n": {}})
        made = self.prepare(compose)
        assert list(made.definition["volumes"]) == ["v"]
        assert list(made.definition["networks"]) == ["default"]
        assert made.contents == []

    @pytest.mark.parametrize(
        ("compose", "message"),
        [
            ({"services": []}, "services must be a mapping"),
            ({"services": {"s": None}}, "has no image"),
            ({"services": {"s": "x"}}, 'services.s must be a mapping, and is "x"'),
            ({"services": {"s": {"image": 1}}}, "service s: image must be a text, and is 1"),
            ({"services": {"s": {"image": "i", "environment": "A=1"}}}, "environment must be a mapping or a list"),
            ({"services": {"s": {"image": "i", "networks": "n"}}}, "networks must be a mapping or a list"),
            ({"services": {"s": {"image": "i", "volumes": [3]}}}, "service s: volumes.0 must be a text or a mapping"),
            ({"services": {"s": {"image": "i", "env_file": [{"path": "x"}]}}}, "env_file.0 must be a text"),
            ({"services": {"s": {"image": "i", "deploy": {"resources": "x"}}}}, "deploy.resources must be a mapping"),
            ({"services": {"s": {"image": "i"}}, "networks": {"n": "x"}}, "networks.n must be a mapping"),
            ({"services": {"s": {"image": "i", "volumes": ["./x:/y"]}}}, "volumes: ./x is relative"),
            ({"services": {"s": {}}}, "has no image"),
            ({"services": {"s": {"image": "i", "networks": ["n"]}}}, "network n is used"),
            ({"services": {"s": {"image": "i", "volumes": ["v:/v"]}}}, "volume v is used"),
            ({"services": {"s": {"image": "i", "configs": ["c"]}}, "configs": {"c": {}}}, "needs exactly one of"),
            ({"services": {"s": {"image": "i", "configs": ["c"]}}, "configs": {"c": {"file": "x"}}}, "is relative"),
            (
                {"services": {"s": {"image": "i", "configs": ["c" * 60]}}, "configs": {"c" * 60: {"content": ""}}},
                "longer than 64",
            ),
            ({"services": {"s": {"image": "i", "env_file": "/no/such"}}}, "cannot read env_file"),
            ({"services": {"s": {"image": "i", "tmpfs": "/x"}}}, "tmpfs has no effect: mount it"),
            ({"services": {"s": {"image": "i", "ports": ["127.0.0.1:80:80"]}}}, "swarm publishes on all addresses"),
            (
                {
                    "services": {"s": {"image": "i", "networks": {"n": {"ipv4_address": "192.0.2.1"}}}},
                    "networks": {"n": {}},
                },
                "networks.n.ipv4_address has no effect",
            ),
            ({"include": ["x"], "services": {}}, "include is not supported"),
            ({"services": {"s": {"image": "i", "nonsense": 1}}}, "nonsense is not a key"),
            ({"services": {"s": {"image": "i", "deploy": {"nonsense": 1}}}}, "deploy.nonsense is not a key"),
            (
                {"services": {"s": {"image": "i", "deploy": {"resources": {"reservations": {"devices": []}}}}}},
                "reservations.devices has no effect",
            ),
        ],
    )
    def test_mistakes(self, compose, message):
        with pytest.raises(stack_compose.ComposeError, match=message):
            self.prepare(compose)

    def test_every_key_that_docker_cli_drops_is_refused(self):
        """docker/cli cli/compose/types: UnsupportedProperties, DeprecatedProperties and ForbiddenProperties."""
        theirs = """build cgroupns_mode cgroup_parent devices domainname external_links ipc links mac_address network_mode
            pid privileged restart security_opt shm_size userns_mode container_name expose extends volume_driver
            volumes_from cpu_quota cpu_shares cpuset mem_limit memswap_limit""".split()  # noqa: SIM905
        assert set(theirs) <= set(stack_compose.REFUSED_SERVICE_KEYS)
        assert not stack_compose.KNOWN_SERVICE_KEYS & set(stack_compose.REFUSED_SERVICE_KEYS)

    def test_files(self, tmp_path):
        path = tmp_path / "stack.json"
        path.write_text(json.dumps({**self.service(configs=["c"]), "configs": {"c": {"file": "text"}}}))
        (tmp_path / "text").write_text("x")
        prepared = self.prepare(str(path))
        assert prepared.directory == str(tmp_path)
        assert prepared.contents[0].path == str(tmp_path / "text")

    def test_yaml_files(self, tmp_path):
        pytest.importorskip("yaml")
        path = tmp_path / "stack.yml"
        path.write_text("services: {s: {image: i}}")
        assert self.prepare(str(path)).definition["services"]["s"]["image"] == "i"
        path.write_text("services: {s: {image: i, ports: [22:22], labels: {day: 2025-01-01, n: 1.5}}}")
        service = self.prepare(str(path)).definition["services"]["s"]
        assert (service["ports"], service["labels"]) == (["22:22"], {"day": "2025-01-01", "n": "1.5"})
        path.write_text("services: {s: {image: !!binary aGk=}}")
        with pytest.raises(stack_compose.ComposeError, match="JSON cannot express"):
            self.prepare(str(path))
        path.write_text("services: {s: [}")
        with pytest.raises(stack_compose.ComposeError, match="not valid YAML"):
            self.prepare(str(path))

    def test_yaml_without_pyyaml(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "yaml", None)
        path = tmp_path / "stack.yml"
        path.write_text("services: {s: {image: i}}")
        with pytest.raises(stack_compose.ComposeError, match="no PyYAML"):
            self.prepare(str(path))

    @pytest.mark.parametrize(
        ("source", "message"), [("/no/file", "cannot read"), ("a:\n b", "from_yaml"), (3, "takes mappings")]
    )
    def test_bad_sources(self, source, message):
        with pytest.raises(stack_compose.ComposeError, match=message):
            self.prepare(source)


class TestDiff:
    def test_secret_looking_values_are_hidden_but_differ(self):
        one = swarm_stack.make_diff("s", {"environment": {"DB_PASSWORD": "alpha", "A": "1"}}, None)["before"]
        two = swarm_stack.make_diff("s", {"environment": {"DB_PASSWORD": "beta", "A": "1"}}, None)["before"]
        assert "alpha" not in one
        assert one != two
        assert "A: 1" in one

    @pytest.mark.parametrize(
        "value",
        [
            {"DB_PASSWORD_FILE": "/run/x"},
            {"TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "2048"},
            ["--lr", "0.1", "--epochs=3", "node.role == worker"],
            "http://host:8080/a@b",
        ],
    )
    def test_what_is_not_secret_is_shown(self, value):
        assert swarm_stack.mask(value) == value

    @pytest.mark.parametrize(
        "value",
        [
            {"HF_TOKEN": "hush"},
            ["API_KEY=hush"],
            ["run", "--token", "hush"],
            ["sh", "-c", "exec run --wandb-api-key hush -v"],
            ["--password=hush"],
            {"DATABASE_URL": "postgres://user:hush@db/name"},
            '  "password": "hush",',
            "secret: hush",
        ],
    )
    def test_secrets_are_hidden(self, value):
        assert "hush" not in str(swarm_stack.mask(value))
        assert "(hidden " in str(swarm_stack.mask(value))

    def test_readable(self):
        text = swarm_stack.readable({"b": [1, {"x": "y", "z": [2]}], "a": {}, "c": "with: colon", "d": None})
        assert text == 'a: {}\nb:\n  - 1\n  - x: y\n    z:\n      - 2\nc: "with: colon"\nd: null\n'

    def test_many_paths_are_shortened(self):
        assert swarm_stack.shorten(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"

    @pytest.mark.parametrize(
        ("before", "after", "paths"),
        [
            ({"Env": ["A=1", "B=1"]}, {"Env": ["B=2", "A=1"]}, ["Env.B"]),
            ({"c": ["node.role == worker"]}, {"c": ["node.role == manager"]}, ["c.0"]),
            ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2, 3]}}, ["a.b.2"]),
            ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {}}, ["a"]),
            ({"a": [{"b": 1}]}, {}, ["a"]),
            ({"a": 1}, {"a": 1}, []),
        ],
    )
    def test_paths(self, before, after, paths):
        assert swarm_stack.differences(before, after) == paths

    def test_options_that_repeat_are_told_apart(self):
        assert swarm_stack.differences({"command": ["--x=1", "--x=2"]}, {"command": ["--x=3", "--x=2"]}) == [
            "command.0"
        ]
        assert swarm_stack.differences({"command": ["--x=1", "--y=2"]}, {"command": ["--y=2", "--x=1"]})
