"""Rows that are read and encoded while the network trains."""

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid_pipelines import streaming
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.streaming import Streamed, ahead
from support.training import a_fit, a_plan, toy_rows


def streamed(rows: Rows, block: int = 16, read=None) -> Streamed:
    return Streamed(
        read or (lambda places: rows.inputs[places]),
        np.arange(len(rows)),
        block,
        rows.targets,
        rows.weights,
    )


def numbered(count: int) -> Rows:
    numbers = torch.arange(count, dtype=torch.float32)
    return Rows(numbers[:, None], numbers, 1 + numbers)


@settings(deadline=None)
@given(
    count=st.integers(1, 300),
    block=st.integers(1, 64),
    window=st.integers(1, 5),
    size=st.integers(1, 64),
    epoch=st.integers(0, 5),
)
def test_an_epoch_has_every_row_once_in_the_batches_of_rows(count, block, window, size, epoch):
    rows = numbered(count)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(streaming, "_BLOCKS", window)
        source = streamed(rows, block)
        batches = list(source.batches(size, seed=3, epoch=epoch))
    expected = [len(batch) for batch in rows.batches(size, seed=3, epoch=epoch)]
    assert [len(batch) for batch in batches] == expected
    assert len(batches) == source.steps(size) == rows.steps(size)
    for batch in batches:
        assert torch.equal(batch.inputs[:, 0], batch.targets)
        assert torch.equal(batch.weights, 1 + batch.targets)
    assert sorted(torch.cat([batch.targets for batch in batches]).tolist()) == list(range(count))


def test_rows_are_those_of_the_places_and_can_be_taken_in_any_order():
    rows = numbered(100)
    places = np.array([3, 17, 18, 55, 90])
    source = Streamed(lambda at: rows.inputs[at], places, 10, rows.targets[places])
    assert (len(source), source.shape) == (5, (1,))
    taken = source.take(torch.tensor([4, 0, 2]))
    assert taken.inputs[:, 0].tolist() == taken.targets.tolist() == [90, 3, 18]
    seen = torch.cat([batch.inputs[:, 0] for batch in source.batches(2, seed=0, epoch=0)])
    assert seen.sort().values.tolist() == places.tolist()


def order(source, seed, epoch):
    return [batch.targets.tolist() for batch in source.batches(7, seed=seed, epoch=epoch)]


def test_the_order_depends_on_seed_and_epoch_and_not_on_timing(monkeypatch):
    monkeypatch.setattr(streaming, "_BLOCKS", 3)
    rows = numbered(200)

    def slow(places):
        time.sleep(np.random.default_rng().random() / 200)
        torch.manual_seed(np.random.default_rng().integers(1000))
        return rows.inputs[places]

    assert order(streamed(rows, read=slow), 0, 1) == order(streamed(rows), 0, 1)
    assert order(streamed(rows), 0, 1) != order(streamed(rows), 0, 2)
    assert order(streamed(rows), 0, 1) != order(streamed(rows), 1, 1)


def test_rows_of_far_blocks_meet_in_a_batch(monkeypatch):
    monkeypatch.setattr(streaming, "_BLOCKS", 8)
    source = streamed(numbered(1600))
    first = next(iter(source.batches(64, seed=0, epoch=0)))
    blocks = (first.targets // 16).unique()
    assert len(blocks) == 8
    assert blocks.max() - blocks.min() > 8


def test_batches_are_sent_to_the_device():
    source = streamed(toy_rows(100)).to(torch.device("meta"))
    batches = list(source.batches(7, seed=0, epoch=1))
    assert {batch.inputs.device.type for batch in batches} == {"meta"}
    assert source.targets.device.type == "cpu"


def test_it_is_one_item_ahead_and_no_more():
    made, taken = [], threading.Event()

    def items():
        for i in range(5):
            made.append(i)
            if i == 1:
                taken.set()
            yield i

    coming = ahead(items())
    assert next(coming) == 0
    assert taken.wait(60)
    time.sleep(0.02)
    assert made == [0, 1]
    assert list(coming) == [1, 2, 3, 4]


def test_an_error_while_reading_ends_the_training():
    def broken(places):
        if places[0]:
            raise OSError("the disk is gone")
        return torch.zeros(len(places), 6)

    with pytest.raises(OSError, match="the disk is gone"):
        a_fit(a_plan(), train=streamed(toy_rows(), read=broken)).run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rows")]


class Killed(BaseException):
    """Stands for the end of the process."""


class KillAt(Callback):
    def __init__(self, epoch, step):
        self.at = epoch, step

    def step_ended(self, fit, step, trace):
        if (fit.state.epoch, step) == self.at:
            raise Killed


def weights_of(fit):
    return torch.cat([value.flatten() for value in fit.network.state_dict().values()])


@pytest.mark.parametrize("parts", [{}, {"regularization": {"mixup": 0.4, "ema": 0.9}}])
def test_a_resumed_run_ends_in_the_very_same_weights(tmp_path, monkeypatch, parts):
    monkeypatch.setattr(streaming, "_BLOCKS", 3)
    spec = a_plan(**parts)
    rows = toy_rows()
    undisturbed = a_fit(spec, train=streamed(rows))
    undisturbed.run()

    def attempt(*callbacks):
        saving = Checkpointing(Checkpoints(tmp_path, "print"), 0)
        return a_fit(spec, [*callbacks, saving], train=streamed(rows))

    with pytest.raises(Killed):
        attempt(KillAt(3, 2)).run()
    resumed = attempt()
    resumed.run()
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))
    assert resumed.state.losses == undisturbed.state.losses
