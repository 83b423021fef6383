"""What the trainer's ranks have in common while they train: weights, buffers, when to stop and save, and patience."""

import itertools
import json
import os
import threading
import time
from pathlib import Path

import forked
import pytest
import torch
from torch import nn

from ddp_trainer import agreement


def test_the_quick_digest_sees_every_byte_and_where_it_is() -> None:
    def of(*tensors: torch.Tensor) -> int:
        return int(agreement.quick_digest([nn.Parameter(tensor, requires_grad=False) for tensor in tensors]))

    one, other = torch.arange(7.0), torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    known = of(one, other)
    assert known == of(one.clone(), other.t().contiguous().t()) == of(torch.cat([one[:1], one])[1:], other)
    for number in range(7):  # the last four bytes are no whole int64
        changed = one.clone()
        changed[number] = torch.nextafter(changed[number], torch.tensor(99.0))
        assert of(changed, other) != known
    assert of(other, one) != known
    assert of(torch.zeros(0), one, other) != 0


def test_a_rank_that_differs_is_named(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        for odd in ((), (1,), (0, 3), (0, 1), (0, 2, 3)):
            model = nn.Linear(2, 2)
            nn.init.constant_(model.weight, 1.0 + (rank in odd))
            nn.init.zeros_(model.bias)
            weights = agreement.Weights(model, 3)
            try:
                weights.check(5)
                print("agreed", weights.agreed)
            except RuntimeError as error:
                print(str(error).partition("weights: ")[2])

    when = ": they agreed at update 3, and no longer at update 5"
    for rank in forked.run(4, work, tmp_path):
        assert rank.output.splitlines() == [
            "agreed 5",
            f"rank 1 differs from ranks 0, 2, 3{when}",
            f"ranks 1, 2 differ from ranks 0, 3{when}",  # of equally many, rank 0's count
            f"ranks 2, 3 differ from ranks 0, 1{when}",
            f"rank 1 differs from ranks 0, 2, 3{when}",
        ]


@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.int64, torch.complex64])
def test_buffers_are_rank_0s(kind: torch.dtype, tmp_path: Path) -> None:
    def work(rank: int) -> None:
        module = nn.Module()
        module.register_buffer("one", torch.full((3, 2), rank).to(kind).t())
        module.register_buffer("none", torch.zeros(0))
        module.register_buffer("flag", torch.tensor(bool(rank)))
        module.register_buffer("number", torch.tensor(rank))
        module.register_buffer("flags", torch.full((3,), bool(rank)), persistent=False)
        agreement.PIECE_BYTES = 11  # the pieces end within numbers
        agreement.share_buffers(module, None)
        assert not module.flag
        assert not module.flags.any()
        print(module.one.bool().any().item(), module.number.item(), module.one.dtype == kind)

    assert [rank.output for rank in forked.run(2, work, tmp_path)] == ["False 0 True\n"] * 2


def test_ranks_ask_seldom_where_that_is_told_and_all_as_often(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        agreement.ASK_SECONDS = 0.1
        requests, told = agreement.Requests(each_update=False), []
        for update in range(60):
            requests.ask(stop=rank == 1 and update >= 30, save=rank == 1 or update == 0)
            told.append((requests.sent is not None, *requests.answer()))
            time.sleep(0.005)
        asked = [update for update, (sent, _, _) in enumerate(told) if sent]
        stops, saves = ([update for update, said in enumerate(told) if said[which]] for which in (1, 2))
        print(json.dumps([asked, stops, saves]))

    zero, one = (json.loads(line) for line in (rank.output.splitlines()[-1] for rank in forked.run(2, work, tmp_path)))
    assert zero == one
    asked, stop, save = zero
    assert save == [0]  # by rank 0 alone
    assert asked[:2] == [0, 2]
    periods = [next_ - last for last, next_ in itertools.pairwise(asked)]
    assert all(next_ <= 2 * last for last, next_ in itertools.pairwise(periods))
    assert 4 <= len(asked) <= 30
    assert stop == [update for update in asked if update >= 30]


def test_a_rank_that_goes_silent_meanwhile_is_noticed_by_the_timeout(tmp_path: Path) -> None:
    done = tmp_path / "done"

    def work(rank: int) -> None:
        patience, began = agreement.Patience(1.0, 60.0), time.monotonic()
        if rank == 0:  # all of its threads, as a rank that is cut off
            threading.Thread.start = lambda self: None  # type: ignore[method-assign]
            while not done.exists() and time.monotonic() < began + 20:
                time.sleep(0.05)
            os._exit(0)
        try:
            with patience("a test"):
                pass
        except RuntimeError:
            print("WAITED", time.monotonic() - began)
        done.touch()
        os._exit(0)

    ended = forked.run(2, work, tmp_path)
    assert 0.5 < float(ended[1].output.rpartition("WAITED ")[2]) < 15


def test_while_all_work_none_waits(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        patience = agreement.Patience(10.0, 1.5)
        with patience("a test"):
            time.sleep(2)
        with patience("another"):
            time.sleep(4 * rank)

    last = [rank.output.splitlines()[-1] for rank in forked.run(2, work, tmp_path)]
    assert last[0] == last[1] == "RuntimeError: rank 1 took more than 1.5 s for another"
