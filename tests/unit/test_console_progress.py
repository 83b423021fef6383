"""How far a rank is, of lines as scripts write them."""

import math

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.logs import moment_of

from console.progress import Reading, Track, read

BEGIN = "2025-01-01T00:00:{:02d}.5Z"


def lines(*said):
    """Second and text of each."""
    return [{"time": BEGIN.format(second), "text": text} for second, text in said]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[GPU0] epoch 3 | batch_size: 32 | steps: 64", Reading(epoch=3)),
        ("[GPU1] epoch 3 | loss: 0.512300 | held-out accuracy: 0.9 | samples/s: 412", Reading(0.5123, 412, epoch=3)),
        ("resuming from snapshot at epoch 4 | samples of it already seen: 0", Reading(epoch=4)),
        ("nothing left to train: snapshot is at epoch 10 of 10", Reading(epoch=10, epochs=10)),
        # Hugging Face
        ("{'loss': 0.61, 'grad_norm': 1.2, 'learning_rate': 1e-05, 'epoch': 1.5}", Reading(0.61, epoch=1.5)),
        # pytorch/examples imagenet
        ("Epoch: [2][  50/1251]\tTime  0.35 ( 0.41)\tLoss 6.59e+00 (6.95e+00)\tAcc@1  0.78", Reading(6.59, epoch=2)),
        # torchtitan
        ("step: 10  loss:  7.8  grad_norm: 1.3  memory:  9.9GiB(12.8%)  tps: 5,810  mfu: 34.02%", Reading(7.8, step=10)),
        ("Step 30/100 val_loss=0.9 loss=0.5 throughput=12.5", Reading(0.5, 12.5, step=30, steps=100, held_out=0.9)),
        (" 37%|███▋      | 370/1000 [00:37<01:03,  9.95it/s, loss=0.25]", Reading(0.25, iterations=9.95, step=370, steps=1000)),
        # Losses of data that were held out have a place of their own.
        ("[GPU0] epoch 3 | loss: 0.512300 | held-out loss: 0.7100 | samples/s: 412", Reading(0.5123, 412, epoch=3, held_out=0.71)),
        ("[GPU0] final held-out loss: 0.7100", Reading(held_out=0.71)),
        ("Step 40/100 val_loss=0.9", Reading(step=40, steps=100, held_out=0.9)),
        ("{'eval_loss': 0.7, 'eval_runtime': 1.5, 'epoch': 2.0}", Reading(epoch=2, held_out=0.7)),
        ("Validation loss: 0.4 train_loss: 0.3", Reading(0.3, held_out=0.4)),
        # pytorch/examples mnist, imagenet
        ("Test set: Average loss: 0.0322, Accuracy: 9897/10000 (99%)", Reading(held_out=0.0322)),
        ("Test: [ 10/196]\tTime  0.35 ( 0.41)\tLoss 6.59e+00 (6.95e+00)", Reading(held_out=6.59)),
        ("test.py:12 latest loss: 0.5", Reading(0.5)),
        ("100%|##########| 10/10 [00:20<00:00,  2.00s/it]", Reading(iterations=0.5, step=10, steps=10)),
        ("rank 0 of 2 on host machine1, device cpu, backend gloo", Reading()),
        ("10.0.0.5:2377 version: 1.2.3", Reading()),
        ("  0%|          | 0/5 [00:00<?, ..it/s]", Reading(iterations=0, step=0, steps=5)),
        ("", Reading()),
    ],
)  # fmt: skip
def test_what_a_line_says(line, told):
    assert read(line) == told


@pytest.mark.parametrize("line", ["loss: nan", "loss=NaN", "{'loss': nan}"])
def test_a_loss_that_is_no_number_is_told(line):
    assert math.isnan(read(line).loss)


def test_lines_are_taken_once():
    track = Track()
    assert len(track.add(lines((1, "loss: 3"), (1, "loss: 2"), (2, "loss: 1")))) == 3
    assert [line["text"] for line in track.add(lines((1, "loss: 2"), (2, "loss: 1"), (2, "loss: 0"), (3, "end")))] == [
        "loss: 0",
        "end",
    ]
    assert list(track.losses) == [3, 2, 1, 0]
    assert track.add([{"time": "", "text": "no time"}]) == []


def test_a_held_out_loss_never_stands_for_that_of_the_training():
    track = Track()
    track.add(lines((1, "loss: 0.5 | held-out loss: 0.75"), (2, "final held-out loss: 0.7")))
    assert (track.now.loss, list(track.losses), track.now.held_out) == (0.5, [0.5], 0.7)


def test_the_end_is_reckoned_from_the_pace():
    track = Track({"epochs": 10})
    track.add(lines(*((5 * epoch, f"epoch {epoch} | loss: 1") for epoch in range(5))))
    now = moment_of(BEGIN.format(20))
    # Six of ten are left after the fifth has begun.
    assert track.eta(now) == pytest.approx(30)
    assert track.eta(now + 7) == pytest.approx(23)
    assert track.eta(now + 700) == 0
    assert track.age(now + 7) == pytest.approx(7)


def test_back_to_the_snapshot_the_pace_begins_anew():
    track = Track({"epochs": 10})
    track.add(lines((1, "epoch 5"), (2, "epoch 6"), (12, "epoch 4")))
    assert track.eta(0) is None
    track.add(lines((14, "epoch 5")))
    assert track.eta(moment_of(BEGIN.format(14))) == pytest.approx(10)


def test_steps_where_there_are_no_epochs():
    track = Track({"steps": 100})
    track.add(lines((0, "step 10 loss: 1"), (10, "step 20 loss: 1")))
    assert (track.steps, track.eta(moment_of(BEGIN.format(10)))) == (100, pytest.approx(80))
    track = Track()
    track.add(lines((0, " 10%|# | 10/100 [00:01<00:09, 1.0it/s]"), (10, " 20%|## | 20/100 [00:01<00:09, 1.0it/s]")))
    assert track.eta(moment_of(BEGIN.format(10))) == pytest.approx(80)


def test_epochs_with_steps_in_them():
    track = Track()
    track.add(lines((0, "epoch 1/2 step 0/10"), (10, "epoch 1/2 step 5/10")))
    assert track.place == 1.5
    assert track.eta(moment_of(BEGIN.format(10))) == pytest.approx(10)


@pytest.mark.parametrize("planned", [{}, {"epochs": 3}, {"steps": 7}])
def test_without_numbers_nothing_is_known(planned):
    track = Track(planned)
    track.add(lines((0, "hello"), (1, "world")))
    assert (track.eta(0), track.place, track.now) == (None, None, Reading())


@pytest.mark.parametrize("stamp", ["", "no time", "2025-01-01T00:00:0", "2025-01-01T00:00:00.x"])
def test_times_that_are_none(stamp):
    assert moment_of(stamp) == 0
