"""Counts of processes add up, in any order, and survive being written down."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pellucid_api.engine.statistics import BOUNDS, Statistics
from pellucid_api.processes.counts import Done, packed, total

SECONDS = st.sampled_from([0.0, *BOUNDS, 20.0])
NAMES = st.sampled_from(["a", "b"])


@st.composite
def some_done(draw):
    found = Done()
    for name in draw(st.lists(NAMES)):
        found.loads[name] = found.loads.get(name, 0) + 1
        statistics = found.statistics.setdefault((name, 1), Statistics(since=draw(st.just(5.0))))
        statistics.ran(draw(st.integers(1, 9)), 0.5)
        statistics.answered(1, draw(SECONDS), draw(SECONDS))
        statistics.last = float(draw(st.integers(0, 9)))
    found.evictions = draw(st.integers(0, 9))
    found.logged = draw(st.dictionaries(st.sampled_from(["recorded", "lost"]), st.integers(0, 9)))
    return found


def figures(done):
    """All that is a whole number, which adds up exactly."""
    return (
        {k: (s.succeeded, s.rows, s.executed_rows, s.last, tuple(s.latency.counts))
         for k, s in done.statistics.items()},
        done.loads, done.logged, done.evictions,
    )  # fmt: skip


@given(st.lists(some_done(), max_size=4), st.randoms())
def test_the_order_does_not_matter(parts, random):
    shuffled = parts[:]
    random.shuffle(shuffled)
    assert figures(total(parts)) == figures(total(shuffled))
    succeeded = sum(each.succeeded for part in parts for each in part.statistics.values())
    assert sum(each.succeeded for each in total(parts).statistics.values()) == succeeded


@given(some_done())
def test_nothing_is_lost_in_writing(done):
    assert msgspec.msgpack.decode(packed(done), type=Done) == done
    assert total([Done(), done]) == done


def test_a_sum_begins_with_the_first_and_ends_with_the_last():
    found = Statistics(since=3.0, last=8.0) + Statistics(since=2.0, last=5.0)
    assert (found.since, found.last) == (2.0, 8.0)
