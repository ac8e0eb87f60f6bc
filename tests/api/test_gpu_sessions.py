"""Batches as they run on a GPU, here on the CPU: padded, bound, spread over sessions, in order."""

import logging
import threading

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from pellucid.bundle import Datatype, Output
from pellucid_api.engine import binding
from pellucid_api.engine.binding import Bound, most_rows, padded, pieces
from pellucid_api.engine.devices import CPU, Place, open_session
from pellucid_api.engine.spread import Spread
from support import foreign

DENSE = (Output(name="y", datatype=Datatype.FP32, shape=(-1, 3)),)
CUDA = Place("cuda")


def opener(model):
    """Opens the model on the CPU, whatever the place."""
    content = model.SerializeToString()
    return lambda place, *, graphs: open_session(content, threads=1)


@pytest.fixture(params=["the CPU's memory", "memory of a device"])
def memory(request, monkeypatch):
    """In the second, inputs are copied into memory of their own, and outputs out of it."""
    if request.param == "memory of a device":
        pretend(monkeypatch)


def pretend(monkeypatch):
    """All inputs and outputs are on a GPU, whose memory is the CPU's."""
    monkeypatch.setattr(binding, "_on_gpu", lambda memory: True)
    monkeypatch.setattr(binding._Frame, "_device", lambda frame, on_gpu: ("cpu", 0))


@given(st.integers(1, 10_000), st.integers(0, 14).map(lambda power: 2**power))
def test_pieces_follow_each_other_and_padding_is_little(rows, most):
    cuts = list(pieces(rows, most))
    assert [cut.start for cut in cuts[1:]] == [cut.stop for cut in cuts[:-1]]
    assert (cuts[0].start, cuts[-1].stop) == (0, rows)
    counts = [cut.stop - cut.start for cut in cuts]
    assert max(map(padded, counts)) <= most
    assert sum(map(padded, counts)) <= 1.25 * rows + 64


@given(st.integers(1, 2**20))
def test_padded_is_the_next_power_of_two(rows):
    size = padded(rows)
    assert size & (size - 1) == 0
    assert size // 2 < rows <= size


def test_large_rows_run_few_at_a_time():
    assert most_rows({"x": np.empty((1, 4), np.float32)}) == 2**20
    assert most_rows({"x": np.empty((9, 3, 512, 512), np.float32)}) == 4
    assert most_rows({"x": np.empty((1, 2**25), np.uint8)}) == 1


@pytest.mark.usefixtures("memory")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_padded_answers_are_those_of_the_rows_in_order(counts, seed):
    bound = Bound(opener(foreign.dense()), CPU, DENSE)
    generator = np.random.default_rng(seed)
    asked = [generator.normal(size=(count, 4)).astype(np.float32) for count in counts]
    answers = [bound.submit({"x": rows}) for rows in asked]  # none overwrites another
    for rows, answer in zip(asked, answers, strict=True):
        (found,) = answer.result()
        assert found.shape == (len(rows), 3)
        np.testing.assert_allclose(found, foreign.dense_answer(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    "kind", [TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT16]
)
def test_every_type_that_numpy_has(kind):
    found = onnxruntime.InferenceSession(foreign.echo(("a", kind, ["rows", 2])).SerializeToString())
    datatype = {
        TensorProto.BOOL: Datatype.BOOL, TensorProto.UINT8: Datatype.UINT8,
        TensorProto.INT64: Datatype.INT64, TensorProto.FLOAT16: Datatype.FP16,
    }[kind]  # fmt: skip
    output = Output(name=found.get_outputs()[0].name, datatype=datatype, shape=(-1, 2))
    bound = Bound(opener(foreign.echo(("a", kind, ["rows", 2]))), CPU, (output,))
    rows = np.arange(10).reshape(5, 2) % 3
    rows = rows.astype(binding.DTYPES[datatype])
    (answer,) = bound.submit({"a": rows}).result()
    np.testing.assert_array_equal(answer, rows)
    assert answer.dtype == rows.dtype


def test_rows_of_any_length(monkeypatch):
    """The memory of shapes that are long past is freed."""
    monkeypatch.setattr(binding, "_FRAMES", 3)
    echo = foreign.echo(("a", TensorProto.FLOAT, ["rows", "length"]))
    bound = Bound(opener(echo), CPU, (Output(name="a", datatype=Datatype.FP32, shape=(-1, -1)),))
    for length in (1, 7, 2, 9, 30, 1):
        rows = np.random.default_rng(length).normal(size=(3, length)).astype(np.float32)
        np.testing.assert_array_equal(bound.submit({"a": rows}).result()[0], rows)
        assert len(bound._frames) <= 3


def test_strings_are_padded_too():
    echo = foreign.echo(("a", TensorProto.STRING, ["rows"]), ("b", TensorProto.FLOAT, ["rows"]))
    outputs = (
        Output(name="a", datatype=Datatype.BYTES, shape=(-1,)),
        Output(name="b", datatype=Datatype.FP32, shape=(-1,)),
    )
    bound = Bound(opener(echo), CPU, outputs)
    words, numbers = np.array(["x", "", "z"], object), np.array([1, 2, 3], np.float32)
    found = bound.submit({"a": words, "b": numbers}).result()
    assert [each.tolist() for each in found] == [words.tolist(), numbers.tolist()]


def test_what_fails_leaves_nothing_for_the_next(monkeypatch):
    """An index beyond the table fails, and is not among the padding of the next batch."""
    pretend(monkeypatch)
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    model = foreign.graph(
        [("i", TensorProto.INT64, ["rows"])],
        [("y", TensorProto.FLOAT, ["rows", 2])],
        [("Gather", ["table", "i"], ["y"])],
        {"table": table},
    )
    outputs = (Output(name="y", datatype=Datatype.FP32, shape=(-1, 2)),)
    bound = Bound(opener(model), CPU, outputs)
    for rows in ([0, 1, 2], [0, 1, 2, 9], [2, 0, 1]):
        running = bound.submit({"i": np.array(rows)})
        if 9 in rows:
            with pytest.raises(Exception, match="out of data bounds"):
                running.result()
        else:
            np.testing.assert_array_equal(running.result()[0], table[rows])


def test_a_session_stays_in_one_thread():
    """CUDA graphs belong to the thread that captured them."""
    threads = []

    def open_here(place, *, graphs):
        threads.append(threading.current_thread())
        return open_session(foreign.dense().SerializeToString(), threads=1)

    bound = Bound(open_here, CPU, DENSE)
    run = bound._run
    bound._run = lambda feed: threads.append(threading.current_thread()) or run(feed)
    bound.submit({"x": np.ones((2, 4), np.float32)}).result()
    assert threads == [threads[0]] * 2
    assert threads[0] is not threading.current_thread()


def test_a_session_that_is_let_go_ends_its_thread():
    bound = Bound(opener(foreign.dense()), Place("cpu", (41,)), DENSE)
    bound.submit({"x": np.ones((2, 4), np.float32)}).result()
    (thread,) = [t for t in threading.enumerate() if t is not threading.main_thread()
                 and t.name.startswith("session-")][-1:]  # fmt: skip
    del bound
    thread.join(5)
    assert not thread.is_alive()


def test_a_model_that_cannot_be_captured_runs_without_graphs(monkeypatch, caplog):
    """As ONNX Runtime refuses one that needs the CPU."""
    pretend(monkeypatch)
    caplog.set_level(logging.INFO)
    opened = []

    def refuse(place, *, graphs):
        opened.append(graphs)
        if graphs:
            raise RuntimeError("some nodes are not on CUDA")
        return open_session(foreign.dense().SerializeToString(), threads=1)

    bound = Bound(refuse, CUDA, DENSE)
    assert (bound.graphs, opened) == (False, [True, False])
    assert "some nodes are not on CUDA" in caplog.text
    rows = np.ones((3, 4), np.float32)
    found = bound.submit({"x": rows}).result()[0]
    np.testing.assert_allclose(found, foreign.dense_answer(rows), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        (foreign.dense(features="features"), DENSE),
        (
            foreign.dense(),
            (Output(name="y", datatype=Datatype.FP32, shape=(-1, -1)),),
        ),
    ],
)
def test_graphs_need_rows_of_one_shape(monkeypatch, model, outputs):
    pretend(monkeypatch)
    assert not Bound(opener(model), CUDA, outputs).graphs


def test_graphs_need_all_on_the_gpu():
    assert not Bound(opener(foreign.dense()), CUDA, DENSE).graphs


class Breaking:
    """A session whose first run with each binding fails, as a capture may."""

    def __init__(self, session):
        self._session = session

    def run_with_iobinding(self, bound, options):
        raise RuntimeError("operation not permitted when stream is capturing")

    def __getattr__(self, name):
        return getattr(self._session, name)


def test_a_capture_that_fails_is_given_up_once(monkeypatch, caplog):
    pretend(monkeypatch)
    opened = []

    def broken(place, *, graphs):
        opened.append(graphs)
        session = open_session(foreign.dense().SerializeToString(), threads=1)
        return Breaking(session) if graphs else session

    bound = Bound(broken, CUDA, DENSE)
    assert bound.graphs
    for count in (3, 3, 5):
        rows = np.full((count, 4), count, np.float32)
        (found,) = bound.submit({"x": rows}).result()
        np.testing.assert_allclose(found, foreign.dense_answer(rows), rtol=1e-5)
    assert (bound.graphs, opened) == (False, [True, False])
    assert caplog.text.count("stream is capturing") == 1


def test_each_size_has_its_own_graph(monkeypatch):
    pretend(monkeypatch)
    bound = Bound(opener(foreign.dense()), CUDA, DENSE)
    for count in (1, 2, 3, 4, 8, 1):
        bound.submit({"x": np.ones((count, 4), np.float32)}).result()
    ids = {size: frame.options.get_run_config_entry("gpu_graph_id")
           for (size, *_), frame in bound._frames.items()}  # fmt: skip
    assert sorted(ids) == [1, 2, 4, 8]
    assert len(set(ids.values())) == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 700))
def test_a_batch_is_spread_and_put_together_in_order(sessions, count):
    spread = Spread([Bound(opener(foreign.dense()), CPU, DENSE) for _ in range(sessions)])
    rows = np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32)
    (found,) = spread.run({"x": rows})
    np.testing.assert_allclose(found, foreign.dense_answer(rows), rtol=1e-5, atol=1e-6)


def test_large_batches_use_every_session_and_small_ones_the_first():
    sessions = [Bound(opener(foreign.dense()), CPU, DENSE) for _ in range(2)]
    spread = Spread(sessions)
    spread.run({"x": np.ones((10, 4), np.float32)})
    assert [len(each._frames) for each in sessions] == [1, 0]
    spread.run({"x": np.ones((256, 4), np.float32)})
    assert [sorted(size for size, *_ in each._frames) for each in sessions] == [[16, 128], [128]]


def test_every_size_is_prepared_in_every_session():
    sessions = [Bound(opener(foreign.dense()), CPU, DENSE) for _ in range(2)]
    sizes = list(Spread(sessions).prepare({"x": np.ones((3, 4), np.float32)}, 100))
    assert sizes == [128, 1, 2, 4, 8, 16, 32, 64]  # the widest first, for TensorRT
    for each in sessions:
        assert sorted(size for size, *_ in each._frames) == [1, 2, 4, 8, 16, 32, 64, 128]


def test_a_run_can_be_stopped():
    model = foreign.graph(
        [("x", TensorProto.FLOAT, ["rows", 512])],
        [("y", TensorProto.FLOAT, ["rows", 512])],
        [("MatMul", [f"x{i}" if i else "x", "w"], [f"x{i + 1}" if i < 399 else "y"])
         for i in range(400)],
        {"w": np.eye(512, dtype=np.float32)},
    )  # fmt: skip
    outputs = (Output(name="y", datatype=Datatype.FP32, shape=(-1, 512)),)
    spread = Spread([Bound(opener(model), CPU, outputs)])
    rows = {"x": np.ones((4096, 512), np.float32)}
    stopping = threading.Timer(0.2, spread.stop)
    stopping.start()
    with pytest.raises(Exception, match="terminate"):
        spread.run(rows)
    stopping.join()
    few = {"x": np.ones((2, 512), np.float32)}
    np.testing.assert_array_equal(spread.run(few)[0], few["x"])
