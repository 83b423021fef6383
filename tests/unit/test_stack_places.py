"""The places of a service, filled or not, and how swarm's answers become tasks."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.explain import summary
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import (
    BAD_UPDATES,
    Live,
    ServiceState,
    Slot,
    judge_service,
    judge_slot,
    list_tasks,
    parse_tasks,
    same_template,
    service_mode,
)
from ansible_collections.ddp.swarm.plugins.modules import swarm_stack_info
from swarm_stand_in.fixtures import definition
from test_stack_judge import make_task

STATE = "ansible_collections.ddp.swarm.plugins.module_utils.stack.live"


def state(*verdicts, wanted=None, update=""):
    slots = [Slot(str(number), verdict, make_task()) for number, verdict in enumerate(verdicts)]
    return ServiceState(
        name="s",
        full_name="demo_s",
        mode="replicated",
        wanted=len(slots) if wanted is None else wanted,
        slots=slots,
        update_state=update,
        update_started="",
        update_message="",
        constraints=["node.role == worker"],
        generic_resources=[],
        image="i:1",
    )


class TestServices:
    @pytest.mark.parametrize(
        ("verdicts", "wanted", "running", "complete"),
        [
            (["running", "running"], 2, True, False),
            (["running", "complete"], 2, True, False),
            (["complete", "complete"], 2, True, True),
            (["complete"], 2, False, False),
            (["running", "starting"], 2, False, False),
            (["running", "failed"], 2, False, False),
            (["running", "outdated"], 2, False, False),
            ([], 0, True, True),
            ([], 1, False, False),
            # Scaled down, and one of them is on its way out.
            (["running", "running"], 1, True, False),
        ],
    )
    def test_what_is_reached(self, verdicts, wanted, running, complete):
        found = state(*verdicts, wanted=wanted)
        assert (found.reached("running"), found.reached("complete")) == (running, complete)
        assert found.filled == running
        assert found.missing == max(0, wanted - len(verdicts))

    @pytest.mark.parametrize("update", ["", "updating", "completed", *BAD_UPDATES])
    @pytest.mark.parametrize(
        ("verdicts", "wanted", "filled"),
        [(["running"], 1, True), (["complete"], 1, True), (["running"], 2, False), (["starting"], 1, False)],
    )
    def test_a_bad_update_is_a_failure_unless_it_is_paused_and_all_is_well(self, verdicts, wanted, filled, update):
        found = state(*verdicts, wanted=wanted, update=update)
        bad = update.startswith("rollback") or (update == "paused" and not filled)
        assert (found.update_failed, found.failed) == (bad, bad)
        assert found.reached("running") == (filled and not bad)

    def test_each_verdict_is_counted(self):
        verdicts = ["running"] * 2 + ["complete"] * 3 + ["failed"] * 4 + ["starting", "restarting", "outdated"]
        assert state(*verdicts, wanted=14).as_result() == {
            "name": "s",
            "full_name": "demo_s",
            "image": "i:1",
            "mode": "replicated",
            "wanted": 14,
            "running": 2,
            "complete": 3,
            "failed": 4,
            "starting": 5,
            "update_state": "",
            "converged": False,
            "constraints": ["node.role == worker"],
        }

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            (None, ("replicated", 1)),
            ({"Replicated": None}, ("replicated", 1)),
            ({"ReplicatedJob": {"MaxConcurrent": 2}}, ("replicated-job", 2)),
            ({"ReplicatedJob": {}}, ("replicated-job", 1)),
            ({"ReplicatedJob": None}, ("replicated-job", 1)),
        ],
    )
    def test_modes_that_say_little(self, mode, expected):
        assert service_mode({"Mode": mode}) == expected

    @pytest.mark.parametrize("mode", ["Global", "GlobalJob"])
    @pytest.mark.parametrize(("nodes", "wanted"), [([], 1), (["a"], 1), (["a", "b", "c"], 3)])
    def test_a_global_service_wants_what_it_has_and_at_least_one(self, mode, nodes, wanted):
        service = {"ID": "x", "Spec": {"Name": "demo_s", "TaskTemplate": {}, "Mode": {mode: {}}}}
        found = judge_service("demo", service, [make_task(slot=node) for node in nodes])
        assert (found.wanted, found.missing) == (wanted, wanted - len(nodes))

    @pytest.mark.parametrize(("update", "verdict"), [("updating", "outdated"), ("rollback_started", "outdated"),
                                                     ("completed", "running"), ("paused", "running")])  # fmt: skip
    def test_a_task_has_to_move_only_while_an_update_goes_on(self, update, verdict):
        spec = {"Name": "demo_s", "TaskTemplate": {"Placement": {"Constraints": ["node.hostname == b"]}}}
        service = {"ID": "x", "Spec": spec, "UpdateStatus": {"State": update}}
        task = make_task(spec={"Placement": {"Constraints": ["node.hostname == a"]}})
        assert [slot.verdict for slot in judge_service("demo", service, [task]).slots] == [verdict]

    def test_only_its_own_tasks_fill_its_places_and_those_that_left_do_not(self):
        service = {"ID": "x", "Spec": {"Name": "demo_s", "Mode": {"Replicated": {"Replicas": 2}}}}
        tasks = [
            make_task(slot="2", created=6),
            make_task("starting", slot="1", created=5),
            make_task("failed", "shutdown", slot="1", created=4),
            make_task(service="t", slot="3", created=3),
            make_task("shutdown", "shutdown", slot="4", created=2),
        ]
        found = judge_service("demo", service, tasks)
        assert [(slot.name, slot.verdict, slot.task.id) for slot in found.slots] == [
            ("1", "restarting", "t5"),
            ("2", "running", "t6"),
        ]


class TestPlaces:
    @pytest.mark.parametrize(
        ("condition", "job", "history", "verdict"),
        [
            ("any", False, [("running", "complete")], "running"),
            ("any", False, [("running", "ready")], "outdated"),
            ("any", False, [("remove", "shutdown")], ""),
            ("any", False, [("shutdown", "running")], "starting"),
            ("any", False, [("complete", "remove")], ""),
            ("any", True, [("complete", "complete")], "complete"),
            (None, True, [("complete", "complete")], "complete"),
            (None, False, [("complete", "shutdown")], "restarting"),
            ("any", False, [("failed", "ready")], "restarting"),
            ("any", False, [("orphaned", "running")], "restarting"),
            # The attempt before this one counts, not one before that.
            ("any", False, [("starting", "running"), ("complete", "shutdown"), ("failed", "shutdown")], "starting"),
            ("any", False, [("ready", "ready"), ("orphaned", "shutdown")], "restarting"),
            # Three in a row, the newest among them.
            ("any", False, [("rejected", "running")] * 2, "restarting"),
            ("any", False, [("rejected", "running")] * 3, "failed"),
            ("any", False, [("rejected", "running")] * 5, "failed"),
            ("any", False, [("failed", "running"), *[("rejected", "shutdown")] * 3], "restarting"),
        ],
    )
    def test_verdicts(self, condition, job, history, verdict):
        tasks = [make_task(*entry, created=number) for number, entry in enumerate(history)]
        policy = {"Condition": condition} if condition else None
        assert judge_slot({"RestartPolicy": policy}, tasks, job=job) == verdict

    def test_a_failure_of_an_earlier_definition_does_not_count(self):
        old, new = {"ContainerSpec": {"Image": "a"}}, {"ContainerSpec": {"Image": "b"}}
        history = [make_task("starting", spec=new), make_task("failed", "shutdown", spec=old)]
        assert judge_slot(new, history) == "starting"

    @pytest.mark.parametrize(
        ("left", "right", "same"),
        [
            ({}, {"ContainerSpec": {"Image": "a"}}, True),
            ({"A": 1}, {"A": 1, "Placement": {"Constraints": ["x"]}}, True),
            ({"A": 1}, {"A": 1, "ForceUpdate": 0, "B": "", "C": {}, "D": [], "E": None, "F": {"G": [], "H": 0}}, True),
            ({"A": 1}, {"A": 1, "Runtime": "container"}, True),
            ({"A": 1}, {"A": 1, "RestartPolicy": {"Condition": "any", "Delay": 5_000_000_000, "MaxAttempts": 0}}, True),
            ({"A": 1}, {"A": 1, "RestartPolicy": {"Condition": "any", "Delay": 4_999_999_999}}, False),
            ({"A": 1}, {"A": 1, "ContainerSpec": {"StopGracePeriod": 10_000_000_000}}, True),
            ({"A": 1}, {"A": 1, "ForceUpdate": 1}, False),
            ({"A": 1}, {"A": 2}, False),
            ({"A": [{"B": 1, "C": ""}]}, {"A": [{"B": 1}]}, True),
            ({"A": [1, 2]}, {"A": [2, 1]}, False),
        ],
    )
    def test_what_goes_without_saying_is_no_difference(self, left, right, same):
        assert same_template(left, right) == same

    def test_a_task_of_which_nothing_is_known_fits_everywhere(self):
        assert same_template({}, {"Placement": {"Constraints": ["x"]}}, placement=True)
        assert not same_template({"A": 1}, {"A": 1, "Placement": {"Constraints": ["x"]}}, placement=True)


class TestTasks:
    def parsed(self, *items, rows=()):
        services = {"demo_s": {"ID": "sid"}, "other": {"ID": "oid"}}
        return parse_tasks("demo", list(rows), list(items), services)

    def item(self, status, **fields):
        return {"ID": "tid", "ServiceID": "sid", "Status": status, **fields}

    @pytest.mark.parametrize("name", ["new", "running", "complete", "failed", "shutdown", "rejected"])
    @pytest.mark.parametrize(
        "container", [{}, {"ContainerID": ""}, {"ContainerID": "c"}, {"ContainerID": "c", "ExitCode": 3}]
    )
    def test_an_exit_code_is_of_a_container_that_has_ended(self, name, container):
        (task,) = self.parsed(self.item({"State": name, "ContainerStatus": container}))
        ended = name in ("complete", "failed", "shutdown") and container.get("ContainerID")
        assert task.exit_code == (container.get("ExitCode", 0) if ended else None)

    def test_a_task_that_has_just_been_made(self):
        (task,) = self.parsed({"ID": "tid", "ServiceID": "sid"}, rows=[{"ID": "tid"}])
        assert (task.state, task.desired, task.slot, task.node, task.exit_code) == ("new", "", "", "", None)
        assert (task.job_iteration, task.service, task.image, task.error) == (0, "s", "", "")
        assert not task.active

    @pytest.mark.parametrize(
        ("fields", "rows", "place"),
        [
            ({"Slot": 2, "NodeID": "n1"}, [{"ID": "tid", "Node": "host1"}], ("2", "host1")),
            # A global service's task; and a node that swarm has forgotten.
            ({"NodeID": "n1"}, [{"ID": "tid", "Node": "host1"}], ("n1", "host1")),
            ({"Slot": 1, "NodeID": "n1"}, [{"ID": "tid", "Node": ""}], ("1", "n1")),
            ({"Slot": 1, "NodeID": "n1"}, [], ("1", "n1")),
        ],
    )
    def test_where_it_is(self, fields, rows, place):
        (task,) = self.parsed(self.item({"State": "running"}, **fields), rows=rows)
        assert (task.slot, task.node) == place

    def test_what_is_no_task_of_the_stack_is_passed_over(self):
        items = [
            {"ID": "sid", "Spec": {}},
            self.item({}, ID="one"),
            self.item({}, ServiceID="gone"),
            self.item({}, ID="two"),
        ]
        found = self.parsed(*items)
        assert [task.id for task in found] == ["one", "two"]
        (other,) = self.parsed(self.item({}, ServiceID="oid", JobIteration={"Index": 4}))
        assert (other.service, other.job_iteration) == ("other", 4)

    def test_a_task_says_all_that_the_result_has_of_it(self):
        status = {
            "State": "failed",
            "Err": "e",
            "Timestamp": "t2",
            "ContainerStatus": {"ContainerID": "c", "ExitCode": 3},
        }
        spec = {"ContainerSpec": {"Image": "i:1"}}
        item = self.item(status, Slot=1, DesiredState="shutdown", CreatedAt="t1", Spec=spec)
        assert self.parsed(item, rows=[{"ID": "tid", "Node": "host1"}])[0].as_result() == {
            "id": "tid",
            "service": "s",
            "slot": "1",
            "node": "host1",
            "state": "failed",
            "desired_state": "shutdown",
            "error": "e",
            "exit_code": 3,
            "image": "i:1",
            "created_at": "t1",
            "updated_at": "t2",
        }


class TestLooks:
    def test_a_task_that_ends_between_two_questions_is_asked_for_again(self, swarm, call, monkeypatch):
        """What the list had as running has failed since, and its successor is not on the list: it would look dead."""
        compose = definition()
        compose["services"]["node1"]["deploy"]["restart_policy"] = {"condition": "on-failure", "delay": "1s"}
        swarm.outcomes = {"demo_node1": [("failed", 1, "boom", 200), ("running", 0, "")]}
        call(compose=[compose])
        looks = []

        def slowly(docker, stack):
            rows = listed(docker, stack)
            looks.append(len(rows))
            swarm.swarm.settle(240)
            return rows

        listed = list_tasks
        monkeypatch.setattr(f"{STATE}.list_tasks", slowly)
        info = call(swarm_stack_info, later=0)
        assert looks == [2, 3]
        assert (info["failures"], info["converged"]) == ([], True)

    def test_a_stack_that_never_rests_is_taken_as_it_was_seen_last(self, swarm, call, monkeypatch):
        call(compose=[definition()])
        looks = []
        monkeypatch.setattr(f"{STATE}._agree", lambda rows, found: looks.append(len(rows)))
        assert [task["state"] for task in call(swarm_stack_info)["tasks"]] == ["running", "running"]
        assert len(looks) > 1

    def test_a_service_without_a_task(self, swarm, call):
        """Docker calls that an error."""
        compose = definition()
        for service in compose["services"].values():
            service["deploy"]["replicas"] = 0
        assert call(compose=[compose], wait_for="running")["state"] == {
            "exists": True,
            "running": False,
            "converged": True,
            "complete": True,
            "failed": False,
        }

    def test_of_a_stack_that_does_not_exist_nothing_is_true(self, swarm, call):
        info = call(swarm_stack_info)
        assert not any(info[key] for key in ("exists", "running", "converged", "complete", "failed_for_good"))
        assert (info["calls"], swarm.count("stack", "ps"), swarm.count("inspect")) == (1, 0, 0)
        assert not summary(Live("demo"))["complete"]

    def test_it_asks_for_no_more_than_it_tells(self, swarm, call):
        call(compose=[definition()])
        before = len(swarm.calls)
        info = call(swarm_stack_info, check=True)
        assert (info["exists"], info["failed_for_good"], info["failures"], info["changed"]) == (True, False, [], False)
        assert info["calls"] == 5 == len(swarm.calls) - before
        assert swarm.count("network", "ls") == 2

    def test_without_being_asked_for_them_it_reads_no_logs(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "boom")}
        call(compose=[definition()])
        swarm.log("demo_node1.1", "2025-01-01T10:00:00Z line")
        (failure,) = call(swarm_stack_info)["failures"]
        assert (failure["log"], swarm.count("service", "logs")) == ([], 0)
        assert call(swarm_stack_info, log_lines=1)["failures"][0]["log"] == ["line"]

    def test_one_place_that_is_not_filled_is_enough(self, swarm, call):
        swarm.outcomes = {"demo_node0": ("complete", 0, ""), "demo_node1": ("starting", 0, "")}
        info = call(compose=[definition()]) and call(swarm_stack_info)
        assert (info["running"], info["converged"], info["complete"], info["failed_for_good"]) == (
            True,
            False,
            False,
            False,
        )
