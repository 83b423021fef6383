"""What swarm_state thinks of tasks, slots and services."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.explain import find_failures, hint_for
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import (
    Live,
    Task,
    judge_service,
    judge_slot,
    same_template,
    service_mode,
    time_key,
)


def make_task(state="running", desired="running", created=1, spec=None, **fields):
    values = {"service": "s", "slot": "1", "node": "host1", "error": "", "exit_code": None, "image": "i", "updated": ""}
    values.update(fields)
    return Task(
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
        assert judge_slot({"RestartPolicy": {"Condition": condition}}, tasks) == verdict

    def test_rejections_of_an_earlier_definition_do_not_count(self):
        old, new = {"ContainerSpec": {"Image": "a"}}, {"ContainerSpec": {"Image": "b"}}
        history = [make_task("preparing", spec=new), *[make_task("rejected", "shutdown", spec=old)] * 3]
        assert judge_slot(new, history) == "starting"

    def test_a_task_that_has_to_move(self):
        """Swarm keeps a task that fits a new placement; as long as an update goes on, it may not have looked yet."""
        task = make_task(spec={"Placement": {"Constraints": ["node.hostname == a"]}})
        template = {"Placement": {"Constraints": ["node.hostname == b"]}}
        assert judge_slot(template, [task], rolling=True) == "outdated"
        assert judge_slot(template, [task]) == "running"

    def test_outdated(self):
        task = make_task(spec={"ContainerSpec": {"Image": "a"}})
        assert judge_slot({"ContainerSpec": {"Image": "b"}}, [task]) == "outdated"

    def test_defaults_that_only_a_service_shows(self):
        """As engine 26.1.5 answered: the task leaves out what the service spells out."""
        task = {"ContainerSpec": {"Image": "t:1", "Isolation": "default"}, "Placement": {}, "ForceUpdate": 0}
        service = {
            "ContainerSpec": {"Image": "t:1", "StopGracePeriod": 10000000000, "DNSConfig": {}, "Isolation": "default"},
            "Placement": {"Constraints": ["node.role == manager"]},
            "Runtime": "container",
            "ForceUpdate": 0,
        }
        assert same_template(task, service)
        assert not same_template(task, {**service, "ForceUpdate": 1})
        service["ContainerSpec"]["StopGracePeriod"] = 1
        assert not same_template(task, service)

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
        assert service_mode({"Mode": mode}) == expected

    def state(self, mode, tasks, **service):
        spec = {"Name": "d_s", "TaskTemplate": {}, "Mode": mode}
        return judge_service("d", {"ID": "x", "Spec": spec, **service}, tasks)

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
        assert sorted(stamps, key=time_key) == stamps[::-1]

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
            ("node is missing network attachments, ip addresses may be exhausted", None, "no free address"),
            ("network ddp not found", None, "could not attach the network"),
            ("heartbeat failure", None, "was lost"),
            ("task: non-zero exit (1)", 1, ""),
        ],
    )
    def test_hints(self, error, code, hint):
        reservations = {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "NVIDIA-GPU", "Value": 1}}]}
        state = self.state({}, [])
        state = judge_service(
            "d", {"ID": "x", "Spec": {"Name": "d_s", "TaskTemplate": {"Resources": {"Reservations": reservations}}}}, []
        )
        found = hint_for(state, make_task("failed", "shutdown", error=error, exit_code=code))
        assert hint in found
        assert bool(hint) == bool(found)


class TestTelling:
    """Which of several tasks a failure is told by, and what is known of a task."""

    def live(self, message, *tasks):
        update = {"State": "paused", "StartedAt": "then", "Message": message}
        spec = {"Name": "d_s", "TaskTemplate": {}, "Mode": {"Replicated": {"Replicas": 3}}}
        return Live("d", services={"d_s": {"ID": "x", "Spec": spec, "UpdateStatus": update}}, tasks=list(tasks))

    def test_the_task_that_the_update_names(self):
        """Another one of the service has failed since."""
        cause = make_task("failed", "shutdown", created=5, slot="1", error="the cause")
        newer = [make_task("starting", created=8, slot=slot) for slot in ("1", "2")]
        live = self.live(
            "update paused due to failure or early termination of task t5",
            *newer,
            make_task("failed", "shutdown", created=7, slot="2", error="a consequence"),
            cause,
        )
        (failure,) = find_failures(None, live, 0)
        assert failure["task_id"] == "t5"
        assert failure["error"] == "the cause (its update was paused by a failing task)"

    def test_a_task_that_swarm_has_forgotten(self):
        live = self.live(
            "update paused due to failure or early termination of task t1", make_task("starting", created=8)
        )
        (failure,) = find_failures(None, live, 0)
        assert (failure["task_id"], failure["state"]) == ("", "update")
        assert "early termination of task t1" in failure["error"]

    @pytest.mark.parametrize(
        ("state", "desired", "active"),
        [
            ("running", "running", True),
            ("running", "complete", True),
            ("ready", "ready", True),
            ("preparing", "running", True),
            ("pending", "running", True),
            ("starting", "accepted", True),
            ("running", "shutdown", False),
            ("running", "remove", False),
            ("complete", "running", False),
            ("failed", "running", False),
            ("shutdown", "shutdown", False),
        ],
    )
    def test_active(self, state, desired, active):
        assert make_task(state, desired).active == active
        assert Live("d", tasks=[make_task("shutdown", "shutdown"), make_task(state, desired)]).running == active
