"""What swarm_stack says of a wait: what each task waits for, and why it gave up."""

import time
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import Live, Slot
from ansible_collections.ddp.swarm.plugins.module_utils.stack.wait import Waiter, epoch, waiting_for
from swarm_stand_in.fixtures import definition
from swarm_stand_in.store import stamp
from test_stack_judge import make_task

STAMP = "2025-01-01T10:00:00.5Z"


def told(task, verdict="starting", goal="running", pattern="", earlier=()):
    return waiting_for(Slot("1", verdict, task), [task, *earlier], goal, pattern)


class TestOneTask:
    @pytest.mark.parametrize(
        ("task", "options", "text"),
        [
            ({}, {"verdict": "outdated"}, "still runs the previous definition on host1"),
            ({"node": ""}, {"verdict": "outdated"}, "still runs the previous definition"),
            ({"state": "new", "error": "no"}, {}, "is not scheduled: no"),
            ({"state": "allocated"}, {}, "is not scheduled: swarm gives no reason"),
            ({"state": "pending", "node": ""}, {}, "is not scheduled: swarm gives no reason"),
            ({"state": "preparing"}, {}, "is preparing on host1 (fetching or checking the image)"),
            ({"state": "preparing", "updated": STAMP}, {},
             "is preparing on host1 since 2025-01-01T10:00:00Z (fetching or checking the image)"),
            ({}, {"goal": "complete"}, "is still running on host1"),
            ({}, {"goal": "complete", "pattern": "^a"}, "is still running on host1"),
            ({"updated": STAMP}, {}, "is still running on host1 since 2025-01-01T10:00:00Z"),
            ({"updated": STAMP}, {"pattern": "^a"}, "is running on host1, but its log has no line that matches '^a'"),
            ({"state": "starting", "updated": STAMP}, {}, "is starting on host1 since 2025-01-01T10:00:00Z"),
            ({"state": "ready", "node": ""}, {"verdict": "restarting"}, "is about to be restarted"),
        ],
    )  # fmt: skip
    def test_waits_for(self, task, options, text):
        assert told(make_task(**task), **options) == text

    @pytest.mark.parametrize(
        ("earlier", "text"),
        [
            ({"state": "failed", "exit_code": 4}, "; its last attempt failed with exit code 4"),
            ({"state": "failed", "exit_code": 4, "error": "boom"}, "; its last attempt failed with exit code 4: boom"),
            ({"state": "rejected", "error": "no"}, "; its last attempt rejected: no"),
            ({"state": "orphaned"}, "; its last attempt orphaned"),
            ({"state": "failed", "exit_code": 0}, "; its last attempt failed"),
            ({"state": "complete"}, ""),
            ({"state": "shutdown"}, ""),
            ({"state": "failed", "slot": "2"}, ""),
            ({"state": "failed", "service": "t"}, ""),
            ({"state": "failed", "spec": {"ContainerSpec": {"Image": "old"}}}, ""),
        ],
    )
    def test_and_how_it_ended_before(self, earlier, text):
        spec = {"ContainerSpec": {"Image": "new"}}
        task = make_task("ready", "ready", created=9, spec=spec)
        before = make_task(**{"desired": "shutdown", "created": 5, "spec": spec, **earlier})
        older = make_task("failed", "shutdown", created=4, spec={"A": 1}, exit_code=7)
        assert told(task, "restarting", earlier=[before, older]) == f"is about to be restarted on host1{text}"

    @pytest.mark.parametrize(
        ("stamp", "seconds"),
        [("2025-01-01T00:00:00Z", 1735689600), ("2025-01-01T00:00:09.987654321Z", 1735689609)],
    )
    def test_times_of_the_engine(self, stamp, seconds):
        assert epoch(stamp) == seconds

    def test_what_has_no_time_is_of_now(self, swarm):
        assert epoch("") == swarm.clock.now


class Look:
    """A stack of one service, as it may be when the wait is over."""

    def __init__(self, *tasks, replicas=1, exists=True, **params):
        spec = {"Name": "demo_s", "TaskTemplate": {}, "Mode": {"Replicated": {"Replicas": replicas}}}
        self.live = Live("demo", services={"demo_s": {"ID": "x", "Spec": spec}} if exists else {}, tasks=list(tasks))
        params = {"wait_for": "running", "wait_timeout": 20, "log_lines": 0, "stability_period": 3, **params}
        self.waiter = Waiter(SimpleNamespace(), "demo", ["s"], params)

    def given_up(self):
        error = self.waiter._timed_out(self.live)
        return str(error), error.failures


class TestGivenUp:
    @pytest.mark.parametrize(
        ("look", "waits"),
        [
            (Look(exists=False), "demo_s does not exist"),
            (Look(replicas=3), "demo_s lacks 3 of 3 tasks"),
            (Look(make_task()), "its tasks have not been running for stability_period yet"),
            (Look(make_task("starting")), "demo_s is starting on host1"),
            (Look(make_task("starting"), replicas=2), "demo_s lacks 1 of 2 tasks; demo_s.1 is starting on host1"),
            (
                Look(make_task(), make_task("pending", slot="2", node="", error="no suitable node (x)"), replicas=2),
                (
                    "demo_s.2 is not scheduled: no suitable node (x) - "
                    "See `docker node ls`: which nodes are ready and active?"
                ),
            ),
            # The hint is about the last attempt, if there is nothing to say about the newest.
            (
                Look(make_task("ready", "ready", created=2), make_task("failed", "shutdown", exit_code=139)),
                (
                    "demo_s is about to be restarted on host1; its last attempt failed with exit code 139 - "
                    "Segmentation fault in the container."
                ),
            ),
            (
                Look(make_task(), ready_pattern="^a"),
                "demo_s is running on host1, but its log has no line that matches '^a'",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "look",
    )
    def test_what_is_waited_for(self, look, waits):
        assert look.given_up()[0] == f"Stack demo is not running after 20 s: {waits}"

    def test_of_a_job(self):
        tasks = [make_task("complete", "shutdown"), make_task(created=2, slot="2")]
        look = Look(*tasks, replicas=2, wait_for="complete", ready_pattern="^a")
        look.live.services["demo_s"]["Spec"]["TaskTemplate"] = {"RestartPolicy": {"Condition": "none"}}
        message, failures = look.given_up()
        assert message == "Stack demo is not complete after 20 s: demo_s.2 is still running on host1"
        assert [failure["task_id"] for failure in failures] == ["t2"]

    @pytest.mark.parametrize(("error", "told"), [("", "is starting on host1"), ("boom", "boom")])
    def test_each_is_a_failure_with_its_reason(self, error, told):
        _message, (failure,) = Look(make_task("starting", error=error)).given_up()
        assert (failure["service"], failure["state"], failure["error"], failure["hint"]) == (
            "demo_s",
            "starting",
            told,
            "",
        )

    def test_who_was_ready_is_not_waited_for(self):
        look = Look(make_task(), make_task(created=2, slot="2"), replicas=2, ready_pattern="^a")
        look.waiter.ready.add("t1")
        message, failures = look.given_up()
        assert message.startswith("Stack demo is not running after 20 s: demo_s.2 is running on host1, but")
        assert [failure["slot"] for failure in failures] == ["2"]

    def test_the_log_of_each_is_shown_if_it_has_one(self, swarm, call):
        swarm.log("demo_node0.1", "2025-01-01T10:00:00Z a", "2025-01-01T10:00:01Z b", "2025-01-01T10:00:02Z c")
        made = call(compose=[definition()], wait_for="complete", log_lines=2)
        assert made["msg"].splitlines()[1:] == ["Last 2 log lines of demo_node0 on host1:", "  b", "  c"]
        assert [failure["log"] for failure in made["failures"]] == [["b", "c"], []]
        made = call(compose=[definition()], wait_for="complete", log_lines=0)
        assert "log lines" not in made["msg"]


class TestFailed:
    def replicated(self):
        compose = definition()
        compose["services"]["node1"]["deploy"]["replicas"] = 2
        return compose

    def test_of_several_tasks_the_one_is_named(self, swarm, call):
        swarm.outcomes = {"demo_node1": [("failed", 3, "boom"), ("running", 0, "")]}
        made = call(compose=[self.replicated()], wait_for="running")
        assert made["msg"].splitlines()[0].startswith("demo_node1.")
        assert made["msg"].endswith(" on host1 failed with exit code 3: boom.")
        (failure,) = made["failures"]
        assert made["msg"].startswith(f"demo_node1.{failure['slot']} on")
        assert (made["state"]["failed"], made["state"]["converged"], made["running"]) == (True, False, True)

    def test_all_that_failed_a_moment_later_is_told(self, swarm, call):
        """node1 fails half a second after node0."""
        swarm.outcomes = {"demo_node0": ("failed", 3, "boom"), "demo_node1": ("failed", 4, "crash", 1.0)}
        made = call(compose=[definition()], wait_for="running")
        assert [failure["exit_code"] for failure in made["failures"]] == [3, 4]
        assert made["msg"].splitlines() == [
            "demo_node0 on host1 failed with exit code 3: boom.",
            "demo_node1 on host1 failed with exit code 4: crash.",
        ]

    def test_what_has_gone_a_moment_later_is_told_as_it_was_seen(self, swarm, call, monkeypatch):
        swarm.outcomes = {"demo_node1": ("failed", 3, "boom")}
        call(compose=[definition()])
        slept = swarm.clock.sleep

        def removed(seconds):
            slept(seconds)
            swarm.swarm.tasks.pop(swarm.newest("demo_node1")["ID"])

        monkeypatch.setattr(swarm.clock, "sleep", removed)
        made = call(compose=[definition()], wait_for="running", redeploy="never", log_lines=0)
        assert made["msg"] == "demo_node1 on host1 failed with exit code 3: boom."

    def test_an_old_update_is_no_news_when_something_was_done(self, swarm, call):
        """It was paused before this call, which is about another service."""
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        call(compose=[definition()])
        swarm.service("node1")["UpdateStatus"] = {"State": "paused", "StartedAt": "then", "Message": "m"}
        compose = definition()
        compose["services"]["node0"]["image"] = "trainer:2"
        old = {"State": "paused", "StartedAt": "then", "Message": "m"}
        update = swarm.swarm.update_service

        def keeping(service, spec):
            update(service, spec)
            if service["Spec"]["Name"] == "demo_node1":
                service["UpdateStatus"] = old

        swarm.swarm.update_service = keeping
        made = call(compose=[compose], wait_for="running", redeploy="never")
        assert made["msg"].startswith("Stack demo is not running after 20 s: demo_node1 is starting on host1")
        made = call(compose=[compose], wait_for="running", redeploy="never")
        assert made["msg"].startswith("demo_node1 was not updated: its update was paused by a failing task (m).")


class TestHowLong:
    def waited(self, swarm, call, **args):
        began = swarm.clock.now
        made = call(compose=[definition()], later=0, **args)
        return made, swarm.clock.now - began

    @pytest.mark.parametrize("timeout", [0, 5])
    def test_no_longer_than_it_may(self, swarm, call, timeout):
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        made, seconds = self.waited(swarm, call, wait_for="running", wait_timeout=timeout, log_lines=0)
        assert f"is not running after {timeout} s" in made["msg"]
        assert timeout <= seconds < timeout + 3
        # It looks once a second, and not at all when there is no time.
        assert swarm.clock.slept == [1.0] * timeout

    @pytest.mark.parametrize(("up", "stable"), [(29, False), (30, True), (31, True)])
    def test_what_has_been_up_for_just_long_enough(self, swarm, up, stable):
        updated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(swarm.clock.now - up))
        look = Look(make_task(updated=updated), make_task("starting", slot="2"), stability_period=30)
        assert look.waiter._old_enough(look.live) == stable

    @pytest.mark.parametrize("goal", ["running", "complete"])
    def test_of_a_wait_for_its_end_no_log_is_read(self, swarm, call, goal):
        swarm.log("demo_node0.1", "2025-01-01T10:00:01Z READY")
        made = call(compose=[definition()], wait_for=goal, ready_pattern="^READY", wait_timeout=3, log_lines=0)
        assert made["failed"]
        assert bool(swarm.count("service", "logs")) == (goal == "running")

    def test_a_log_is_read_until_it_says_so(self, swarm, call):
        call(compose=[definition()])
        for name in ("demo_node0.1", "demo_node1.1"):
            swarm.log(name, "2025-01-01T10:00:01Z not", "2025-01-01T10:00:02Z READY", "2025-01-01T10:00:03Z yet")
        made, _seconds = self.waited(swarm, call, wait_for="running", ready_pattern="^READY", redeploy="always")
        assert not made.get("failed")
        # Of each task once: it was ready then.
        assert swarm.count("service", "logs") == 2

    def test_a_service_that_is_not_described_is_not_waited_for(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        call(compose=[definition()])
        compose = definition()
        del compose["services"]["node1"]
        made = call(compose=[compose], prune=False, wait_for="running")
        assert not made.get("failed")
        assert Live("demo", services=swarm.services).states()[0].name == "node0"

    def test_one_that_goes_while_it_is_waited_for_is_missed(self, swarm, call, monkeypatch):
        call(compose=[definition()])
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        slept = swarm.clock.sleep

        def removed(seconds):
            slept(seconds)
            if "demo_node1" in swarm.services:
                swarm.swarm.remove_service(swarm.service("node1"))

        monkeypatch.setattr(swarm.clock, "sleep", removed)
        made = call(compose=[definition(image="trainer:2")], wait_for="running")
        assert made["msg"] == "Stack demo is not running after 20 s: demo_node1 does not exist"


class TestMeanwhile:
    """What is told while it waits."""

    def told(self, look, **said):
        look.waiter.said = said
        texts = []
        look.waiter.tell = texts.append
        look.waiter.report(look.live)
        return texts

    @pytest.mark.parametrize(
        ("look", "text"),
        [
            (Look(make_task("preparing")), "demo_s on host1 (preparing)"),
            (Look(make_task("pending", node="")), "demo_s (pending)"),
            (Look(make_task("starting"), make_task("preparing", slot="2"), replicas=2), "demo_s.1 on host1 (starting) and 1 more"),
            (Look(make_task()), "its tasks run, and are watched for 3 s"),
            (Look(make_task(), wait_for="complete"), "demo_s on host1 (running)"),
            (Look(exists=False), "demo_s"),
        ],
    )  # fmt: skip
    def test_who_is_waited_for(self, look, text):
        assert self.told(look) == [text]

    def test_how_old_the_last_line_is(self, swarm):
        task = make_task()
        look = Look(task, ready_pattern="epoch 0")
        line = (stamp(swarm.clock.now - 40), "loading \x1b[1mdata")
        (text,) = self.told(look, **{task.id: line})
        assert text == "demo_s on host1 (running), last line 40 s ago: loading data"
        assert self.told(look) == ["demo_s on host1 (running)"]

    def test_nobody_need_be_told(self):
        Look(make_task()).waiter.report(Look(make_task()).live)
