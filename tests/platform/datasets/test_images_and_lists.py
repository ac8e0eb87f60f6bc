"""Images and lists from every format become the same canonical columns."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pellucid.datasets.content import content_hash
from pellucid.datasets.ingest import ingest
from pellucid.datasets.png import encode
from pellucid.datasets.store import DatasetStore
from pellucid.resources.datasets import Dataset
from pellucid.schema import Kind, Role

Add = Callable[..., Dataset]
Read = Callable[..., pa.Table]


def picture(kind: str = "PNG", size: tuple[int, int] = (6, 4), seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


LISTS = [[1.0, 2.5], None, [], [None, 4.0], [-0.0]]
KINDS = [
    pa.list_(pa.float32()),
    pa.large_list(pa.float64()),
    pa.list_(pa.field("element", pa.decimal128(9, 2))),
    pa.list_(pa.float16()),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lists_of_any_number(read: Read, kind: pa.DataType) -> None:
    values = pa.array(LISTS[:4], pa.list_(pa.float64())).cast(pa.list_(pa.float64()))
    values = pa.array([[1, 2], None, [], [None, 4]], kind) if "dec" in str(kind) else values
    got = read(parquet(pa.table({"x": values.cast(kind), "n": range(4)})), "t.parquet")
    assert got.schema.field("x").type == pa.list_(pa.float64())
    assert got.column("x").to_pylist() == values.to_pylist()
    assert got.column("n").to_pylist() == [0, 1, 2, 3]


def test_integers_and_fixed_sizes(read: Read) -> None:
    table = pa.table(
        {
            "i": pa.array([[1], [2, None]], pa.list_(pa.int8())),
            "f": pa.array([[1, 2], [3, float("nan")]], pa.list_(pa.float32(), 2)),
            "none": pa.array([[], None], pa.list_(pa.null())),
        }
    )
    assert read(parquet(table), "t.parquet").to_pydict() == {
        "i": [[1.0], [2.0, None]],
        "f": [[1.0, 2.0], [3.0, None]],
        "none": [[], None],
    }


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.none()
        | st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=5),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 7),
)
def test_any_lists_survive(read: Read, lists: list[Any], group: int) -> None:
    table = pa.table({"a.b": pa.array(lists, pa.list_(pa.float64())), "n": range(len(lists))})
    got = read(parquet(table, row_group_size=group), "t.parquet")
    assert got.to_pydict() == table.to_pydict()
    assert content_hash(got) == content_hash(table)


def test_json_arrays(read: Read) -> None:
    rows = [{"x": [1, 2.5], "n": 1}, {"n": 2}, {"x": [], "n": 3}, {"x": [None, -3], "n": 4}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    got = read(text, "t.jsonl").to_pydict()
    assert got == {"x": [[1.0, 2.5], None, [], [None, -3.0]], "n": [1, 2, 3, 4]}
    assert read('{"x \\"y": [NaN, 1]}\n', "t.jsonl").to_pydict() == {'x "y': [[None, 1.0]]}


def test_lists_of_all_formats_are_one_version(store: DatasetStore, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3000, 5))
    table = pa.table({"x": list(values), "n": np.arange(3000)})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=17)
    (tmp_path / "f.npz").write_bytes(npz(x=values, n=np.arange(3000)))
    lines = (json.dumps({"x": x.tolist(), "n": n}) + "\n" for n, x in enumerate(values))
    (tmp_path / "f.jsonl").write_text("".join(lines))
    assert len({store.add(p, name="f")[0].sha256 for p in tmp_path.glob("f.*")}) == 1


@pytest.mark.parametrize("kind", ["binary", "large_binary", "dictionary", "embedded"])
def test_images_in_parquet(read: Read, kind: str) -> None:
    images = [picture("PNG"), None, picture("JPEG", seed=1), picture("WEBP", seed=2)]
    cells = {
        "binary": lambda: pa.array(images, pa.binary()),
        "large_binary": lambda: pa.array(images, pa.large_binary()),
        "dictionary": lambda: pa.array(images, pa.binary()).dictionary_encode(),
        "embedded": lambda: pa.array(
            [i and {"bytes": i, "path": "x.png"} for i in images],
            pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        ),
    }[kind]()
    table = pa.table({"n": [1, 2, 3, 4], "image": cells, "s": ["a", "b", None, "d"]})
    got = read(parquet(table, row_group_size=3), "t.parquet")
    assert got.schema.field("image").type == pa.large_binary()
    expected = {"n": [1, 2, 3, 4], "image": images, "s": ["a", "b", None, "d"]}
    assert got.to_pydict() == expected


FOLDERS = {
    "photos/dogs/2.jpg": picture("JPEG", seed=2),
    "photos/cats/big/3.png": picture(seed=3),
    "photos/cats/1.PNG": picture(seed=1),
}
LITTER = {
    "__MACOSX/photos/cats/._1.png": b"x",
    "photos/.DS_Store": b"x",
    "photos/cats/Thumbs.db": b"x",
    "photos/README.md": b"hello",
    "photos/empty/": b"",
}


def test_class_folders(add: Add, store: DatasetStore) -> None:
    version = add(zipped(FOLDERS | LITTER), "photos.zip")
    table = pq.read_table(store.path(version.sha256))
    assert table.column_names == ["image", "label", "path"]
    assert table.column("path").to_pylist() == sorted(FOLDERS)
    assert table.column("label").to_pylist() == ["cats", "cats", "dogs"]
    assert table.column("image").to_pylist() == [FOLDERS[name] for name in sorted(FOLDERS)]
    roles = {column.name: column.role for column in version.data_schema.columns}
    assert roles == {"image": Role.FEATURE, "label": Role.TARGET, "path": Role.IGNORE}
    assert version.data_schema["image"].kind is Kind.IMAGE


def test_the_packer_leaves_no_trace(add: Add) -> None:
    backwards = dict(reversed([(k.replace("/", "\\"), v) for k, v in FOLDERS.items()]))
    same = zipped(backwards, zipfile.ZIP_DEFLATED)
    assert add(zipped(FOLDERS), "a.zip").sha256 == add(same, "b.zip").sha256


@pytest.mark.parametrize(
    ("names", "labels", "parts"),
    [
        (["a/1.png", "b/1.png"], ["a", "b"], None),
        (["x/y/a/1.png", "x/y/b/1.png"], ["a", "b"], None),
        (["a/1.png", "a/2.png"], ["a", "a"], None),
        (["0/1.png", "10/1.png"], ["0", "10"], None),
        (["d/test/a/1.png", "d/train/b/1.png"], ["a", "b"], ["test", "train"]),
        (["d/train/a/1.png", "d/train/b/1.png"], ["a", "b"], None),
    ],
)
def test_labels(read: Read, names: list[str], labels: list[str], parts: list[str] | None) -> None:
    table = read(zipped({name: picture(seed=i) for i, name in enumerate(names)}), "p.zip")
    assert table.column("label").to_pylist() == labels
    assert (table.column("part").to_pylist() if "part" in table.column_names else None) == parts


def test_a_zip_takes_roles_and_types(add: Add) -> None:
    content = zipped({"0/1.png": picture(), "1/1.png": picture(seed=1)})
    version = add(content, "p.zip", roles={"path": "id"}, types={"label": "int64"})
    assert version.data_schema["path"].role is Role.ID
    assert version.data_schema["label"].role is Role.TARGET
    assert version.data_schema["label"].type == "int64"


def test_arrays(read: Read) -> None:
    rng = np.random.default_rng(0)
    grey, rgb = (rng.integers(0, 256, (5, 4, 3, *c), np.uint8) for c in ((), (3,)))
    wave = rng.normal(size=(5, 7, 2)).astype(np.float32)
    arrays = {
        "grey": grey,
        "rgb": rgb,
        "thin": grey[..., None],
        "wave": wave,
        "one": np.asfortranarray(wave[:, :, 0]),
        "y": np.arange(5, dtype=">i4"),
        "column": np.arange(5.0)[:, None],
        "word": np.array(["é", "", "c", "d", "e"]),
        "code": np.array([b"a", b"b", b"c", b"d", b"e"]),
        "yes": np.array([True, False, True, False, True]),
        "day": np.array(["2020-01-31", "NaT"] + ["2020-02-01"] * 3, "datetime64[D]"),
        "gap": np.array([1, np.nan, 3, 4, 5], np.float16),
    }
    table = read(npz(**arrays), "a.npz")
    for name, images in (("grey", grey), ("thin", grey), ("rgb", rgb)):
        decoded = [np.asarray(Image.open(io.BytesIO(v))) for v in table[name].to_pylist()]
        np.testing.assert_array_equal(decoded, images)
    assert table["wave_0"].to_pylist() == table["one"].to_pylist() == wave[:, :, 0].tolist()
    assert table["wave_1"].to_pylist() == wave[:, :, 1].tolist()
    assert table["y"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["column"].to_pylist() == [0.0, 1, 2, 3, 4]
    assert table["word"].to_pylist() == ["é", "", "c", "d", "e"]
    assert table["code"].to_pylist() == ["a", "b", "c", "d", "e"]
    assert table["yes"].to_pylist() == [True, False, True, False, True]
    assert [str(day)[:10] for day in table["day"].to_pylist()][:2] == ["2020-01-31", "None"]
    assert table["gap"].to_pylist() == [1, None, 3, 4, 5]


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 300), st.integers(1, 300))
        | st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])),
    )
)
@settings(max_examples=40, deadline=None)
def test_png_is_lossless(pixels: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode(pixels))) as image:
        image.load()
        np.testing.assert_array_equal(
            np.asarray(image), pixels.squeeze(2) if pixels.shape[2:] == (1,) else pixels
        )


def test_png_bytes_are_the_same_for_ever() -> None:
    assert encode(np.array([[0, 255]], np.uint8)).hex() == (
        "89504e470d0a1a0a0000000d4948445200000002000000010800000000d1492056"
        "0000000e494441547801010300fcff0000ff01020100b7012ef70000000049454e44ae426082"
    )


def test_memory_is_bounded(tmp_path: Path) -> None:
    """60 MB of images, of which the reader holds some megabytes at a time."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 4, 25), np.uint8)
    images = [encode(np.ascontiguousarray(noise[..., i])) for i in range(25)]
    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(75):
            archive.writestr(f"{i % 5}/{i:03}.png", images[i % 25])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    held = []
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    write = pq.ParquetWriter.write_batch

    def watched(self: pq.ParquetWriter, batch: pa.RecordBatch, **options: Any) -> None:
        held.append(pool.bytes_allocated() - before)
        write(self, batch, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_batch", watched)
        ingest(
            path,
            tmp_path / "out.parquet",
            file="big.zip",
            scratch=scratch,
            types={},
            max_cell_bytes=2**20,
        )
    assert path.stat().st_size > 55_000_000
    assert len(held) >= 3
    assert max(held) < 2**27


def test_profiles(add: Add, store: DatasetStore) -> None:
    sizes = [(6, 4), (6, 4), (10, 8)]
    images = [picture("PNG", size) for size in sizes] + [picture("JPEG", (6, 4), 9), None]
    table = pa.table(
        {
            "image": pa.array(images, pa.binary()),
            "x": pa.array([[1.0, 2.0], [1.0, 2.0], [], [None, 9.0, -3.0], None]),
            "text": ["a" * 200, "b" * 300, "c" * 250, "d", None],
        }
    )
    version = add(parquet(table), "t.parquet")
    image, lists, text = store.profile(version.sha256)
    assert (image.rows, image.missing, image.distinct) == (5, 1, 3)
    assert image.images is not None
    assert image.images.formats == {"PNG": 3, "JPEG": 1}
    assert image.images.height.model_dump() == {"minimum": 4, "median": 4, "maximum": 8}
    assert image.images.width.model_dump() == {"minimum": 6, "median": 6, "maximum": 10}
    assert image.warnings == [
        "1 values are there twice or more",
        "sizes differ: 4 to 8 pixels high, 6 to 10 wide",
    ]
    assert (lists.rows, lists.missing, lists.distinct) == (5, 1, 3)
    assert lists.lengths is not None
    assert lists.lengths.model_dump() == {"minimum": 0, "median": 2, "maximum": 3}
    numbers = [1.0, 2.0, 1.0, 2.0, 9.0, -3.0]
    assert (lists.minimum, lists.maximum) == (-3, 9)
    assert lists.mean == pytest.approx(np.mean(numbers))
    assert lists.deviation == pytest.approx(np.std(numbers, ddof=1))
    assert "some lists are empty" in lists.warnings
    assert text.lengths is not None
    assert text.lengths.model_dump() == {"minimum": 1, "median": 225, "maximum": 300}


def test_a_column_of_missing_objects(add: Add, store: DatasetStore) -> None:
    table = pa.table({"i": pa.nulls(2, pa.binary()), "x": pa.nulls(2, pa.list_(pa.int8()))})
    version = add(parquet(table), "t.parquet")
    assert [p.warnings for p in store.profile(version.sha256)] == [["all values are missing"]] * 2


def test_previews_are_json(add: Add, store: DatasetStore) -> None:
    table = pa.table({"i": [picture()], "x": [np.arange(100.0)], "y": [[1.0, None]]})
    version = add(parquet(table), "t.parquet")
    (row,) = json.loads(json.dumps(store.preview(version.sha256)))
    assert row["i"].startswith("PNG, 4 x 6 pixels, ")
    assert row["x"] == [*range(32), "..."]
    assert row["y"] == [1.0, None]
