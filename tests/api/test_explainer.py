"""The engine of explanations: memory, linearity, the thread that yields."""

import asyncio
import gc
import os
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.bundle import Bundle
from pellucid.errors import Conflict, DeadlineExceeded, InvalidInput, ModelNotReady
from pellucid_api.engine.attribution import Attributed
from pellucid_api.engine.explainer import Turn, explainer_of
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.guard import Guard
from pellucid_api.engine.memo import Memo, digests, merged
from pellucid_api.engine.model import Model
from pellucid_api.engine.served import Limits, Served
from pellucid_api.engine.subjects import Subject, amounts
from support.explaining import MEANS, STEPS, expected_shap, explained_bundle
from support.serving import ROW, held_feed

ROWS = [ROW | {"age": age} for age in (20, 40, 60)]


@pytest.fixture
def load(tmp_path):
    def make(**bundle):
        root = tmp_path / "bundle"
        explained_bundle(root, **bundle)
        model = Model(Bundle.open(root), "cpu", threads=1)
        return Served("credit", 1, model, Limits(1024, 1.0), Guard())

    return make


def feed_of(served, rows=ROWS):
    arrays = {
        k: np.array(v, object if k == "purpose" else None) for k, v in held_feed(rows).items()
    }
    return served.layout.pack(arrays)


def test_rows_are_explained_as_by_the_graph(load):
    served = load()
    explainer = served.explainers[""]

    async def ask():
        await explainer.opened()
        return await explainer.explain(feed_of(served))

    found = asyncio.run(ask())
    np.testing.assert_allclose(found.shap[:, :, 0], expected_shap(ROWS), atol=1e-6)
    assert found.explained.shape == found.base.shape == found.gap.shape == (3, 1)
    assert found.places is None
    assert [len(each) for each in found.predictions] == [3, 3]


def test_some_rows_known_and_others_not_come_in_their_order(load):
    served = load()
    explainer = served.explainers[""]
    feed = feed_of(served)

    async def ask():
        await explainer.opened()
        await explainer.explain(feed.take([1]))
        return await explainer.explain(feed)

    found = asyncio.run(ask())
    np.testing.assert_allclose(found.shap[:, :, 0], expected_shap(ROWS), atol=1e-6)
    assert (explainer.statistics.hits, explainer.statistics.misses) == (1, 3)
    assert len(found.predictions[0]) == 3


def test_only_rows_above_the_tolerance_are_refined(load):
    # The gap is 0.05 / steps, relative to a scale of 1.
    served = load(error=0.05, tolerance=0.05 / STEPS * 0.9)
    explainer = served.explainers[""]

    async def ask():
        await explainer.opened()
        return await explainer.explain(feed_of(served))

    found = asyncio.run(ask())
    np.testing.assert_allclose(found.gap, 0.05 / (4 * STEPS), rtol=1e-3)
    assert explainer.statistics.refined == 3
    assert explainer.statistics.inexact == 0
    assert explainer.statistics.executed_rows == 6


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def test_nobody_waits_for_what_was_cancelled(load):
    served = load()
    explainer = served.explainers[""]
    free = threading.Event()

    async def ask():
        await explainer.opened()
        served.aside.lane.submit(free.wait, 120)
        running = asyncio.create_task(explainer.explain(feed_of(served)))
        await until(lambda: explainer.statistics.misses == 3 and not explainer.waiting)
        waiting = asyncio.create_task(explainer.explain(feed_of(served, ROWS[:1])))
        await until(lambda: explainer.waiting == 1)
        waiting.cancel()
        free.set()
        await running
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: explainer.statistics.dropped == 1)

    asyncio.run(ask())
    assert explainer.statistics.dropped == 1
    assert explainer.statistics.executed_rows == 3
    assert explainer.waiting == 0


def test_a_deadline_is_kept_though_the_thread_is_busy(load):
    served = load()
    explainer = served.explainers[""]
    free = threading.Event()

    async def ask():
        await explainer.opened()
        served.aside.lane.submit(free.wait, 120)
        turn = Turn()
        turn.deadline = turn.received + 0.05
        with pytest.raises(DeadlineExceeded):
            await explainer.explain(feed_of(served), None, turn)
        free.set()

    asyncio.run(ask())


def test_what_cannot_be_opened_is_tried_again(load):
    served = load()
    explainer = served.explainers[""]
    path = served.model.bundle.root / "explain.onnx"
    content = path.read_bytes()

    async def ask():
        path.write_bytes(b"no graph")
        with pytest.raises(ModelNotReady, match="cannot open it"):
            await explainer.opened()
        path.write_bytes(content)
        await explainer.opened()

    asyncio.run(ask())


def test_the_thread_yields_to_others_and_has_a_model_of_its_own(load):
    served = load()

    def look(model):
        feed = served.layout.unpack(feed_of(served))
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return nice, model, model.run(feed)

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    nice, model, found = asyncio.run(served.aside.call(look))
    if sys.platform == "linux":
        assert nice == 10
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    assert model is not served.model
    expected = served.model.run(served.layout.unpack(feed_of(served)))
    np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])
    with pytest.raises(ZeroDivisionError):
        asyncio.run(served.aside.call(lambda model: 1 // 0))


def test_a_version_is_freed_at_once_when_it_is_let_go(load):
    served = load()

    async def ask(served):
        await served.explainers[""].opened()
        await served.explainers[""].explain(feed_of(served))

    asyncio.run(ask(served))
    explainer = weakref.ref(served.explainers[""])
    gc.collect()
    gc.disable()
    try:
        del served
        assert explainer() is None
    finally:
        gc.enable()


def test_a_method_is_found_by_name(load):
    served = load()
    found = explainer_of(served.explainers, "", "credit", 1)
    assert explainer_of(served.explainers, "deep", "credit", 1) is found
    with pytest.raises(Conflict, match="amortized"):
        explainer_of(served.explainers, "amortized", "credit", 1)
    with pytest.raises(Conflict, match=r"no explain\.onnx"):
        explainer_of({}, "", "credit", 1)


rows_of_numbers = st.lists(
    st.tuples(st.floats(width=32), st.text(max_size=3), st.integers(0, 255)), min_size=1, max_size=8
)


@given(rows_of_numbers)
def test_rows_have_equal_digests_if_and_only_if_they_are_equal(rows):
    numbers = np.array([[row[0] for row in rows]])
    strings = np.empty((1, len(rows)), object)
    strings[0] = [row[1] for row in rows]
    tensor = np.array([[row[2]] for row in rows], np.uint8)
    found = digests(Feed(len(rows), numbers, strings, (tensor,)))
    bits = [(numbers[0, i].tobytes(), *row[1:]) for i, row in enumerate(rows)]
    for i, one in enumerate(bits):
        for j, other in enumerate(bits):
            assert (found[i] == found[j]) == (one == other)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 8))
def test_the_least_recently_used_rows_are_forgotten(asked, kept):
    memo = Memo(0)
    memo.put(b"none", [np.zeros((1, 4), np.float32)], 0)
    assert len(memo) == memo.size == 0
    memo = Memo(1 << 20)
    memo.put(b"size", [np.zeros((1, 4), np.float32)], 0)
    memo = Memo(kept * memo.size)
    recent: list[int] = []
    for number in asked:
        key = bytes([number])
        found = memo.get(key)
        assert (found is not None) == (number in recent)
        if found is not None:
            assert found[0][0, 0] == number
        memo.put(key, [np.full((3, 4), number, np.float32)], 1)
        recent = [each for each in recent if each != number][-(kept - 1) or len(recent) :]
        recent = [*recent, number] if kept > 1 else [number]
    assert len(memo) == len(recent)


def test_rows_are_put_together_from_what_was_known_and_what_is_new():
    known = [(np.array([[1.0]]),), None, (np.array([[3.0]]),), None]
    found = merged(known, [1, 3], [np.array([[2.0], [4.0]])])
    np.testing.assert_array_equal(found[0][:, 0], [1, 2, 3, 4])


def attributed(rows: int, outputs: int, seed: int = 0) -> Attributed:
    """Values that add up, of random numbers."""
    random = np.random.default_rng(seed)
    shap, base = random.normal(size=(rows, 4, outputs)), random.normal(size=(1, outputs))
    explained = base + shap.sum(axis=1)
    places = random.normal(size=(rows, 3, 2, outputs))
    base = np.repeat(base, rows, axis=0)
    return Attributed((), explained, shap, base, np.zeros_like(base), places)


@given(st.integers(0, 2), st.integers(0, 2), st.integers(0, 99))
def test_a_contrast_is_the_difference_of_two_explanations(one, other, seed):
    found = attributed(5, 3, seed)
    names = ("cat", "dog", "owl")

    def told(output, contrast=None):
        subject = Subject(names, None, output, contrast)
        explained = np.full(5, output)
        return amounts(found, subject.weights(explained, 3))

    difference = told(one, other)
    np.testing.assert_allclose(difference.value, told(one).value - told(other).value)
    np.testing.assert_allclose(difference.shap, told(one).shap - told(other).shap)
    np.testing.assert_allclose(difference.places, told(one).places - told(other).places)
    np.testing.assert_allclose(difference.gap, 0, atol=1e-12)


@given(st.integers(0, 99))
def test_values_lead_from_the_reference_to_the_row(seed):
    found, reference = attributed(5, 2, seed), attributed(1, 2, seed)
    # One background: the base of both is the same.
    reference = reference._replace(
        explained=found.base[:1] + reference.shap.sum(axis=1), base=found.base[:1]
    )
    weights = Subject(("a", "b"), None, 1, None).weights(np.ones(5, int), 2)
    rows, other = amounts(found, weights), amounts(reference, weights)
    told = rows.less(other)
    np.testing.assert_allclose(told.base, np.full(5, reference.explained[0, 1]))
    np.testing.assert_allclose(told.gap, 0, atol=1e-12)


def test_what_is_explained_if_nothing_is_asked(load):
    manifest = load().model.manifest
    assert Subject.of(manifest, None, None).output == 1, "the positive class"
    assert Subject.of(manifest, None, "bad").output is None, "the predicted one"
    with pytest.raises(InvalidInput, match="fair"):
        Subject.of(manifest, "fair", None)
    regression = manifest.model_copy(update={"task": "regression", "classes": ()})
    assert Subject.of(regression, None, None).output == 0
    several = manifest.model_copy(
        update={
            "classes": ("a", "b", "c"),
            "explanation": manifest.explanation.model_copy(update={"outputs": ("a", "b", "c")}),
        }
    )
    assert Subject.of(several, None, None).output is None, "the predicted one"
    assert list(MEANS) == list(manifest.explanation.columns)
