"""playbooks/diagnose.yml, typed and by `ddp diagnose`. Docker and its swarm are stand-ins, and so is what the ranks' launchers say."""

import json
from pathlib import Path
from typing import Any

import pytest
from console_site import Site

NODES = ("a" * 64, "b" * 64)
BACKWARD = ["/opt/venv/lib/python3.11/site-packages/torch/autograd/graph.py", 9, "_engine_run_backward"]


def record(rank: int, line: int, count: int, inner: list[Any]) -> dict[str, Any]:
    entries = [
        {"seq": seq, "p2p": False, "op": "gloo:all_reduce", "sizes": [[4]], "ended": seq < 3}
        for seq in range(1, count + 1)
    ]
    group = {"title": "default_pg", "ranks": "[0, 1]", "entries": entries}
    process = {
        "pid": 7, "rank": rank, "state": "S", "cpu": 0.0, "collectives": {"groups": {"0": group}},
        "threads": [{"frames": [*inner, ["/app/{{ 7 * 7 }}.py", line, "main"]]}],
    }  # fmt: skip
    return {"schema": 1, "processes": [process], "exits": []}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Each host has both ranks' containers, and swarm calls them all host1's."""
    site = Site(tmp_path)
    site.start("mine")
    (tmp_path / "docker").rename(tmp_path / "swarm-docker")
    for rank, told in enumerate((record(0, 50, 3, [BACKWARD]), record(1, 37, 2, []))):
        (tmp_path / f"{NODES[rank]}.json").write_text(json.dumps(told))
    rows = "".join(f"{node}\\trunning\\tmine_node{rank}\\n" for rank, node in enumerate(NODES))
    (tmp_path / "docker").write_text(
        f"#!/bin/sh\nif [ $1$2 = ps--all ]; then printf '{rows}'; exit; fi\n"
        f'if [ $1 = exec ]; then shift; cat {tmp_path}/$1.json; exit; fi\nexec {tmp_path}/swarm-docker "$@"\n'
    )
    (tmp_path / "docker").chmod(0o755)
    return site


def test_which_rank_hangs_and_where(site: Site, tmp_path: Path) -> None:
    done = site.ddp("diagnose", "mine")
    sentence = (
        "rank 1 on host1 did not enter all_reduce #3, in which rank 0 on host1 waits ({{ 7 * 7 }}.py:50 main()). "
        "It is in {{ 7 * 7 }}.py:37 main()."
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sentence in " ".join(done.stdout.split()), done.stdout
    path = tmp_path / "artifacts" / "mine" / "diagnosis.json"
    found = json.loads(path.read_text())
    assert found["sentence"] == sentence
    assert (found["job"], found["ranks"], found["hosts"], found["places"][0]["line"]) == ("mine", [1], ["host1"], 37)
    assert found["given"][1]["record"] == record(1, 37, 2, [])
    assert path.stat().st_mode & 0o777 == 0o600
    said = json.loads(site.ddp("diagnose", "mine", "--json").stdout)
    assert (said["state"], said["changed"]) == ("done", {})


@pytest.mark.parametrize(
    ("ends", "sentence", "next_lines"),
    [
        (
            (("complete", 0, ""), ("complete", 0, "")),
            "over has finished: each of its 2 ranks has ended well, and none hangs.",
            ["Logs and results: ", "Report: "],
        ),
        (
            (("failed", 1, "task: non-zero exit (1)"), ("complete", 0, "")),
            "over has failed, and is not started again: rank 0 on host1 has failed (task: non-zero exit (1)). None of its ranks runs.",
            ["Logs and results: ", "Report, which names who failed first: "],
        ),
    ],
    ids=["finished", "failed"],
)
def test_a_job_of_which_nothing_runs(
    ends: tuple[Any, Any], sentence: str, next_lines: list[str], tmp_path: Path
) -> None:
    site = Site(tmp_path)
    site.start("over", *ends)
    done = site.ddp("diagnose", "over", COLUMNS="1000")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    begin = lines.index(sentence)
    for line, playbook, label in zip(lines[begin + 1 :], ("collect", "report"), next_lines, strict=False):
        assert line.startswith(f"{label}ansible-playbook playbooks/{playbook}.yml -i") or (
            line.startswith(label) and f"ansible-playbook playbooks/{playbook}.yml -i" in line
        )
        assert line.endswith(" -e training_stack=over")
    assert "All stacks" not in done.stdout
    assert "cannot be asked" not in done.stdout
    found = json.loads((tmp_path / "artifacts" / "over" / "diagnosis.json").read_text())
    assert (found["sentence"], found["over"]) == (sentence, True)


def test_a_job_that_is_not_there(site: Site) -> None:
    done = site.ddp("diagnose", "yours")
    assert done.returncode == 1
    assert "There is no job yours in the swarm: playbooks/status.yml shows which there are" in " ".join(
        done.stdout.split()
    )
