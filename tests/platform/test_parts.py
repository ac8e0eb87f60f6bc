"""Predictions in parts: which columns, under which names, and one file of them all."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidData, InvalidRows
from pellucid.parts import beside, divide, join, suffix_of, write_part

NAMES = st.lists(st.sampled_from(["label", "given_label", "given_given_label", "age"]), unique=True)


@pytest.mark.parametrize(
    ("inputs", "keep", "sent", "kept"),
    [
        (["b", "a"], None, ["a", "b"], ["id", "y"]),
        (["b", "a"], ("y",), ["a", "b"], ["y"]),
        (["b", "a"], ("a", "id"), ["a", "b"], ["a", "id"]),
        (["b", "a"], (), ["a", "b"], []),
        (["x"], ("id",), ["a", "b", "y"], ["id"]),
        (["x"], None, ["id", "a", "b", "y"], []),
    ],
)
def test_columns_are_sent_or_kept(inputs, keep, sent, kept):
    assert divide(["id", "a", "b", "y"], inputs, keep) == (sent, kept)


@pytest.mark.parametrize(
    ("inputs", "keep", "said"),
    [(["a"], ("who",), "no column 'who'"), (["p", "q"], None, "no column that the model takes")],
)
def test_columns_that_are_not_there(inputs, keep, said):
    with pytest.raises(InvalidRows, match=said):
        divide(["id", "a"], inputs, keep)


@given(NAMES)
def test_no_kept_column_hides_a_prediction(names):
    kept = pa.table({name: [name] for name in names})
    found = beside(kept, pa.table({"label": ["answer"]}).replace_schema_metadata({"model": "m"}))
    assert len(set(found.column_names)) == len(names) + 1 == found.num_columns
    assert found["label"].to_pylist() == ["answer"]
    assert [found[i][0].as_py() for i in range(len(names))] == names
    assert found.schema.metadata == {b"model": b"m"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_parts_become_one_file(tmp_path: Path, suffix: str) -> None:
    pairs = pa.FixedSizeListArray.from_arrays(pa.array(range(6)), 2)
    for number in range(2):
        write_part(pa.table({"row": range(3), "y": pairs}), tmp_path / f"{number}.parquet")
    out = tmp_path / f"out{suffix}"
    join(sorted(tmp_path.glob("*.parquet")), out)
    if suffix == ".csv":
        found = pa.csv.read_csv(out).to_pydict()
        assert found == {"row": [0, 1, 2] * 2, "y_1": [0, 2, 4] * 2, "y_2": [1, 3, 5] * 2}
    else:
        assert pq.read_table(out)["y"].to_pylist() == [[0, 1], [2, 3], [4, 5]] * 2
    assert not list(tmp_path.glob("*.partial"))


def test_what_cannot_be_one_file(tmp_path: Path) -> None:
    for size in (1, 2):
        pairs = pa.FixedSizeListArray.from_arrays(pa.array(range(2 * size)), size)
        write_part(pa.table({"y": pairs}), tmp_path / f"{size}.parquet")
    parts = sorted(tmp_path.glob("*.parquet"))
    with pytest.raises(InvalidRows, match="'y' are fixed_size_list"):
        join(parts, tmp_path / "out.parquet")
    with pytest.raises(InvalidRows, match="no rows"):
        join([], tmp_path / "out.parquet")
    assert sorted(tmp_path.iterdir()) == parts
    with pytest.raises(InvalidData, match="neither"):
        suffix_of(Path("out.xlsx"))
