"""Jobs that no manager tells of, of what the hosts' containers say. No engine is asked."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.jobs_left import jobs_left, whole_seconds
from ansible_collections.ddp.swarm.plugins.module_utils.names import RESULTS_LABEL
from ansible_collections.ddp.swarm.plugins.module_utils.stack.containers import read_containers
from docker_stand_in import Told

MOUNT = {"type": "volume", "source": "job_snapshots", "target": "/snapshots"}


def container(rank: int, state: str = "exited", service: str = "s", name: str = "c") -> dict[str, Any]:
    return {
        "id": name,
        "job": "job",
        "rank": rank,
        "service": service,
        "state": state,
        "mounts": [MOUNT],
        "results": "{}",
    }


def test_ranks_of_several_hosts_are_one_job() -> None:
    answers = {"host1": {"containers": [container(2)]}, "host2": {"containers": [container(0, "running")]}, "host3": {}}
    (job,) = jobs_left(answers, [])
    assert [rank["host"] for rank in job["ranks"]] == ["host2", "", "host1"]
    assert (job["state"], job["busy"], job["containers"], job["mounts"]) == ("running", True, ["c"], [MOUNT])
    assert job["results"] == "{}"


def test_what_the_swarm_tells_of_is_not_left() -> None:
    answers = {"host1": {"containers": [container(0, service="ours"), container(0, service="theirs")]}}
    assert [job["busy"] for job in jobs_left(answers, [{"services": ["ours"]}])] == [False]
    assert jobs_left(answers, [{"services": ["ours", "theirs"]}]) == []


def test_one_that_runs_is_the_rank_before_one_that_has_ended() -> None:
    answers = {"host1": {"containers": [container(0)]}, "host2": {"containers": [container(0, "running", name="r")]}}
    (job,) = jobs_left(answers, [])
    assert [rank["host"] for rank in job["ranks"]] == ["host2"]


@pytest.mark.parametrize(("text", "seconds"), [("40s", 40), ("1m30s", 90), ("1.5s", 2), ("500ms", 1), ("7", 7)])
def test_seconds(text: str, seconds: int) -> None:
    assert whole_seconds(text) == seconds


def test_containers_of_ranks_alone_count() -> None:
    def inspected(stack: str, service: str) -> dict[str, Any]:
        names = {"com.docker.stack.namespace": stack, "com.docker.swarm.service.name": service, RESULTS_LABEL: "{}"}
        mounts = [
            {"Type": "volume", "Name": "job_snapshots", "Source": "/var/lib/x", "Destination": "/snapshots"},
            {"Type": "tmpfs", "Destination": "/dev/shm"},
        ]
        return {"Id": "c", "State": {"Status": "exited"}, "Config": {"Labels": names}, "Mounts": mounts}

    odd = [
        ("job", "other_node0"),
        ("../job", "../job_node0"),
        ("job-preflight", "job-preflight_node0"),
        ("web", "web_app"),
    ]
    told = Told({"ps": "c", "inspect": [inspected(*names) for names in [("job", "job_node1"), *odd]]})
    assert read_containers(told) == [container(1, service="")]
    assert read_containers(Told({"ps": ""})) == []
