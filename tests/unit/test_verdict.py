"""One sentence about a job that stands still. The records are made up here; tests/hangs has those of real ranks, all of gloo."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose.verdict import judge

TORCH = "/opt/venv/lib/python3.11/site-packages/torch"
BACKWARD = [[f"{TORCH}/autograd/graph.py", 979, "_engine_run_backward"], [f"{TORCH}/_tensor.py", 623, "backward"]]
LOADER = [
    ["/usr/lib/python3.11/selectors.py", 415, "select"],
    [f"{TORCH}/utils/data/dataloader.py", 1133, "_try_get_data"],
]
QUEUE = ["/usr/lib/python3.11/multiprocessing/queues.py", 113, "get"]
LOOP = [f"{TORCH}/utils/data/_utils/worker.py", 259, "_worker_loop"]


def calls(
    *ops: str, ended: int = 99, first: int = 1, title: str = "default_pg", ranks: str = "", name: str = "0"
) -> dict[str, Any]:
    """A group whose collectives up to `ended` have ended. `gloo:all_reduce 5` has a size."""
    entries = [
        {
            "seq": seq,
            "p2p": False,
            "op": op.split()[0],
            "sizes": [[int(n) for n in op.split()[1:]]],
            "ended": seq <= ended,
            "began": 1,
        }
        for seq, op in enumerate(ops, first)
    ]
    return {"groups": {name: {"title": title, "ranks": ranks, "entries": entries}}}


def process(rank: int, line: int, inner: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    frames = [*(inner or []), ["/app/train.py", line, "main"], ["/app/train.py", 99, "<module>"]]
    return {
        "pid": 10 + rank,
        "rank": rank,
        "state": "S",
        "waits": "",
        "cpu": 0.0,
        "threads": [{"frames": frames}],
        **more,
    }


def job(*hosts: Any) -> list[dict[str, Any]]:
    return [
        {"host": f"host{number}", **({"why": host} if isinstance(host, str) else {"record": {"processes": host}})}
        for number, host in enumerate(hosts, 1)
    ]


REDUCE = "nccl:all_reduce 5"
INSIDE = process(0, 50, BACKWARD, collectives=calls(REDUCE, REDUCE, REDUCE, ended=2))


def test_a_rank_that_did_not_enter() -> None:
    late = process(1, 37, collectives=calls(REDUCE, REDUCE))
    verdict = judge(job([INSIDE], [late]))
    assert verdict.sentence == (
        "rank 1 on host2 did not enter all_reduce #3, in which rank 0 on host1 waits (train.py:50 main()). It is in train.py:37 main()."
    )
    assert verdict.shown()["places"] == [{"file": "/app/train.py", "line": 37, "function": "main"}]


def test_the_states_of_nccl_say_nothing_of_who_is_late() -> None:
    """Many collectives are enqueued behind the one that hangs: the first that has not ended counts."""
    ahead = process(0, 60, collectives=calls(*[REDUCE] * 9, ended=2))
    late = process(1, 37, collectives=calls(REDUCE, REDUCE))
    assert "did not enter all_reduce #3" in judge(job([ahead], [late])).sentence
    # It has enqueued that one as well, but less than the other: the device of neither goes on.
    slow = process(1, 37, collectives=calls(*[REDUCE] * 5, ended=2))
    verdict = judge(job([ahead], [slow]))
    assert (verdict.kind, "are all in all_reduce #3" in verdict.sentence) == ("wire", True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"runs": True}, "keeps a processor busy: it computes, or loops without an end"),
        ({"cpu": 0.99}, "keeps a processor busy"),
        ({"state": "D"}, "waits for a disk or a device in the kernel"),
        ({"state": "D", "waits": "rpc_wait_bit_killable"}, "waits for NFS in the kernel (rpc_wait_bit_killable)"),
        ({"waits": "request_wait_answer"}, "waits for a FUSE file system in the kernel"),
        ({"state": "D", "waits": "sb_start_write"}, "waits for a frozen file system"),
    ],
)
def test_what_a_rank_does(more: dict[str, Any], says: str) -> None:
    late = process(1, 37, collectives=calls(REDUCE, REDUCE), **more)
    assert says in judge(job([INSIDE], [late])).sentence


def test_a_stopped_rank_comes_first() -> None:
    late = process(1, 37, collectives=calls(REDUCE, REDUCE), state="T")
    assert (
        judge(job([INSIDE], [late])).sentence
        == "rank 1 on host2 is in train.py:37 main(), and it is stopped (SIGSTOP): kill -CONT lets it go on."
    )


def test_a_data_loader() -> None:
    waits = process(1, 40, LOADER, collectives=calls(REDUCE, REDUCE))
    idle = process(1, 40, [QUEUE, LOOP], pid=77)
    stuck = process(1, 40, [["/app/data.py", 37, "read"], LOOP], pid=78)
    verdict = judge(job([INSIDE], [waits, idle, stuck]))
    assert "Its data loader's process 78 is in data.py:37 read()." in verdict.sentence
    assert verdict.shown()["places"][0]["line"] == 37
    assert "of which no process is there" in judge(job([INSIDE], [waits])).sentence
    assert (
        "is in train.py:40 main(), which has called selectors.py:415 select(), and waits for its data loader."
        in judge(job([INSIDE], [waits, idle])).sentence
    )


def test_another_order() -> None:
    other = process(1, 61, collectives=calls(REDUCE, REDUCE, "nccl:barrier", ended=2))
    verdict = judge(job([INSIDE], [other]))
    assert verdict.sentence == (
        "rank 1 on host2 entered barrier #3 where rank 0 on host1 entered all_reduce #3: the ranks' collectives differ in order, or in number. "
        "Rank 1 on host2 is in train.py:61 main(). Rank 0 on host1 is in train.py:50 main(), which has called graph.py:979 _engine_run_backward()."
    )
    assert verdict.shown()["ranks"] == [1, 0]


def test_the_most_are_right() -> None:
    odd = process(0, 61, collectives=calls(REDUCE, "nccl:all_reduce 6", ended=1))
    others = [process(rank, 50, collectives=calls(REDUCE, REDUCE, ended=1)) for rank in (1, 2)]
    verdict = judge(job([odd], [others[0]], [others[1]]))
    assert verdict.sentence.startswith(
        "rank 0 on host1 entered all_reduce #2 of [[6]] where rank 1 on host2 and rank 2 on host3 entered all_reduce #2 of [[5]]"
    )


def test_a_gather_has_other_sizes_on_each_rank() -> None:
    ranks = [process(rank, 50, collectives=calls(REDUCE, f"gloo:gather {rank + 1}", ended=1)) for rank in (0, 1)]
    assert judge(job([ranks[0]], [ranks[1]])).kind == "wire"


def test_several_processes_of_a_host_and_the_launcher_of_them() -> None:
    agent = {
        "pid": 3,
        "rank": None,
        "state": "S",
        "threads": [{"frames": [["/x/torch/distributed/run.py", 1, "main"]]}],
    }
    hosts = [
        [{**INSIDE, "rank": rank, "pid": 20 + rank} for rank in (0, 1)],
        [{**INSIDE, "rank": 2}, process(3, 37, collectives=calls(REDUCE, REDUCE))],
    ]
    verdict = judge(job(*([agent, *host] for host in hosts)))
    assert verdict.sentence.startswith(
        "rank 3 on host2 did not enter all_reduce #3, in which rank 0 on host1, rank 1 on host1 and rank 2 on host2 wait (train.py:50"
    )


def test_a_group_of_some_ranks_holds_the_others_up() -> None:
    """Rank 2 waits in a group of its own with rank 3, which is the one that is late."""
    pair = {"title": "pair", "name": "7", "ranks": "[2, 3]"}
    both = {"groups": {**calls(REDUCE)["groups"], **calls("nccl:broadcast 1", ended=0, **pair)["groups"]}}
    ranks = [
        process(0, 50, collectives=calls(REDUCE, REDUCE, ended=1)),
        process(1, 50, collectives=calls(REDUCE, REDUCE, ended=1)),
        process(2, 70, collectives=both),
        process(3, 37, collectives=calls(REDUCE)),
    ]
    verdict = judge(job(*([one] for one in ranks)))
    assert verdict.shown()["ranks"] == [3]


def test_all_are_inside() -> None:
    other = {**INSIDE, "rank": 1}
    verdict = judge(job([INSIDE], [other]))
    assert verdict.sentence == (
        "rank 0 on host1 and rank 1 on host2 are all in all_reduce #3 (train.py:50 main()), and it does not end: nothing arrives between them."
    )


def test_before_the_group_forms() -> None:
    store = [
        [f"{TORCH}/distributed/rendezvous.py", 9, "_create_c10d_store"],
        [f"{TORCH}/distributed/distributed_c10d.py", 8, "init_process_group"],
    ]
    verdict = judge(job([process(0, 20, store)], [process(1, 12)]))
    assert (
        verdict.sentence
        == "rank 0 on host1 waits (train.py:20 main()) in _create_c10d_store() for rank 1 on host2, which is in train.py:12 main()."
    )
    assert verdict.shown()["ranks"] == [1]
    assert judge(job([process(0, 20, store)], [process(1, 20, store)])).kind == "wire"


def test_an_end_by_itself() -> None:
    agent = {
        "pid": 3,
        "rank": None,
        "state": "S",
        "threads": [{"frames": [["/x/torch/distributed/run.py", 1, "main"]]}],
    }
    given = job([INSIDE], [agent])
    assert (
        judge(given).sentence
        == "rank 1 on host2 has ended, and what has started it waits for the others. Rank 0 on host1 waits for it (train.py:50 main())."
    )
    given[1]["record"]["exits"] = [{"rank": "1", "status": "0", "frames": [["/app/train.py", 37, "main"]]}]
    verdict = judge(given)
    assert verdict.sentence.startswith("rank 1 on host2 has ended by itself: sys.exit(0) in train.py:37 main().")
    assert verdict.shown()["places"] == [{"file": "/app/train.py", "line": 37, "function": "main"}]
    # Rank 0, which has lost it, has ended too.
    given[0]["record"]["processes"] = [agent]
    assert judge(given).sentence.startswith("rank 1 on host2 has ended by itself: sys.exit(0) in train.py:37 main().")


def test_one_of_several_ranks_of_a_host_ends() -> None:
    given = job([INSIDE, {**INSIDE, "rank": 1}], [{**INSIDE, "rank": 2}])
    given[1]["record"]["exits"] = [
        {"rank": rank, "status": "0", "frames": [["/app/train.py", 37, "main"]]} for rank in ("3", "x")
    ]
    verdict = judge(given)
    assert verdict.sentence.startswith("rank 3 on host2 has ended by itself: sys.exit(0) in train.py:37 main().")
    assert (verdict.ranks, verdict.hosts) == ([3], ["host2"])
    given[1]["record"]["processes"] = []
    assert judge(given).sentence.startswith("each rank on host2 cannot be asked: it has no process.")


def test_ranks_that_tell_no_number() -> None:
    """As multiprocessing.spawn starts them."""
    parent = {"pid": 3, "rank": None, "state": "S", "threads": [{"frames": [["/app/spawn.py", 9, "main"]]}]}
    late = {**process(1, 37, collectives=calls(REDUCE, REDUCE)), "rank": None}
    first = {**INSIDE, "rank": None}
    assert judge(job([parent, first], [parent, late])).sentence.startswith(
        "rank 1 on host2 did not enter all_reduce #3"
    )


def test_nobody_waits() -> None:
    verdict = judge(job([process(0, 20, runs=True)], [process(1, 21)]))
    assert verdict.sentence.startswith(
        "No rank waits for another. Rank 0 on host1 is in train.py:20 main(), and keeps a processor busy"
    )
    assert judge([]).sentence == "No rank could be asked."


@pytest.mark.parametrize(
    "record",
    [
        None, [], "x", {"processes": 7}, {"processes": [None, 3, {"rank": "1"}]}, {"processes": [{"rank": 1, "threads": [[]]}]},
        {"processes": [{"rank": 2**70, "threads": {}}]}, {"processes": [{"rank": 1, "threads": [{"frames": [["a", "b", "c"], [1, 2, 3]]}]}]},
        {"processes": [{"rank": 1, "collectives": {"groups": {"0": None, "1": {"entries": [None, {"seq": "x"}, {"seq": 1}]}}}}]},
        {"exits": [None, {"frames": 3}], "processes": [{"pid": []}]},
    ],
)  # fmt: skip
def test_whatever_a_container_says_there_is_a_sentence(record: Any) -> None:
    given = job([INSIDE], [])
    given[1]["record"] = record
    sentence = judge(given).sentence
    assert sentence.endswith(".")
    assert sentence.isprintable()


def test_names_that_a_container_makes_are_shown_as_text() -> None:
    evil = process(1, 37, collectives=calls(REDUCE, REDUCE))
    evil["threads"][0]["frames"][0] = ["/app/\x1b[2Jx\n.py", 1, "f\r\nrank 0 is to blame" * 99]
    sentence = judge(job([INSIDE], [evil])).sentence
    assert sentence.isprintable()
    assert len(sentence) < 800
