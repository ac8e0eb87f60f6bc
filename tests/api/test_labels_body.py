"""Bodies of labels: whatever the bytes are, labels or an error of ours."""

import io
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import InvalidRows, PellucidError, TooLarge
from pellucid_api import labels_body
from pellucid_api.labels_body import PARQUET, read_labels

KIND = PARQUET.encode()


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


IDS = [str(uuid.UUID(int=n << 80 | 7 << 76 | 1 << 63)) for n in range(40)]
BODIES = [
    parquet(pa.table({"id": IDS, "label": column}), compression=compression)
    for column in (["good", None] * 20, [1.5, 2] * 20, [[1.0, 2.0]] * 40)
    for compression in ("snappy", "zstd", "none")
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(BODIES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_parquet_file_is_an_error_of_ours(
    body: bytes, changes: list[tuple[float, int]]
) -> None:
    damaged = bytearray(body)
    for place, value in changes:
        damaged[int(place * len(body))] = value
    try:
        found = read_labels(KIND, bytes(damaged))
    except PellucidError:
        assert changes
    else:
        assert len(found.words) == len(found.labels) == len(found.texts)


@pytest.mark.parametrize("column", [["a", "b"], [1, 2], [True, None], [[1, 2], [3, 4]]])
def test_labels_of_any_type_are_texts(column: list[Any]) -> None:
    table = pa.table({"id": IDS[:2], "label": column})
    texts = read_labels(KIND, parquet(table)).labels.to_pylist()
    assert texts == [
        None if each is None else each if isinstance(each, str) else str(each).lower()
        for each in column
    ]


def test_more_than_fits_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    body = parquet(pa.table({"id": IDS, "label": ["a"] * 40}))
    assert len(read_labels(KIND, body).labels) == 40
    monkeypatch.setattr(labels_body, "_MOST_BYTES", 100)
    with pytest.raises(TooLarge, match="100 bytes"):
        read_labels(KIND, body)
    monkeypatch.setattr(labels_body, "_MOST_ROWS", 39)
    with pytest.raises(TooLarge, match="40 labels are more than 39"):
        read_labels(KIND, body)
    with pytest.raises(InvalidRows, match="no label"):
        read_labels(KIND, parquet(pa.table({"id": IDS[:0], "label": IDS[:0]})))
