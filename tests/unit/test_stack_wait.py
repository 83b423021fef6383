"""How swarm_stack waits, and what it says when it waits in vain."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import BAD_UPDATES
from swarm_stand_in.fixtures import definition
from swarm_stand_in.store import stamp


class TestWaiting:
    def test_complete(self, swarm, call):
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        made = call(compose=[definition()], wait_for="complete")
        assert made["state"]["complete"]
        assert not made["running"]
        assert not call(compose=[definition()], wait_for="complete")["changed"]
        assert call(compose=[definition()], wait_for="running")["calls"] <= 6

    def test_failure_names_task_and_shows_log(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "task: non-zero exit (1)"), "demo_node0": ("complete", 0, "")}
        swarm.log(
            "demo_node1.1", "2025-01-01T10:00:01.5Z out", "2025-01-01T10:00:03Z last", "!2025-01-01T10:00:02Z middle"
        )
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
        swarm.run("service update --detach --label-add extra=x demo_node1")
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
        assert result["timed_out"]

    @pytest.mark.parametrize("state", sorted(BAD_UPDATES))
    def test_bad_updates_are_failures(self, swarm, call, state):
        call(compose=[definition()])
        swarm.updates = {"demo_node1": state}
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        result = call(compose=[definition(image="trainer:2")], wait_for="running")
        assert result["failed"]
        assert BAD_UPDATES[state] in result["msg"]
        assert result["failures"][0]["update_state"] == state

    def test_an_old_paused_update_is_repaired(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("starting", 0, "")}
        call(compose=[definition()])
        swarm.outcomes = {}
        swarm.service("node1")["UpdateStatus"] = {"State": "paused", "StartedAt": "then", "Message": "m"}
        made = call(compose=[definition()], wait_for="running", redeploy="never")
        assert made["failed"]
        assert call(compose=[definition()])["actions"] == ["restart service node1: update paused"]

    def test_an_update_paused_by_a_task_that_finished_well_is_no_failure(self, swarm, call):
        """Engine 20.10: "update paused due to failure or early termination of task", and the task had exited with 0."""
        call(compose=[definition()])
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        made = call(compose=[definition(image="trainer:2")], wait_for="running")
        assert not made.get("failed")
        swarm.swarm.settle()
        assert swarm.service("node1")["UpdateStatus"]["State"] == "paused"
        assert not call(compose=[definition(image="trainer:2")], wait_for="running").get("failed")

    def test_ready_pattern(self, swarm, call):
        swarm.log("demo_node0.1", "2025-01-01T10:00:01Z READY")
        swarm.log("demo_node1.1", "2025-01-01T10:00:01Z waiting")
        result = call(compose=[definition()], wait_for="running", ready_pattern="^READY")
        assert "demo_node1 is running on host1, but its log has no line that matches '^READY'" in result["msg"]
        swarm.log("demo_node1.1", "2025-01-01T10:00:01Z READY")
        assert not call(compose=[definition()], wait_for="running", ready_pattern="^READY").get("failed")

    @pytest.mark.parametrize(
        "line",
        [
            "[launcher] rank 0 has brought epoch 3 | batch_size from rank 1",
            "W1129 21:37:42.123000 7 torch/distributed/run.py:792] epoch 1 | batch_size",
            "W1129 21:37:42.123000 7 site-packages/torch/distributed/elastic/agent/server/api.py:1] epoch 1 | batch_size",
            "WARNING:torch.distributed.run:epoch 1 | batch_size",
        ],
    )
    def test_what_starts_a_script_does_not_speak_for_it(self, swarm, call, line):
        pattern = {"wait_for": "running", "ready_pattern": r"epoch \d+ \| batch_size"}
        for node in ("node0", "node1"):
            swarm.log(f"demo_{node}.1", f"!2025-01-01T10:00:01Z {line}")
        assert "has no line that matches" in call(compose=[definition()], **pattern)["msg"]
        for node in ("node0", "node1"):
            swarm.log(f"demo_{node}.1", f"!2025-01-01T10:00:01Z {line}", "2025-01-01T10:00:02Z epoch 1 | batch_size 2")
        assert not call(compose=[definition()], **pattern).get("failed")

    def test_ready_pattern_in_a_state_of_a_progress_bar_and_behind_torchruns_prefix(self, swarm, call):
        swarm.log("demo_node0.1", "2025-01-01T00:00:01Z [default1]:READY")
        swarm.log("demo_node1.1", "!2025-01-01T00:00:01Z loading\rREADY 1%\r2%")
        assert not call(compose=[definition()], wait_for="running", ready_pattern="^READY").get("failed")

    def test_a_ready_line_that_has_left_the_last_lines(self, swarm, call):
        lines = [f"2025-01-01T10:00:{number / 100:09.6f}Z line" for number in range(2500)]
        for node in ("node0", "node1"):
            swarm.log(f"demo_{node}.1", "2025-01-01T09:59:59Z READY", *lines)
        pattern = {"wait_for": "running", "ready_pattern": "^READY"}
        assert not call(compose=[definition()], **pattern).get("failed")
        # What the engine has rotated away cannot be found, and nothing was done to the task.
        for node in ("node0", "node1"):
            swarm.log(f"demo_{node}.1", *lines)
        again = call(compose=[definition()], **pattern)
        assert (again["changed"], again.get("failed")) == (False, None)
        # A task that was just started must have said it.
        assert call(compose=[definition()], redeploy="always", **pattern)["failed"]

    def test_the_launcher_itself_says_what_it_has_seen_of_a_step(self, swarm, call):
        for node in ("node0", "node1"):
            swarm.log(
                f"demo_{node}.1",
                "!2025-01-01T10:00:01Z [launcher] rank 1 has made its first step (all_reduce has ended)",
            )
        assert not call(compose=[definition()], wait_for="running", ready_pattern="made its first step").get("failed")

    def test_ready_pattern_does_not_ask_what_has_completed(self, swarm, call):
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        assert not call(compose=[definition()], wait_for="running", ready_pattern="x").get("failed")

    def test_complete_refuses_what_restarts_for_ever(self, swarm, call):
        result = call(compose=[definition(deploy={})], wait_for="complete")
        assert "node1 would be restarted" in result["msg"]
        assert swarm.calls == []


class TestStability:
    """With the clock of the swarm: nobody waits for real, and every second is counted."""

    def again(self, **changes):
        """What is started again when it fails."""
        compose = definition(**changes)
        for service in compose["services"].values():
            service["deploy"]["restart_policy"] = {"condition": "on-failure", "delay": "1s"}
        return compose

    def waited(self, swarm, call, **args):
        began = swarm.clock.now
        made = call(later=0, wait_for="running", wait_timeout=300, **args)
        return made, swarm.clock.now - began

    def test_a_task_that_fails_meanwhile_starts_the_count_anew(self, swarm, call):
        """It fails 20 s after its start, of 30 s that it should have been running."""
        swarm.outcomes = {"demo_node1": [("failed", 1, "boom", 20), ("running", 0, "")]}
        made, seconds = self.waited(swarm, call, compose=[self.again()], stability_period=30)
        assert not made.get("failed")
        assert seconds > 20 + 30

    def test_a_task_that_goes_on_is_not_counted_anew(self, swarm, call):
        made, seconds = self.waited(swarm, call, compose=[self.again()], stability_period=30)
        assert not made.get("failed")
        assert 30 <= seconds < 40

    def test_one_that_completes_meanwhile_does_not_start_the_count_anew(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("complete", 0, "", 20)}
        made, seconds = self.waited(swarm, call, compose=[self.again()], stability_period=30)
        assert not made.get("failed")
        assert 30 <= seconds < 40

    def test_what_has_been_up_for_long_is_not_watched(self, swarm, call):
        call(compose=[definition()])
        swarm.swarm.settle()
        made, seconds = self.waited(swarm, call, compose=[definition()], stability_period=30)
        assert (made["changed"], swarm.clock.slept, seconds < 1) == (False, [], True)

    @pytest.mark.parametrize(("up", "stable"), [(10, False), (40, True)])
    def test_what_is_young_is_watched(self, swarm, call, up, stable):
        """node0 has been up for long, node1 was started again."""
        call(compose=[definition()])
        swarm.swarm.settle()
        swarm.run("service update --detach --force demo_node1")
        # It takes two seconds to stop and start; somebody else's hand takes two minutes.
        swarm.swarm.tasks_of("demo_node1")[0]["Status"]["Timestamp"] = stamp(swarm.clock.now - up)
        made, seconds = self.waited(swarm, call, compose=[definition()], stability_period=30)
        assert not made.get("failed")
        assert (seconds < 1) == stable
        assert stable or 30 - up - 1 < seconds < 30 - up + 2

    def test_what_was_just_changed_is_watched_whatever_its_age(self, swarm, call):
        """A deployment that changes no task: those that run are old, and still have to be seen."""
        call(compose=[definition()])
        swarm.swarm.settle()
        compose = definition(deploy={**definition()["services"]["node1"]["deploy"], "labels": {"l": "1"}})
        made, seconds = self.waited(swarm, call, compose=[compose], stability_period=30)
        assert made["actions"] == ["update service node1: deploy.labels"]
        assert seconds >= 30

    def test_a_line_that_is_not_waited_for_for_ever(self, swarm, call):
        """What shows none counts once it has run for longer, and is named."""
        soft = {"ready_pattern": "^READY", "ready_within": 30, "stability_period": 3}
        swarm.log("demo_node0.1", "2025-01-01T10:00:01Z READY")
        made, seconds = self.waited(swarm, call, compose=[self.again()], **soft)
        assert (made.get("failed"), made["unready"]) == (None, ["node1"])
        assert 30 <= seconds < 40
        # A second run does not wait: it says what the logs say now.
        made, seconds = self.waited(swarm, call, compose=[self.again()], **soft)
        assert (made["changed"], made["unready"], seconds < 1) == (False, ["node1"], True)
        swarm.log("demo_node1.1", "2025-01-01T10:00:01Z READY")
        made, seconds = self.waited(swarm, call, compose=[self.again()], **soft)
        assert (made["unready"], seconds < 1) == ([], True)
        made, seconds = self.waited(swarm, call, compose=[self.again()], redeploy="always", **soft)
        assert made["unready"] == []
        assert 3 <= seconds < 15

    def test_what_nothing_was_asked_of_is_not_named(self, swarm, call):
        assert self.waited(swarm, call, compose=[self.again()])[0]["unready"] == []
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        again = {"ready_pattern": "x", "ready_within": 30, "redeploy": "always"}
        assert self.waited(swarm, call, compose=[self.again()], **again)[0]["unready"] == []

    def test_what_has_failed_must_run_longer_without_a_line_too(self, swarm, call):
        swarm.outcomes = {"demo_node1": [("failed", 1, "boom", 20), ("running", 0, "")]}
        soft = {"ready_pattern": "^READY", "ready_within": 30, "stability_period": 3}
        made, seconds = self.waited(swarm, call, compose=[self.again()], **soft)
        assert (made.get("failed"), made["unready"]) == (None, ["node0", "node1"])
        assert 20 + 20 + 30 <= seconds < 80

    def test_a_wait_that_is_too_short_does_not_blame_the_line(self, swarm, call):
        soft = {"ready_pattern": "^READY", "ready_within": 30, "stability_period": 3, "wait_timeout": 10}
        made = call(later=0, wait_for="running", compose=[self.again()], **soft)
        assert made["msg"].endswith(
            "is not running after 10 s: its tasks have not been running for ready_within (30 s) yet"
        )

    def test_nothing_is_watched_when_a_job_is_complete(self, swarm, call):
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, "", 5))
        began = swarm.clock.now
        made = call(later=0, compose=[self.again()], wait_for="complete", stability_period=1000, wait_timeout=100)
        assert made["state"]["complete"]
        assert swarm.clock.now - began < 20


class TestRestarts:
    def compose(self, attempts):
        compose = definition()
        for service in compose["services"].values():
            service["deploy"]["restart_policy"] = {
                "condition": "on-failure",
                "delay": "1s",
                **({} if attempts is None else {"max_attempts": attempts}),
            }
        return compose

    def test_the_last_attempt_counts(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 4, "task: non-zero exit (4)")}
        made = call(compose=[self.compose(2)], wait_for="running", wait_timeout=60)
        assert made["msg"].startswith("demo_node1 on host1 failed with exit code 4")
        assert len([task for task in made["tasks"] if task["service"] == "node1"]) == 3

    @pytest.mark.parametrize("life", [8, 25])
    def test_what_fails_again_and_again_never_counts_as_running(self, swarm, call, life):
        """It lives for longer than it would have to run; seen from its start, and by a second run in the middle of an attempt."""
        swarm.outcomes = {"demo_node1": ("failed", 1, "task: non-zero exit (1)", life)}
        made = call(later=0, compose=[self.compose(3)], wait_for="running", wait_timeout=300, stability_period=life + 3)
        assert made["msg"].startswith("demo_node1 on host1 failed with exit code 1")
        call(compose=[self.compose(3)], redeploy="always")
        # In the second attempt, which has been running for as long as it has to.
        again = call(
            later=2 * life - 1, compose=[self.compose(3)], wait_for="running", wait_timeout=300, stability_period=3
        )
        assert again["msg"].startswith("demo_node1 on host1 failed with exit code 1")

    def test_what_has_failed_and_runs_on_counts_in_the_end(self, swarm, call):
        swarm.outcomes = {"demo_node1": [("failed", 1, "boom", 8), ("running", 0, "")]}
        call(later=0, compose=[self.compose(3)])
        began = swarm.clock.now
        made = call(later=15, compose=[self.compose(3)], wait_for="running", wait_timeout=300)
        assert not made.get("failed")
        assert swarm.clock.now - began > 8 + 1 + 8 + 3
        # What failed long ago, after a long life, is not held against it.
        assert call(later=600, compose=[self.compose(3)], wait_for="running", wait_timeout=0)["state"]["converged"]

    def test_one_that_waits_in_vain_is_told_with_what_failed_before(self, swarm, call):
        swarm.outcomes = {"demo_node1": [("failed", 1, "boom", 30), ("running", 0, "")]}
        made = call(later=0, compose=[self.compose(3)], wait_for="running", wait_timeout=50, stability_period=31)
        assert "demo_node1 is running again on host1" in made["msg"]
        assert "its last attempt failed with exit code 1: boom" in made["msg"]
        assert [failure["exit_code"] for failure in made["failures"]] == [1]

    def test_one_that_succeeds_in_the_end(self, swarm, call):
        swarm.outcomes = {"demo_node1": [("failed", 4, "boom"), ("failed", 4, "boom"), ("complete", 0, "")]}
        made = call(compose=[self.compose(5)], wait_for="complete", wait_timeout=60)
        # node0 runs on: nothing has failed, and not all has ended.
        assert "demo_node0 is still running on host1" in made["msg"]
        swarm.outcomes = dict.fromkeys(["demo_node0", "demo_node1"], ("complete", 0, ""))
        assert call(compose=[self.compose(5)], wait_for="complete", redeploy="always")["state"]["complete"]

    def test_what_is_tried_for_ever_has_not_failed(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 4, "task: non-zero exit (4)")}
        made = call(compose=[self.compose(None)], wait_for="complete", wait_timeout=20)
        assert "Stack demo is not complete after 20 s" in made["msg"]
        assert "its last attempt failed with exit code 4" in made["msg"]

    def test_rejected_again_and_again(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("rejected", 0, "No such image: trainer:1")}
        made = call(compose=[self.compose(None)], wait_for="running", wait_timeout=60)
        assert made["msg"].startswith("demo_node1 on host1 was rejected: No such image: trainer:1.")


class TestUpdates:
    def compose(self, image, action=None):
        update = {} if action is None else {"update_config": {"failure_action": action, "monitor": "5s"}}
        return definition(image=image, deploy={**definition()["services"]["node1"]["deploy"], **update})

    def test_swarm_goes_back_by_itself(self, swarm, call):
        """What is seen of an update changes from one look to the next."""
        call(compose=[self.compose("trainer:1", "rollback")])
        swarm.outcomes = {"demo_node1": [("failed", 6, "task: non-zero exit (6)"), ("running", 0, "")]}
        made = call(compose=[self.compose("trainer:2", "rollback")], wait_for="running")
        assert "rolled back" in made["msg"]
        (failure,) = made["failures"]
        assert (failure["update_state"], failure["exit_code"]) == ("rollback_started", 6)
        swarm.swarm.settle()
        assert swarm.service("node1")["UpdateStatus"]["State"] == "rollback_completed"
        assert swarm.newest("demo_node1")["Spec"]["ContainerSpec"]["Image"] == "trainer:1"
        # It runs, and is not what was asked for.
        assert call(compose=[self.compose("trainer:2", "rollback")], check=True)["changed"]

    def test_an_update_that_completes(self, swarm, call):
        call(compose=[self.compose("trainer:1")])
        made = call(compose=[self.compose("trainer:2")], wait_for="running", stability_period=0)
        assert [service["update_state"] for service in made["services"]] == ["", "updating"]
        made = call(compose=[self.compose("trainer:2")], wait_for="running")
        assert [service["update_state"] for service in made["services"]] == ["", "completed"]


class TestJobs:
    @pytest.mark.parametrize("mode", ["replicated-job", "global-job"])
    def test_a_job_ends_whatever_its_restart_condition(self, swarm, call, mode):
        compose = {"services": {"job": {"image": "trainer:1", "deploy": {"mode": mode}}}}
        swarm.outcomes = {"demo_job": ("complete", 0, "")}
        made = call(compose=[compose], wait_for="complete")
        assert not made.get("failed")
        assert made["state"]["complete"]

    @pytest.mark.parametrize("condition", [None, "any"])
    @pytest.mark.parametrize("mode", [None, "replicated", "global"])
    def test_a_service_does_not(self, swarm, call, mode, condition):
        deploy = {
            **({"mode": mode} if mode else {}),
            **({"restart_policy": {"condition": condition}} if condition else {}),
        }
        made = call(compose=[{"services": {"s": {"image": "i", "deploy": deploy}}}], wait_for="complete")
        assert "s would be restarted after finishing" in made["msg"]
