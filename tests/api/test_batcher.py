"""Batching by rows, with functions in the place of models."""

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import DeadlineExceeded, InvalidRows, Overloaded
from pellucid_api.engine.batcher import Batcher, Work
from pellucid_api.engine.cost import Cost
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.lane import Lane
from pellucid_api.engine.statistics import Statistics

NO_STRINGS = np.empty((0, 0), dtype=object)


def feed(*values: float) -> Feed:
    return Feed(len(values), np.array([values], dtype=float), NO_STRINGS[:, : len(values)], ())


def doubled(given: Feed) -> list[np.ndarray]:
    return [given.numbers[0] * 2]


class Desk:
    """A batcher, what its model was given, and the works that were closed, in that order."""

    def __init__(self, run=doubled, *, max_rows=64, max_wait=10.0, seconds=0.0):
        self.runs: list[list[float]] = []
        self.closed: list[Work] = []
        self.statistics = Statistics()

        def noted(given):
            self.runs.append(given.numbers[0].tolist())
            return run(given)

        self.batcher = Batcher(
            noted, Lane("test"), self.statistics, max_rows=max_rows, max_wait=max_wait
        )
        if seconds:  # what a run is expected to take: more than a millisecond goes to the thread
            self.batcher.cost.learn(1, seconds)

    def submit(self, *values, **options) -> Work:
        self.batcher.admit()
        work = Work(feed(*values), self.closed.append, **options)
        self.batcher.submit(work)
        return work

    async def drained(self, count):
        async with asyncio.timeout(60):
            while len(self.closed) < count:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("seconds", [1e-6, 1.0])
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    max_rows=st.integers(1, 50),
)
def test_every_request_gets_its_own_rows_in_order(seconds, sizes, max_rows):
    async def main():
        desk = Desk(max_rows=max_rows, seconds=seconds, max_wait=1e9)
        works = []
        for i, size in enumerate(sizes):
            works.append(desk.submit(*(1000 * i + row for row in range(size))))
            if i % 3 == 0:
                await asyncio.sleep(0)
        await desk.drained(len(sizes))
        for i, work in enumerate(works):
            assert work.outputs[0].tolist() == [2 * (1000 * i + r) for r in range(sizes[i])]
        assert max(map(len, desk.runs)) <= max_rows
        assert sum(map(len, desk.runs)) == sum(sizes) == desk.statistics.executed_rows
        assert desk.batcher.waiting == 0

    asyncio.run(main())


def test_what_comes_in_one_turn_is_run_at_once_and_what_comes_alone_waits_for_nobody():
    async def main():
        desk = Desk(seconds=1e-6)
        for value in range(5):
            desk.submit(value)
        await desk.drained(5)
        desk.submit(9)
        await desk.drained(6)
        assert desk.runs == [[0, 1, 2, 3, 4], [9]]

    asyncio.run(main())


def test_lower_priorities_run_first_and_equals_in_order():
    async def main():
        desk = Desk(max_rows=1, seconds=1e-6)
        for value, priority in ((1, 5), (2, 0), (3, 5), (4, -1)):
            desk.submit(value, priority=priority)
        await desk.drained(4)
        assert desk.runs == [[4], [2], [1], [3]]

    asyncio.run(main())


def test_a_large_request_takes_turns_with_small_ones():
    async def main():
        desk = Desk(max_rows=4, seconds=1e-6)
        large = desk.submit(*range(12))
        small = desk.submit(100)
        await desk.drained(2)
        assert desk.closed == [small, large]
        assert large.outputs[0].tolist() == [2 * value for value in range(12)]

    asyncio.run(main())


def test_cancelled_and_late_requests_never_run():
    async def main():
        desk = Desk(seconds=1e-6)
        gone = desk.submit(1)
        late = desk.submit(2, deadline=time.perf_counter() - 1)
        kept = desk.submit(3)
        gone.cancelled = True
        await desk.drained(3)
        assert desk.runs == [[3]]
        assert kept.outputs[0].tolist() == [6]
        assert isinstance(late.error, DeadlineExceeded)
        assert (desk.statistics.dropped, desk.statistics.expired) == (1, 1)
        assert desk.batcher.waiting == 0

    asyncio.run(main())


@settings(max_examples=30, deadline=None)
@given(bad=st.sets(st.integers(0, 19)))
def test_bad_requests_fail_alone(bad):
    def run(given):
        if any(value in bad for value in given.numbers[0]):
            raise RuntimeError("no such value")
        return doubled(given)

    async def main():
        desk = Desk(run, seconds=1e-6)
        works = [desk.submit(value) for value in range(20)]
        await desk.drained(20)
        for value, work in enumerate(works):
            if value in bad:
                assert isinstance(work.error, InvalidRows)
                assert "no such value" in work.error.message
            else:
                assert work.outputs[0].tolist() == [2 * value]
        assert desk.statistics.failed == len(bad)

    asyncio.run(main())


def test_a_piece_that_fails_fails_its_request_once():
    def run(given):
        if 7 in given.numbers[0]:
            raise RuntimeError("seven")
        return doubled(given)

    async def main():
        desk = Desk(run, max_rows=2, seconds=1e-6)
        large = desk.submit(*range(20))
        await desk.drained(1)
        other = desk.submit(50)
        await desk.drained(2)
        assert (desk.closed, desk.batcher.waiting) == ([large, other], 0)
        assert isinstance(large.error, InvalidRows)
        assert sum(map(len, desk.runs)) < 20

    asyncio.run(main())


class Gate:
    """A model that runs until it is let go."""

    def __init__(self):
        self.entered, self.open = threading.Event(), threading.Event()

    def run(self, given):
        self.entered.set()
        assert self.open.wait(120)
        return doubled(given)


async def entered(gate):
    async with asyncio.timeout(60):
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)


async def held(gate, **options):
    """A desk whose model runs, and will until it is let go."""
    seconds = options.pop("seconds")
    desk = Desk(gate.run, **options)
    desk.submit(0)  # nothing is known yet: it goes to the thread
    await entered(gate)
    desk.batcher.cost.learn(1, seconds)
    return desk


def fill(desk, most=10_000):
    """How many more requests of one row it takes."""
    for number in range(most):
        try:
            desk.submit(number)
        except Overloaded:
            return number
    return most


@pytest.mark.parametrize(
    ("seconds", "max_wait", "room"),
    [
        (1.0, 5.0, 5),  # the bound that was set
        (0.05, 100.0, 256),  # as many requests
        (0.002, 100.0, 256),
        (0.0002, 100.0, 500),  # 0.1 s of short ones
    ],
)
def test_a_burst_may_wait_and_more_is_refused(seconds, max_wait, room):
    async def main():
        gate = Gate()
        desk = await held(gate, max_wait=max_wait, seconds=seconds)
        assert fill(desk) == pytest.approx(room, abs=1)
        assert (desk.statistics.refused, desk.batcher.waiting) == (1, desk.batcher._ahead)
        gate.open.set()
        await desk.drained(len(desk.closed) + desk.batcher.waiting + 1)
        assert desk.batcher.waiting == desk.batcher._ahead == 0

    asyncio.run(main())


def test_after_a_refusal_little_may_wait_until_the_service_has_rested():
    async def main():
        gate = Gate()
        desk = await held(gate, seconds=0.01, max_wait=100.0)
        batcher = desk.batcher
        assert fill(desk) == 256
        with pytest.raises(Overloaded):
            desk.submit(1)
        assert batcher._admission._limited().wait == pytest.approx(0.03)
        gate.open.set()
        await desk.drained(257)
        batcher._admission._idle = time.perf_counter()  # it has not rested at all
        desk.submit(0)
        assert 0 <= batcher._admission._allowance < 1
        await desk.drained(258)
        while batcher._busy:
            await asyncio.sleep(0)
        batcher._admission._idle -= 1.0  # for a second
        desk.submit(0)
        assert batcher._admission._allowance == 1
        await desk.drained(259)

    asyncio.run(main())


def test_what_is_being_decoded_counts_as_waiting():
    async def main():
        gate = Gate()
        desk = await held(gate, seconds=0.05, max_wait=100.0)
        desk.batcher.coming = 252
        assert fill(desk) == 4
        desk.batcher.coming = 0
        gate.open.set()
        await desk.drained(5)

    asyncio.run(main())


def test_a_large_request_holds_back_small_ones_by_one_piece_of_it():
    async def main():
        gate = Gate()
        desk = await held(gate, max_rows=8, seconds=1e-4, max_wait=100.0)
        large = desk.submit(*range(1000))
        assert desk.batcher.waiting == 1000
        room = fill(desk)
        assert room == pytest.approx(1000 - 8, abs=1)
        large.cancelled = True
        gate.open.set()
        await desk.drained(2 + room)
        assert desk.batcher.waiting == desk.batcher._ahead == 0

    asyncio.run(main())


@pytest.mark.parametrize("clients", [64, 256])
@pytest.mark.parametrize("seconds", [1e-6, 1e-3])
def test_clients_that_wait_for_their_answers_are_never_refused(clients, seconds):
    """Each sends its next request when it has its answer: what waits fits into one run."""

    async def main():
        left = 3_000

        def run(given):
            time.sleep(1e-4 if seconds < 1e-3 else 2e-3)  # whatever the number of rows
            return doubled(given)

        desk = Desk(run, max_rows=1024)
        for rows in (1, 8, 64):
            desk.batcher.cost.learn(rows, max(seconds, 1e-4))

        def again(work):
            nonlocal left
            desk.closed.append(work)
            if left > 0:
                left -= 1
                desk.batcher.admit()
                desk.batcher.submit(Work(feed(1), again))

        for _ in range(clients):
            desk.batcher.admit()
            desk.batcher.submit(Work(feed(1), again))
        await desk.drained(3_000 + clients)
        assert desk.statistics.refused == 0
        assert max(map(len, desk.runs)) <= clients

    asyncio.run(main())


def test_a_loop_that_is_late_takes_no_run_for_one_that_hangs():
    async def main():
        gate = Gate()
        desk = await held(gate, seconds=2e-3)
        loop = asyncio.get_running_loop()
        desk.batcher._look(loop.time() - 0.2)  # which it should have done before
        desk.submit(1)
        assert not desk.batcher._hangs
        desk.batcher._look(loop.time())  # on time, and it still runs
        with pytest.raises(Overloaded) as raised:
            desk.submit(2)
        assert "PELLUCID_MAX_RUN_SECONDS" in raised.value.remedy
        gate.open.set()
        await desk.drained(2)
        desk.submit(3)
        await desk.drained(3)

    asyncio.run(main())


def test_a_model_that_hangs_answers_deadlines_and_then_refuses():
    async def main():
        gate = Gate()
        desk = Desk(gate.run, max_wait=0.05, seconds=2e-3)
        started = time.perf_counter()
        running = desk.submit(1, deadline=started + 0.1)
        await entered(gate)
        waiting = desk.submit(2, deadline=started + 0.1)
        await desk.drained(2)
        assert {type(work.error) for work in (running, waiting)} == {DeadlineExceeded}
        with pytest.raises(Overloaded):
            desk.submit(3)
        gate.open.set()
        await asyncio.sleep(0.05)
        desk.submit(4)
        await desk.drained(3)
        assert desk.closed[2].outputs[0].tolist() == [8]
        assert (desk.statistics.expired, desk.batcher.waiting) == (2, 0)
        assert desk.runs == [[1], [4]]

    asyncio.run(main())


def test_models_that_hang_hold_up_no_other_model():
    async def main():
        gates = [Gate() for _ in range(20)]
        stuck = [Desk(gate.run, seconds=1.0) for gate in gates]
        for desk, gate in zip(stuck, gates, strict=True):
            desk.submit(1)
            await entered(gate)
        healthy = Desk(seconds=1.0)
        healthy.submit(5)
        await healthy.drained(1)
        assert healthy.closed[0].outputs[0].tolist() == [10]
        for gate in gates:
            gate.open.set()

    asyncio.run(main())


def test_an_answer_that_cannot_be_handed_on_holds_up_nobody(caplog):
    def refuse(work):
        raise RuntimeError("the client is gone")

    async def main():
        desk = Desk(seconds=1e-6)
        desk.batcher.submit(Work(feed(1), refuse))
        desk.submit(2)
        await desk.drained(1)
        desk.submit(3)
        await desk.drained(2)

    asyncio.run(main())
    assert "an answer could not be handed on" in caplog.text


def test_feeds_of_other_shapes_are_not_joined():
    async def main():
        desk = Desk(seconds=1e-6)
        shapes = []
        desk.batcher._run = lambda given: shapes.append(given.key) or [given.tensors[0][:, 0]]
        for width in (2, 2, 3):
            tensor = np.ones((1, width))
            numbers = np.empty((0, 1))
            desk.batcher.submit(Work(Feed(1, numbers, NO_STRINGS, (tensor,)), desk.closed.append))
        await desk.drained(3)
        assert shapes == [((2,),), ((3,),)]

    asyncio.run(main())


def test_a_lane_runs_one_call_after_the_other_and_ends_with_its_owner():
    lane = Lane("one")
    order: list[int] = []
    futures = [lane.submit(order.append, number) for number in range(50)]
    assert [future.result(60) for future in futures] == [None] * 50
    assert order == list(range(50))
    with pytest.raises(ZeroDivisionError):
        lane.submit(lambda: 1 / 0).result(60)
    (thread,) = (each for each in threading.enumerate() if each.name == "one")
    assert thread.daemon
    del lane
    thread.join(60)
    assert not thread.is_alive()


def test_a_cost_is_that_of_its_size_or_scaled_up_and_at_most_that_of_a_larger_one():
    cost = Cost()
    assert (cost.of_run(5), cost.of_one()) == (float("inf"), 0.0)
    cost.learn(1, 5.0)  # delayed by something else
    cost.learn(8, 0.8)
    cost.learn(64, 3.2)
    assert (cost.of_run(1), cost.at_most(1)) == (5.0, 0.8)
    assert cost.of_run(20) == pytest.approx(1.6)
    assert cost.of_run(300) == cost.at_most(300) == pytest.approx(3.2 * 4)
    assert cost.of_one() == pytest.approx(0.05)
