"""The module: its two uses, the verdict when all is well, and the file that it writes."""

from __future__ import annotations

import json
import types

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.modules import nccl_check
from preflight_ranks import healthy_report, verdict


def test_healthy(pair):
    result = verdict(pair)
    assert result["ok"] and result["findings"] == []
    assert all(set(row["ranks"].values()) == {"ok"} for row in result["layers"])
    assert result["message"].startswith(
        "2 ranks reach each other over ddp-net: gloo (no GPU on host1, host2), bus bandwidth 400 MB/s"
    )
    assert "80 / 410" in result["table"]
    rows = [line.split() for line in result["table"].splitlines()[:15]]
    assert rows[0] == ["layer", "0", "host1", "1", "host2"]
    assert [row[0] for row in rows[1:]] == [str(layer) for layer in range(1, 15)]
    assert all(row[-2:] == ["ok", "ok"] for row in rows[1:])
    assert "FAIL" not in result["table"].replace("FAIL: failed", "")


def test_single_host():
    report = healthy_report(0, 1)
    report["probe"]["allreduce"]["bus_bandwidth_mb_s"] = 0.0
    result = verdict([report], min_bus_bandwidth=100)
    assert result["ok"] and result["bus_bandwidth"] is None
    assert result["message"].startswith("1 rank on host1 is ready")


def test_many_ranks_fit_the_table():
    table = verdict([healthy_report(rank, 8) for rank in range(8)])["table"]
    assert "7 host8" in table
    assert all(len(line) < 160 for line in table.splitlines())


def test_the_verdict_is_written_to_a_file(capsys, pair, tmp_path):
    path = tmp_path / "new" / "preflight.json"
    ranks = [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}]
    assert call(capsys, reports=pair, ranks=ranks, path=str(path)).out["ok"] is True
    assert json.loads(path.read_text())["ok"] is True and "table" not in json.loads(path.read_text())
    call(capsys, reports=pair[:1], ranks=ranks, path=str(path), _ansible_check_mode=True)
    assert json.loads(path.read_text())["ok"] is True
    (tmp_path / "file").write_text("")
    assert call(capsys, reports=pair, ranks=ranks, path=str(tmp_path / "file" / "x.json")).code == 1


def call(capsys, **arguments):
    with patch_module_args(arguments), pytest.raises(SystemExit) as left:
        nccl_check.main()
    return types.SimpleNamespace(code=left.value.code, out=json.loads(capsys.readouterr().out))


def test_module_warns_or_enforces(capsys, pair):
    ranks = [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}]
    pair[1]["probe"]["shm_bytes"] = 1
    warned = call(capsys, reports=pair, ranks=ranks, _ansible_check_mode=True)
    assert warned.code == 0 and warned.out["ok"] is False and warned.out["changed"] is False
    refused = call(capsys, reports=pair, ranks=ranks, enforce=True)
    assert refused.code == 1 and refused.out["failed"] and refused.out["findings"][0]["layer"] == 5
    assert refused.out["msg"] == refused.out["message"]


def test_all_is_well_and_enforced(capsys, pair):
    ranks = [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}]
    done = call(capsys, reports=pair, ranks=ranks, enforce=True)
    assert (done.code, done.out["ok"], done.out["changed"]) == (0, True, False)
    assert {"layers", "pairs", "backend", "bus_bandwidth", "latency", "table", "message"} <= set(done.out)


@pytest.mark.parametrize(("probed", "findings"), [(False, 0), (True, 2)])
def test_probes_that_have_not_run_are_not_missed(capsys, pair, probed, findings):
    for one in pair:
        one["probe"] = None
    ranks = [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}]
    out = call(capsys, reports=pair, ranks=ranks, probed=probed).out
    assert (out["ok"], len(out["findings"])) == (False, findings)


@pytest.mark.parametrize("rank", [0, -1])
def test_a_host_without_an_engine_is_observed(capsys, rank):
    done = call(capsys, rank=rank, host="host1", docker_cli="/nonexistent/docker", control_peers=[])
    assert (done.code, done.out["changed"]) == (0, False)
    report = done.out["report"]
    assert (report["rank"], report["host"], report["probe"]) == (rank, "host1", None)
    assert report["host_checks"]["engine"]["ok"] is False
    assert report["host_checks"]["error"].startswith("docker info: ")


@pytest.mark.parametrize(
    "arguments",
    [
        {}, {"service": "a"}, {"reports": []}, {"rank": 0, "reports": [], "ranks": []},
        {"rank": 0, "docker_host": "tcp://192.0.2.1:2376", "cli_context": "other"},
        {"reports": [], "ranks": [{"rank": 0}]}, {"reports": [], "ranks": [{"host": "a"}]},
        {"rank": 0, "control_peers": [{"host": "a"}]}, {"rank": 0, "control_peers": [{"address": "192.0.2.1"}]},
    ],
)  # fmt: skip
def test_module_wants_one_of_its_two_uses(capsys, arguments):
    assert call(capsys, **arguments).code == 1
