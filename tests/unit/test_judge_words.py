"""The verdict as it is read: its sentences, its table, its figures, and what was not reached."""

from __future__ import annotations

import pytest
from preflight_ranks import fail, healthy_report, record, verdict

LATE = "Run playbooks/preflight.yml again; if it stays, raise preflight_timeout."


# ---------------------------------------------------------------- sentences


def test_all_is_well_in_one_sentence(trio):
    trio[0]["probe"]["allreduce"] = {"bus_bandwidth_mb_s": 1234.5, "latency_us": 99.4}
    assert verdict(trio, network="my-net")["message"] == (
        "3 ranks reach each other over my-net: gloo (no GPU on host1, host2, host3), bus bandwidth 401 MB/s, "
        "all-reduce latency 300 us."
    )
    assert verdict([healthy_report(0, 1)])["message"] == "1 rank on host1 is ready: gloo (no GPU on host1)."


@pytest.mark.parametrize(
    ("rank", "peer", "observed", "start"),
    [
        (0, None, "none.", "Layer 5 (GPU and memory) fails on host1 (rank 0), /dev/shm: none. The task on host1 has"),
        (
            1,
            0,
            "why?",
            "Layer 5 (GPU and memory) fails on host2 (rank 1) towards host1, /dev/shm: why. The task on host2",
        ),
        (1, 1, "x", "Layer 5 (GPU and memory) fails on host2 (rank 1), /dev/shm: x. The task on host2 has"),
    ],
)
def test_what_is_wrong_in_two_sentences(pair, rank, peer, observed, start):
    fail(pair[rank], 5, peer, name="/dev/shm", observed=observed)
    message = verdict(pair)["message"]
    assert message.startswith(start)
    assert message.endswith(" no /dev/shm: set training_shm_size to 67108864 (bytes).")


def test_a_host_at_the_beginning_of_a_sentence_keeps_its_name(pair):
    fail(pair[1], 10, 0, name="master port reachable", observed="timed out")
    assert verdict(pair)["message"] == (
        "Layer 10 (master port) fails on host2 (rank 1) towards host1, master port reachable: timed out. "
        "host2 does not reach port 12355 of rank 0 on host1: free it, or set training_master_port."
    )


def test_a_host_without_a_rank_has_none_in_the_sentence(pair):
    message = verdict(pair, unreachable={"m": "no route"})["message"]
    assert message.startswith("Layer 2 (engine and kernel) fails on m, host: no route. Check that m is switched on")


def test_what_was_not_reached_is_no_failure_in_words(pair):
    pair[1]["probe"]["records"][-1] = record(14, 1, None, detail="time was over")
    assert verdict(pair)["message"] == f"Layer 14 (straggler) was not reached on host2 (rank 1): time was over. {LATE}"


def test_hosts_without_a_fault_are_no_pass_in_words(pair):
    assert verdict(pair, probed=False)["message"] == "Nothing is wrong with the hosts; the probes have not run."


@pytest.mark.parametrize(
    ("failed", "end"),
    [
        # (rank, its peer)
        ([(0, 2)], ""),
        ([(0, 2), (1, 2)], " 1 more at this layer, on host2."),
        ([(1, 2), (0, 2)], " 1 more at this layer, on host2."),
        ([(0, 2), (1, 2), (2, 0)], " Every failing pair has host3 in it."),
        ([(0, 1), (1, 2), (2, 0)], " 2 more at this layer, on host2, host3."),
        ([(0, 1), (1, 0), (0, 1)], " Every failing pair has host1 and host2 in it."),
        ([(0, 1), (1, 0), (2, None)], " 2 more at this layer, on host2, host3."),
    ],
)
def test_what_several_findings_have_in_common(trio, failed, end):
    for rank, peer in failed:
        trio[rank]["probe"]["records"].append(record(8, rank, False, peer, name="listener", observed="taken"))
    message = verdict(trio)["message"]
    assert message.endswith(f"host{min(failed)[0] + 1}: set PROBE_PORT to a free one.{end}")


# ---------------------------------------------------------------- what was not reached


def test_the_first_gap_is_told_on_each_rank_with_what_is_known(trio):
    trio[0]["probe"]["records"][6]["ok"] = None
    trio[0]["probe"]["records"][6]["detail"] = "later"
    trio[0]["probe"]["records"][7].update(ok=None, detail="too late")
    trio[1]["probe"]["records"] = [one for one in trio[1]["probe"]["records"] if one["layer"] < 10]
    trio[1]["probe"]["error"] = "Traceback"
    result = verdict(trio)
    assert [(one["layer"], one["layer_name"], one["rank"], one["host"], one["peer"]) for one in result["findings"]] == [
        (10, "master port", 0, "host1", None),
        (10, "master port", 1, "host2", None),
    ]
    assert [one["observed"] for one in result["findings"]] == ["later", "Traceback"]
    assert {one["check"] for one in result["findings"]} == {"not reached"}


def test_a_gap_that_nobody_explains_is_told_as_well(pair):
    """One look at the hosts was made, and no engine was asked: there is nothing about the swarm."""
    del pair[1]["probe"]["clock"]
    pair[1]["host_checks"]["clock"] = {}
    (found,) = verdict(pair)["findings"]
    assert (found["layer"], found["host"], found["observed"]) == (1, "host2", "not measured")


@pytest.mark.parametrize("extra", [None, True])
def test_one_that_was_not_made_is_a_gap_beside_one_that_passed(pair, extra):
    records = pair[1]["probe"]["records"]
    records.insert(0, record(9, 1, None, detail="why"))
    records.append(record(9, 1, extra, detail="and why"))
    result = verdict(pair)
    assert [(one["layer"], one["observed"]) for one in result["findings"]] == [(9, "why")]
    assert result["layers"][8]["ranks"] == {"0": "ok", "1": "not reached"}
    assert result["layers"][9]["ranks"] == {"0": "ok", "1": "ok"}


@pytest.mark.parametrize("probed", [True, False])
def test_a_fault_is_told_whether_or_not_probes_have_run(pair, probed):
    pair[1]["host_checks"]["disk_free_bytes"] = 0
    result = verdict(pair, probed=probed)
    assert [(one["layer"], one["host"]) for one in result["findings"]] == [(2, "host2")]
    rows = {row["layer"]: set(row["ranks"].values()) for row in result["layers"]}
    assert (rows[1], rows[2], rows[3]) == ({"ok"}, {"ok", "fail"}, {"not reached"})


# ---------------------------------------------------------------- figures


def test_the_figures_are_the_worst_of_all_ranks(trio):
    for one, rate, latency in zip(trio, (300.0, 200.0, 400.0), (10.0, 30.0, 20.0)):
        one["probe"]["allreduce"] = {"bus_bandwidth_mb_s": rate, "latency_us": latency}
    trio[0]["probe"].update(backend=None, backend_reason={"code": "no_gpu", "ranks": [0]})
    trio[1]["probe"].update(backend="nccl", backend_reason={"code": "asked_for"})
    result = verdict(trio)
    assert (result["bus_bandwidth"], result["latency"]) == (200.0, 30.0)
    assert (result["backend"], result["backend_reason"]) == ("nccl", "PROBE_BACKEND=nccl")
    del trio[1]["probe"]["allreduce"]
    trio[2]["probe"]["allreduce"] = None
    result = verdict(trio)
    assert (result["bus_bandwidth"], result["latency"]) == (300.0, 10.0)
    assert [verdict([healthy_report(0, 1)])[name] for name in ("bus_bandwidth", "latency")] == [None, None]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ({"code": "no_gpu", "ranks": [1]}, "no GPU on host2"),
        ({"code": "no_gpu", "ranks": [0, 1, 2]}, "no GPU on host1, host2, rank 2"),
        ({"code": "all_gpus"}, "every rank has a GPU"),
        ({"code": "asked_for"}, "PROBE_BACKEND=gloo"),
        ({"code": "of another version"}, None),
        (None, None),
    ],
)
def test_a_reason_speaks_of_hosts(pair, reason, told):
    for one in pair:
        one["probe"]["backend_reason"] = reason
    assert verdict(pair)["backend_reason"] == told


def test_each_pair_is_told_with_both_networks(trio):
    trio[1]["probe"]["pairs"] = {
        "2": {"latency_us": 80.0, "bandwidth_mb_s": 410.0, "path_mtu": 1450, "bandwidth_steady": 0.7},
        "0": {"latency_us": 90.0, "bandwidth_steady": 0.8},
        "7": {"latency_us": 1.0},
    }
    trio[1]["host_checks"]["host_network"] = {"host3": {"bandwidth_mb_s": 2000.0}, "host1": {"error": "refused"}}
    trio[0]["probe"]["pairs"] = trio[2]["probe"]["pairs"] = {}
    assert verdict(trio)["pairs"] == [
        {"rank": 1, "host": "host2", "peer_rank": 0, "peer": "host1", "latency": 90.0, "bandwidth": None,
         "host_bandwidth": None, "steady": True, "path_mtu": None},
        {"rank": 1, "host": "host2", "peer_rank": 2, "peer": "host3", "latency": 80.0, "bandwidth": 410.0,
         "host_bandwidth": 2000.0, "steady": False, "path_mtu": 1450},
    ]  # fmt: skip


def test_pairs_are_in_the_order_of_ranks():
    pairs = verdict([healthy_report(rank, 11) for rank in range(11)])["pairs"]
    assert [(pair["rank"], pair["peer_rank"]) for pair in pairs] == [
        (rank, peer) for rank in range(11) for peer in range(11) if peer != rank
    ]


# ---------------------------------------------------------------- the table


def test_the_table_of_two_hosts(pair):
    pair[0]["probe"]["pairs"]["1"].update(latency_us=80.6, bandwidth_mb_s=410.4)
    pair[0]["host_checks"]["host_network"] = {"host2": {"bandwidth_mb_s": 940.6}}
    del pair[1]["probe"]["pairs"]["0"]["bandwidth_mb_s"]
    fail(pair[1], 12, name="planted")
    lines = verdict(pair)["table"].splitlines()
    assert lines[:2] == ["layer                 0 host1  1 host2", " 1 clock              ok       ok"]
    assert lines[12:] == [
        "12 all-reduce         ok       FAIL",
        "13 bus bandwidth      -        -",
        "14 straggler          -        -",
        "",
        "ok: passed, FAIL: failed, -: not reached",
        "",
        "latency in us / bandwidth in MB/s (of the hosts' own network) of one connection, from the row's rank to the column's",
        "         0 host1  1 host2",
        "0 host1  .        81 / 410 (941)",
        "1 host2  80 / -   .",
    ]


def test_a_table_without_the_hosts_own_network_does_not_speak_of_it(pair):
    pair[1]["probe"]["pairs"] = {}
    lines = verdict(pair)["table"].splitlines()
    assert lines[-4:] == [
        "latency in us / bandwidth in MB/s of one connection, from the row's rank to the column's",
        "         0 host1  1 host2",
        "0 host1  .        80 / 410",
        "1 host2  -        .",
    ]


def test_a_table_of_hosts_between_which_nothing_was_measured(pair):
    for one in pair:
        one["probe"]["pairs"] = {str(1 - one["rank"]): {"bandwidth_mb_s": 410.0}}
    assert verdict(pair)["table"].splitlines()[-1] == "ok: passed, FAIL: failed, -: not reached"


@pytest.mark.parametrize(("size", "blocks"), [(6, [6]), (7, [6, 1]), (13, [6, 6, 1])])
def test_many_ranks_are_shown_in_blocks(size, blocks):
    lines = verdict([healthy_report(rank, size) for rank in range(size)])["table"].splitlines()
    heads = [line.split()[1::2] for line in lines if line.startswith("layer")]
    assert [len(head) for head in heads] == blocks
    assert [int(rank) for head in heads for rank in head] == list(range(size))
    # Each block of the second table has a row for each rank.
    rows = lines[lines.index("ok: passed, FAIL: failed, -: not reached") + 3 :]
    assert len(rows) == len(blocks) * (size + 1)
    last = rows[-size:]
    assert [row.split()[:2] for row in last] == [[str(rank), f"host{rank + 1}"] for rank in range(size)]
    assert last[-1].endswith("."), "no rank measures itself"
