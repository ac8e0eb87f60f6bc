"""What images, texts, sequences and tensors hold, as vectors, and whether it drifts."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.analysis.watching.signals import Status
from pellucid.bundle import Datatype, Input
from pellucid.monitoring.arrays import unpacked
from pellucid.monitoring.checks import questions
from pellucid.monitoring.checks.judging import Case
from pellucid.monitoring.columns import Columns
from pellucid.monitoring.profiles.contents import contents, light
from pellucid.monitoring.profiles.windows import Window
from pellucid.monitoring.watch.references import Reference
from pellucid.schema import Kind
from pellucid.settings import Settings
from support.feedback import MOMENT
from support.predictions import a_writer, batch, number_at, write

RANDOM = np.random.default_rng(0)


def logged(inputs: tuple[Input, ...], arrays: dict[str, np.ndarray]) -> pa.RecordBatch:
    rows = len(next(iter(arrays.values())))
    common = np.zeros((rows, 2), np.uint64), np.zeros(rows, np.int64), np.zeros(rows, np.float32)
    return unpacked(Columns("m", 1, inputs, ()).batch(*common, arrays, {}))


def vectors(spec: Input, values: np.ndarray) -> np.ndarray:
    found = contents([light(logged((spec,), {spec.name: values}), (spec,))])
    return found[spec.name]


@pytest.mark.parametrize("shape", [(8, 16, 3), (20, 9, 1), (3, 5, 1), (4, 16, 8, 3)])
def test_images_are_made_small(shape: tuple[int, ...]) -> None:
    pixels = RANDOM.integers(0, 256, (6, *shape)).astype(np.uint8)
    found = vectors(Input.of("photo", Kind.IMAGE, shape=shape), pixels)
    still = pixels.mean(axis=1) if len(shape) == 4 else pixels.astype(float)
    rows = np.array_split(still, _cuts(shape[-3]), axis=1)
    cells = [np.array_split(row, _cuts(shape[-2]), axis=2) for row in rows]
    expected = np.array([[cell.mean(axis=(1, 2)) for cell in row] for row in cells])
    expected = np.moveaxis(expected, 2, 0).reshape(6, -1)
    assert found == pytest.approx(expected, rel=1e-5)


def _cuts(size: int) -> np.ndarray:
    return np.linspace(0, size, min(8, size) + 1).astype(int)[1:-1]


def test_texts_by_their_tokens_and_not_by_their_order() -> None:
    spec = Input.of("words", Kind.TEXT, shape=(4,))
    found = vectors(spec, np.array([[5, 7, 7, 0], [7, 5, 7, 0], [5, 7, 9, 0], [0, 0, 0, 0]]))
    assert found.shape == (4, 256)
    assert np.array_equal(found[0], found[1])
    assert sorted(found[0][found[0] > 0] ** 2) == pytest.approx([1 / 3, 2 / 3])
    assert (found[:3] ** 2).sum(axis=1) == pytest.approx(1)
    assert not np.array_equal(found[0], found[2])
    assert np.isnan(found[3]).all()
    many = vectors(spec, np.arange(1, 4001).reshape(1000, 4))
    assert 200 < np.count_nonzero((many > 0).any(axis=0)) <= 256


def test_sequences_by_their_course() -> None:
    spec = Input.of("load", Kind.SEQUENCE, shape=(48,))
    ramp = np.arange(48.0)
    short = np.where(ramp < 4, ramp, np.nan)
    gap = np.where(ramp == 1, np.nan, ramp)
    found = vectors(spec, np.array([ramp, ramp[::-1], short, gap, np.full(48, np.nan)]))
    assert found[0] == pytest.approx(ramp.reshape(16, 3).mean(axis=1))
    assert found[1] == pytest.approx(found[0][::-1])
    assert found[2] == pytest.approx(np.repeat(np.arange(4), 4))
    assert found[3][0] == 1
    assert found[3][1:] == pytest.approx(found[0][1:])
    assert np.isnan(found[4]).all()


@pytest.mark.parametrize("shape", [(6,), (3, 40), (2000,)])
@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.INT16])
def test_tensors_as_they_are(shape: tuple[int, ...], datatype: Datatype) -> None:
    spec = Input(name="signal", kind=Kind.TENSOR, datatype=datatype, shape=shape)
    values = RANDOM.integers(-9, 9, (5, *shape)).astype("f4" if datatype is Datatype.FP32 else "i2")
    assert vectors(spec, values) == pytest.approx(values.reshape(5, -1))


@pytest.mark.parametrize(
    "spec",
    [
        Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(5000,)),
        Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(-1,)),
        Input(name="x", kind=Kind.TENSOR, datatype=Datatype.BYTES, shape=(2,)),
    ],
    ids=["too large", "of any length", "texts"],
)
def test_what_has_no_vector_is_left_out(spec: Input) -> None:
    shape = [max(each, 3) for each in spec.shape]
    full = np.full((2, *shape), "a", object) if spec.datatype is Datatype.BYTES else None
    rows = logged((spec,), {"x": np.ones((2, *shape), np.float32) if full is None else full})
    assert contents([light(rows, (spec,))]) == {}


def test_what_is_kept_is_light_and_can_be_written(tmp_path) -> None:
    inputs = (Input.of("amount", Kind.NUMERIC), Input.of("photo", Kind.IMAGE, shape=(64, 64, 3)))
    pixels = RANDOM.integers(0, 256, (50, 64, 64, 3)).astype(np.uint8)
    rows = logged(inputs, {"amount": np.arange(50.0), "photo": pixels})
    kept = light(rows, inputs)
    assert kept.nbytes < rows.nbytes / 10
    names = [field.name for field in kept.schema.field("inputs").type]
    assert names == ["amount", "photo.brightness", "photo.contrast"]
    pq.write_table(pa.Table.from_batches([kept]), tmp_path / "sample.parquet")
    (read,) = pq.read_table(tmp_path / "sample.parquet").to_batches()
    assert np.array_equal(contents([read])["photo"], contents([kept])["photo"])


@pytest.mark.parametrize("upside_down", [False, True])
def test_other_images_of_the_same_brightness_are_drift(tmp_path, upside_down: bool) -> None:
    spec, random = Input.of("photo", Kind.IMAGE, shape=(16, 16, 1)), np.random.default_rng(0)

    def photos(rows: int) -> np.ndarray:
        ramp = np.linspace(80, 160, 16)[None, :, None, None] + random.normal(0, 20, (rows, 1, 1, 1))
        noise = random.normal(0, 20, (rows, 16, 16, 1))
        return (ramp + noise).clip(0, 255).astype(np.uint8)

    held, live = photos(400), photos(900)
    sample = tmp_path / "sample.parquet"
    rows_held = light(logged((spec,), {"photo": held}), (spec,))
    pq.write_table(pa.Table.from_batches([rows_held.select(["inputs", "contents"])]), sample)
    live = live[:, ::-1] if upside_down else live
    writer = a_writer(tmp_path / "predictions")
    number = number_at(MOMENT.timestamp())
    write(writer, batch(number, 900, inputs=(spec,), arrays={"photo": live}))
    writer.close()
    window = Window("credit", 1, MOMENT - timedelta(hours=1), MOMENT + timedelta(hours=1))
    manifest = SimpleNamespace(inputs=(spec,), classes=())
    reference = Reference(manifest, None, sample)  # type: ignore[arg-type]
    case = Case(Settings(home=tmp_path), window, reference, None, 900, {})
    assert sum(map(len, case.sample)) == 900
    (signal,) = questions.shown(case).signals
    assert signal.key == "multivariate:photo"
    assert (signal.status is Status.ALARM) == upside_down
    assert (signal.effect > 0.2) == upside_down
    together = {each.subject: each.status for each in questions.together(case).signals}
    assert Status.ALARM not in together.values()  # brightness and contrast are as they were
