"""What swarm_state says: why a host cannot answer, why a task failed, and what to do about it."""

import platform
import re

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerCli
from ansible_collections.ddp.swarm.plugins.module_utils.stack.explain import (
    describe_task,
    find_failures,
    hint_for,
)
from ansible_collections.ddp.swarm.plugins.module_utils.stack.explain import sentence as real_sentence
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import Live, Task, judge_service, only_gone
from ansible_collections.ddp.swarm.plugins.modules import swarm_stack_info
from swarm_stand_in.fixtures import definition
from test_stack_judge import make_task

NODE = platform.node()
GPUS = {
    "Resources": {
        "Reservations": {
            "GenericResources": [
                {"DiscreteResourceSpec": {"Kind": "GPU", "Value": 2}},
                {"NamedResourceSpec": {"Kind": "NIC", "Value": "eth1"}},
            ]
        }
    }
}
PLACED = {"Placement": {"Constraints": ["node.role == worker", "node.labels.a == b"]}}
FAILURE = {
    "service": "demo_s",
    "slot": "2",
    "node": "host1",
    "state": "failed",
    "exit_code": None,
    "error": "",
    "hint": "",
    "log": [],
}
PAUSED = {"State": "paused", "StartedAt": "then", "Message": "update paused"}


def judged(tasks=(), replicas=1, update=None, **template):
    """The state of the service demo_s."""
    spec = {"Name": "demo_s", "TaskTemplate": template, "Mode": {"Replicated": {"Replicas": replicas}}}
    return judge_service("demo", {"ID": "x", "Spec": spec, "UpdateStatus": update}, list(tasks))


class TestUnavailable:
    @pytest.mark.parametrize(
        ("said", "info", "sentence"),
        [
            ("x", {"LocalNodeState": "locked"}, "The swarm on host1 is locked: "),
            ("it needs to be unlocked", {"LocalNodeState": "active"}, "The swarm on host1 is locked: "),
            ("x", {}, "host1 is not part of a swarm: playbooks/swarm.yml makes one"),
            ("x", None, "host1 is not part of a swarm: "),
            (
                "x",
                {"LocalNodeState": "active", "Error": "rpc: deadline exceeded"},
                "The swarm of host1 has no quorum: ",
            ),
            ("x", {"LocalNodeState": "pending"}, "host1 is in swarm state pending: docker service ls: "),
            ("x", {"LocalNodeState": "active"}, r"host1 is a swarm worker, .* \(unknown\)\."),
            (
                "x",
                {
                    "LocalNodeState": "active",
                    "RemoteManagers": [{"Addr": "192.0.2.1:2377"}, {"Addr": "192.0.2.2:2377"}],
                },
                r"host1 is a swarm worker, .* \(192\.0\.2\.1:2377, 192\.0\.2\.2:2377\)\.",
            ),
            ("x", {"LocalNodeState": "active", "RemoteManagers": [{}]}, r"host1 is a swarm worker, .* \(unknown\)\."),
            *[
                (text, {"LocalNodeState": "active", "ControlAvailable": True}, "The swarm of host1 has no quorum: ")
                for text in (
                    "The swarm does not have a leader",
                    "too few managers are online",
                    "code = DeadlineExceeded",
                    "context deadline exceeded",
                )
            ],
        ],
    )
    def test_by_what_the_engine_says_of_its_swarm(self, swarm, call, said, info, sentence):
        swarm.refuse, swarm.info, swarm.host = said, info or {}, "host1"
        if info is None:
            answer = swarm.docker._info
            swarm.docker._info = lambda parsed: (0, answer(parsed)[1].replace('"Swarm":{}', '"Swarm":null'), "")
        made = call(swarm_stack_info)
        assert made["failed"]
        assert re.match(sentence, made["msg"]), made["msg"]

    def test_an_engine_without_a_name_is_called_as_its_host(self, swarm, call):
        swarm.refuse, swarm.info, swarm.host = "x", {"LocalNodeState": "inactive"}, "host1"
        swarm.docker._info = lambda parsed: (
            0,
            '{"ServerVersion": "1", "Name": "", "Swarm": {"LocalNodeState": "inactive"}}\n',
            "",
        )
        assert call(swarm_stack_info)["msg"].startswith(f"{NODE} is not part of a swarm: ")

    @pytest.mark.parametrize(
        ("info", "sentence"),
        [
            ((0, '{"ServerErrors": ["one", "two"]}\n', ""), "Docker on {} does not answer: one; two"),
            (
                (0, '{"ServerErrors": ["permission denied at the socket"]}\n', ""),
                (
                    "This user may not talk to Docker on {}: use become, or add the user to the group docker. "
                    "(permission denied at the socket)"
                ),
            ),
            ((1, "", "no\n"), "Docker on {} does not answer: docker info: no"),
            ((0, "<html>", ""), "Docker on {} does not answer: docker info prints no JSON"),
        ],
    )
    def test_an_engine_that_cannot_be_asked(self, swarm, call, info, sentence):
        swarm.refuse = "x"
        swarm.docker._info = lambda parsed: info
        assert call(swarm_stack_info)["msg"] == sentence.format(NODE)

    @pytest.mark.parametrize(
        ("said", "gone"),
        [
            ("Error: No such object: a\n", True),
            ("Error: No such object: a\nError response from daemon: task b not found\n", True),
            ("Error: No such object: a\nError response from daemon: boom\n", False),
            ("boom", False),
            # It failed, and does not say of what.
            ("", False),
            ("\n", False),
        ],
    )
    def test_a_complaint_of_what_has_gone(self, said, gone):
        assert only_gone(said) == gone


class TestHints:
    @pytest.mark.parametrize(
        ("error", "code", "hint"),
        [
            (
                "No such image: i",
                None,
                "Image i is not on host1: build it there, or load it there (that of the training: playbooks/image.yml).",
            ),
            ("pull access denied for i", None, "Image i is not on host1: "),
            ("manifest unknown", None, "Image i is not on host1: "),
            ("not found: manifest i", None, "Image i is not on host1: "),
            ("container unhealthy", None, "Its health check failed: "),
            ("OOM-killed", 1, "Killed, most likely out of memory: "),
            ("container init was OOM-killed (memory limit too low?)", None, "Killed, most likely out of memory: "),
            ("no room left, boom", 1, ""),
            ("out of memory", 1, "Killed, most likely out of memory: "),
            ("task: non-zero exit (137)", 137, "Killed, most likely out of memory: "),
            ("bind source path does not exist", None, "Swarm does not create bind sources: "),
            (
                "invalid mount: bind source path does not exist: /data",
                None,
                "Swarm does not create bind sources: make /data on",
            ),
            ("unknown runtime specified", None, "The engine on host1 does not know that runtime: "),
            ("invalid runtime", None, "The engine on host1 does not know that runtime: "),
            ("port is already allocated", None, "Another process on host1 holds that port: "),
            ("bind: address already in use", None, "Another process on host1 holds that port: "),
            ("network n not found", None, "host1 could not attach the network: "),
            ("network sandbox join failed", None, "host1 could not attach the network: "),
            ("network is slow", None, ""),
            ("file not found", None, ""),
            ("sandbox join failed", None, ""),
            ("executable file not found in $PATH", None, "The command was not found or is not executable in image i."),
            ("", 125, ""),
            ("", 126, "The command was not found or is not executable in image i."),
            ("", 127, "The command was not found or is not executable in image i."),
            ("", 128, ""),
            ("", 133, ""),
            ("", 134, "The process aborted (SIGABRT): "),
            ("", 139, "Segmentation fault in the container."),
            ("", 143, "Stopped by SIGTERM before it was done."),
            ("", 144, ""),
            ("heartbeat failure", None, "host1 was lost: "),
            ("node is down", None, "host1 was lost: "),
            ("", None, ""),
        ],
    )
    def test_each_sign_by_itself(self, error, code, hint):
        found = hint_for(judged(), make_task("failed", "shutdown", error=error, exit_code=code))
        assert found.startswith(hint)
        assert bool(found) == bool(hint)

    def test_an_orphan_is_of_a_host_that_was_lost(self):
        assert hint_for(judged(), make_task("orphaned", "shutdown")).startswith("host1 was lost: ")

    def test_a_task_without_a_node(self):
        found = hint_for(judged(), make_task("rejected", "shutdown", node="", error="No such image: i"))
        assert found.startswith("Image i is not on the node: ")

    @pytest.mark.parametrize(
        ("error", "template", "hints"),
        [
            (
                "(scheduling constraints not satisfied on 2 nodes)",
                PLACED,
                ["No node fulfils node.role == worker and node.labels.a == b: "],
            ),
            # Without a constraint of its own there is none to name.
            ("(scheduling constraints not satisfied on 2 nodes)", {}, ["See `docker node ls`: "]),
            ("(something else)", PLACED, ["See `docker node ls`: "]),
            ("(insufficient resources on 1 node)", GPUS, ["No node has GPU=2, NIC=eth1 free: "]),
            ("(insufficient resources on 1 node)", {}, ["No node has the reserved CPU or memory free: "]),
            ("(something else)", GPUS, ["See `docker node ls`: "]),
            ("(2 nodes are not available)", {}, ["A node is drained, paused or down: "]),
            ("(1 node not available for new tasks)", {}, ["A node is drained, paused or down: "]),
            (
                (
                    "(insufficient resources on 1 node; host-mode port already in use on 1 node; "
                    "1 node not available for new tasks; max replicas per node limit exceed)"
                ),
                {},
                [
                    "No node has the reserved",
                    "A published host port",
                    "A node is drained",
                    "placement.max_replicas_per_node",
                ],
            ),
        ],
    )
    def test_all_that_keeps_a_task_from_every_node(self, error, template, hints):
        task = make_task("pending", error=f"no suitable node {error}", node="")
        found = hint_for(judged(**template), task)
        assert found.startswith(hints[0])
        places = [found.index(hint) for hint in hints]
        assert places == sorted(places)
        assert len(re.findall(r"(?:^|\. )(?:No node|A |See |placement)", found)) == len(hints)


class TestSentences:
    @pytest.mark.parametrize(
        ("changes", "several", "sentence"),
        [
            ({}, False, "demo_s on host1 failed."),
            ({}, True, "demo_s.2 on host1 failed."),
            ({"node": ""}, False, "demo_s failed."),
            ({"exit_code": 0}, False, "demo_s on host1 failed."),
            ({"exit_code": 3, "error": "boom."}, False, "demo_s on host1 failed with exit code 3: boom."),
            ({"state": "rejected", "error": "boom"}, False, "demo_s on host1 was rejected: boom."),
            ({"state": "orphaned"}, False, "demo_s on host1 was orphaned."),
            ({"state": "update", "node": ""}, False, "demo_s was not updated."),
            ({"hint": "Do it."}, False, "demo_s on host1 failed. Do it."),
            ({"log": ["a", "b"]}, False, "demo_s on host1 failed. Last 2 log lines:\n  a\n  b"),
        ],
    )
    def test_of_one_failure(self, changes, several, sentence):
        assert real_sentence({**FAILURE, **changes}, several) == sentence

    def test_one_service_of_one_task_needs_no_number(self):
        assert real_sentence(FAILURE) == "demo_s on host1 failed."


class TestFailures:
    def live(self, *tasks, update=None, other=(), replicas=2):
        spec = {"Name": "demo_s", "TaskTemplate": {}, "Mode": {"Replicated": {"Replicas": replicas}}}
        service = {"ID": "x", "Spec": spec, "UpdateStatus": update}
        services = {"demo_s": service, "demo_t": {"ID": "y", "Spec": {**spec, "Name": "demo_t"}}}
        return Live("demo", services=services, tasks=[*tasks, *other])

    def found(self, live, **options):
        return [
            (failure["task_id"], failure["state"], failure["error"], failure.get("update_state"))
            for failure in find_failures(None, live, 0, **options)
        ]

    def test_the_last_attempt_that_ended_is_told_of_a_place(self):
        """The newest is a retry that has said nothing; another place's failure is not this one's."""
        rejected = [make_task("rejected", "shutdown", created=n, slot="2", error=f"no {n}") for n in (7, 6, 5)]
        live = self.live(
            make_task("preparing", created=9, slot="2"),
            make_task("failed", "running", created=8, slot="1", error="another place"),
            *rejected,
            other=[make_task("failed", "running", created=8, slot="2", service="t", error="another service")],
        )
        assert self.found(live) == [("t7", "rejected", "no 7", None)]

    def test_a_failed_task_is_told_by_itself(self):
        live = self.live(
            make_task("failed", "shutdown", created=9, error="now"),
            make_task("failed", "shutdown", created=8, error="then"),
        )
        assert self.found(live) == [("t9", "failed", "now", None)]

    @pytest.mark.parametrize(
        ("tasks", "old", "found"),
        [
            # Of what failed, the newest; nobody else's.
            (
                [make_task("starting", created=9), make_task("failed", "running", created=8, slot="2", error="it")],
                [],
                [("t8", "failed", "it (its update was paused by a failing task)", "paused")],
            ),
            (
                [make_task("failed", "running", created=8)],
                [],
                [("t8", "failed", "(its update was paused by a failing task)", "paused")],
            ),
            (
                [make_task("starting", created=9)],
                [],
                [("", "update", "its update was paused by a failing task (update paused)", "paused")],
            ),
            ([make_task("starting", created=9)], ["then"], []),
            ([make_task("starting", created=9)], ["before"], [("", "update", "its update", "paused")]),
            # Both places are filled: nothing is amiss.
            ([make_task(created=9, slot="1"), make_task(created=8, slot="2")], [], []),
            # What has failed for good says more than the update that it broke.
            ([make_task("failed", "shutdown", created=9, error="it")], [], [("t9", "failed", "it", None)]),
        ],
    )
    def test_an_update_that_was_paused(self, tasks, old, found):
        stranger = make_task("failed", "running", created=10, service="t", slot="1", error="another service")
        told = self.found(self.live(*tasks, update=PAUSED, other=[stranger]), ignore_updates=old)
        assert [each[:2] + each[3:] for each in told] == [each[:2] + each[3:] for each in found]
        assert all(one[2].startswith(other[2]) for one, other in zip(told, found, strict=True))

    @pytest.mark.parametrize(
        ("node", "lines", "log"), [("host1", 2, ["b", "c"]), ("host1", 0, []), ("", 2, [])], ids=str
    )
    def test_a_log_is_shown_of_what_ran_and_if_it_is_asked_for(self, swarm, call, node, lines, log):
        call(compose=[definition()])
        swarm.log("demo_node1.1", *(f"2025-01-01T10:00:0{number}Z {text}" for number, text in enumerate("abc")))
        docker = DockerCli(type("Module", (), {"params": {}, "get_bin_path": lambda self, name: f"/bin/{name}"})())
        task = Task(**{**vars(make_task("failed", node=node)), "id": swarm.newest("demo_node1")["ID"]})
        before = swarm.count("service", "logs")
        assert describe_task(docker, judged(), task, lines)["log"] == log
        assert swarm.count("service", "logs") - before == bool(log)

    def test_without_a_docker_there_is_no_log(self):
        entry = describe_task(None, judged(), make_task("failed", exit_code=3, error="e"), 5)
        assert entry == {
            "service": "demo_s",
            "task_id": "t1",
            "node": "host1",
            "slot": "1",
            "state": "failed",
            "exit_code": 3,
            "error": "e",
            "log": [],
            "hint": "",
        }
