"""What the judge says is what the table shows and the file holds, at every layer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.verdict import judge
from ansible_collections.ddp.swarm.plugins.modules import nccl_check
from preflight_ranks import ANY_SPEED, LIMITS, fail, healthy_report, node, with_nodes


def test_all_is_well(trio, judged):
    judged(trio).passes()


@pytest.mark.parametrize("rank", range(3))
@pytest.mark.parametrize("layer", range(4, 15))
def test_what_a_probe_calls_wrong_is_shown_as_failed(trio, judged, layer, rank):
    """Each layer on each rank, with a peer and without one."""
    for peer in (None, (rank + 1) % 3):
        reports = [healthy_report(number, 3) for number in range(3)]
        fail(reports[rank], layer, peer, name="planted", observed="what was planted")
        found = judged(reports).fails(layer, (rank, peer), check="planted")
        assert found[0]["observed"].startswith("what was planted")
        assert found[0]["expected"] == "wanted"


def test_one_record_of_many_that_is_wrong_is_enough(trio, judged):
    records = trio[1]["probe"]["records"]
    right = next(record for record in records if record["layer"] == 9)
    records.insert(records.index(right), {**right, "ok": False, "peer": 0, "name": "path mtu"})
    judged(trio).fails(9, (1, 0), check="path mtu")


def test_a_layer_that_is_partly_unreached_has_failed_where_it_failed(trio, judged):
    records = trio[1]["probe"]["records"]
    right = next(record for record in records if record["layer"] == 9)
    records += [{**right, "ok": None}, {**right, "ok": False, "name": "path mtu"}]
    judged(trio).fails(9, (1, None), check="path mtu")


def clock(report):
    report["probe"]["clock"]["0"]["offset_s"] = 9.0


def disk(report):
    report["host_checks"]["disk_free_bytes"] = 1


def vxlan(report):
    report["host_checks"]["vxlan"] = False
    report["probe"]["clock"] = {}
    report["host_checks"]["clock"]["epoch"] -= 0.5


def control(report):
    report["host_checks"]["ports"] = [
        {"host": "host1", "address": "192.0.2.1", "port": 2377, "error": "timed out"},
        {"host": "host3", "address": "192.0.2.3", "port": 7946, "error": ""},
    ]


def gossip(report):
    report["host_checks"]["silent_gossip"] = ["host1"]


def membership(report):
    report["host_checks"]["engine"]["swarm_error"] = "the swarm does not have a leader"


def image(report):
    report["host_checks"]["image"] = {"name": "x:1", "present": False}


def torch(report):
    report["probe"]["identity"]["torch"] = "1.0.0"


def shm(report):
    report["probe"]["shm_bytes"] = 1


def mtu(report):
    report["probe"]["mtu"] = 8950


def network(report):
    report["host_checks"]["host_network"] = {"host1": {"bandwidth_mb_s": 9000.0}}
    report["probe"]["pairs"]["0"]["bandwidth_mb_s"] = 150.0


def compute(report):
    report["probe"]["compute"]["seconds"] = 0.1


@pytest.mark.parametrize(
    ("plant", "layer", "peer", "check"),
    [
        (clock, 1, 0, "clock skew"),
        (disk, 2, None, "disk"),
        (vxlan, 2, None, "vxlan"),
        (control, 3, 0, "port 2377"),
        (gossip, 3, 0, "port 7946/udp"),
        (membership, 3, None, "swarm membership"),
        (image, 4, None, "image"),
        (torch, 4, None, "torch"),
        (shm, 5, None, "/dev/shm"),
        (mtu, 9, None, "interface MTU"),
        (network, 13, 0, "network"),
        (compute, 14, None, "compute"),
    ],
)
@pytest.mark.parametrize("rank", [1, 2])
def test_what_the_judge_finds_itself_is_shown_as_failed(trio, judged, rank, plant, layer, peer, check):
    plant(trio[rank])
    judged(trio).fails(layer, (rank, peer), check=check)


@pytest.mark.parametrize("rank", range(3))
def test_a_host_that_was_lost_is_shown_as_failed(trio, judged, rank):
    lost = trio[rank]
    lost["probe"] = None
    verdict = judged(trio, unreachable={f"host{rank + 1}": "no route to host"})
    assert verdict.written()[2][rank] == verdict.shown()[2][rank] == "FAIL"
    assert [(one["layer"], one["host"], one["observed"]) for one in verdict.file["findings"]] == [
        (2, f"host{rank + 1}", "no route to host")
    ]


def test_a_host_that_was_lost_after_its_probe_was_heard_is_none(trio, judged):
    """One of two looks has succeeded, and it is the one that counts."""
    judged(trio, unreachable={"host2": "no route to host"}).passes()


def test_what_the_first_look_knew_the_second_one_keeps(trio, judged):
    looked = [{**healthy_report(rank, 3), "probe": None} for rank in range(3)]
    looked[1]["host_checks"]["disk_free_bytes"] = 1
    for one in trio:
        one["host_checks"] = {"service": f"t-preflight_node{one['rank']}", "disk_free_bytes": None, "clock": {}}
    ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(3)]
    for reports in ([*looked, *trio], [*looked[::-1], *trio[::-1]]):
        found = judged(reports, ranks=ranks).file["findings"]
        assert [(one["layer"], one["host"], one["check"]) for one in found] == [(2, "host2", "disk")]


def test_ranks_that_do_not_fit_one_block_of_the_table_are_shown_too():
    reports = [healthy_report(rank, 8) for rank in range(8)]
    fail(reports[7], 12, name="planted")
    ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(8)]
    limits = {name: nccl_check.argument_spec()[name].get("default") for name in nccl_check.LIMITS}
    rows = [line.split() for line in judge(reports, ranks, limits)["table"].splitlines()]
    assert [row for row in rows if "FAIL" in row] == [["12", "all-reduce", "ok", "FAIL"]]


def test_a_manager_without_a_rank_fails_the_check(trio, judged):
    lame = {"rank": -1, "host": "manager9", "probe": None, "host_checks": {"engine": {"ok": False, "error": "down"}}}
    ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(3)]
    verdict = judged([*trio, lame], ranks=ranks)
    assert verdict.file["ok"] is False
    assert [(one["layer"], one["rank"], one["host"]) for one in verdict.file["findings"]] == [(2, -1, "manager9")]


def test_the_rank_label_on_two_nodes_is_named_with_both(trio, judged):
    with_nodes(trio, node(0), node(1), node(2), node(1, id="other", hostname="h9"))
    found = judged(trio).fails(3, (1, None), check="rank label")
    assert found[0]["observed"].startswith("h1 and h9 ")


# ---------------------------------------------------------------- the file


def written(capsys, path, reports, **arguments):
    ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(3)]
    with (
        patch_module_args({"reports": reports, "ranks": ranks, "path": str(path), **arguments}),
        pytest.raises(SystemExit),
    ):
        nccl_check.main()
    return json.loads(capsys.readouterr().out)


def test_a_verdict_that_cannot_be_written_leaves_the_old_one_whole(capsys, trio, tmp_path):
    path = tmp_path / "preflight.json"
    written(capsys, path, trio)
    old = path.read_text()
    assert json.loads(old)["ok"] is True
    # A disk that is full: what is written first is written there.
    (tmp_path / "preflight.json.part").symlink_to("/dev/full")
    disk(trio[1])
    said = written(capsys, path, trio)
    assert said["failed"] is True
    assert said["msg"] == f"the verdict cannot be written to {path}: No space left on device"
    assert path.read_text() == old


def test_nobody_reads_half_a_verdict(capsys, trio, tmp_path, monkeypatch):
    """The file is complete before it has its name."""
    path = tmp_path / "preflight.json"
    written(capsys, path, trio)
    old, seen, real = path.read_text(), [], os.replace

    def replace(source, target):
        seen.append((path.read_text(), json.loads(Path(source).read_text())["ok"], str(target)))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    disk(trio[1])
    written(capsys, path, trio)
    assert seen == [(old, False, str(path))]
    assert json.loads(path.read_text())["ok"] is False
    assert [file.name for file in tmp_path.iterdir()] == ["preflight.json"]


def test_a_verdict_that_ends_the_play_is_written_as_well(capsys, trio, tmp_path):
    path = tmp_path / "preflight.json"
    disk(trio[1])
    said = written(capsys, path, trio, enforce=True)
    assert said["failed"] is True
    assert json.loads(path.read_text())["findings"] == said["findings"] != []


def test_the_versions_of_each_rank(trio):
    del trio[1]["probe"]["identity"]["torch"]
    trio[2] = {"rank": 2, "host": "host3", "host_checks": {}, "probe": None}
    found = judge(trio, [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(3)], {**LIMITS, **ANY_SPEED})
    nothing = dict.fromkeys(("engine", "python", "torch", "cuda", "nccl", "architecture", "files_hash"))
    whole = {**nothing, "engine": "26.1.5", "python": "3.11.2", "torch": "2.13.0", "files_hash": "aa"}
    assert found["versions"] == [
        {"rank": 0, "host": "host1", **whole},
        {"rank": 1, "host": "host2", **whole, "torch": None},
        {"rank": 2, "host": "host3", **nothing},
    ]


def test_a_manager_without_a_rank_has_a_column_where_it_fails(pair):
    """Else the table shows no FAIL at all, below a sentence that tells of one."""
    ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(2)]
    manager = {"host": "lead", "rank": None, "host_checks": {"engine": {"error": "no engine answers"}}}
    rows = judge([*pair, manager], ranks, LIMITS)["table"].splitlines()
    assert rows[0].split("  ")[-1].strip() == "lead (no rank)"
    assert [row.split()[-1] for row in rows[1:15] if "FAIL" in row] == ["FAIL"]
    assert "FAIL" in rows[2]
    assert rows[2].split()[-3:] == ["ok", "ok", "FAIL"]
    well = {"host": "lead", "rank": None, "host_checks": pair[0]["host_checks"]}
    assert "lead" not in judge([*pair, well], ranks, LIMITS)["table"]


@pytest.mark.parametrize("names", [("r", "s"), ("run-1", "x")])
def test_a_remedy_begins_with_a_capital_whatever_hosts_are_called(pair, names):
    with_nodes(pair, node(0), node(1))[0]["host_checks"]["network"] = None
    ranks = [{"rank": rank, "host": name} for rank, name in enumerate(names)]
    assert ". Run playbooks/swarm.yml" in judge(pair, ranks, {**LIMITS, **ANY_SPEED}, None, False)["message"]
