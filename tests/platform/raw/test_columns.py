"""Raw values of images, sequences and texts: what is taken, and how what is not is told."""

import base64
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid import plan
from pellucid.errors import InvalidData
from pellucid.raw import columns, images
from pellucid.raw.texts import Tokenizer
from support.other_bundles import png

SHAPE = (4, 5, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


@pytest.mark.parametrize(
    "value",
    [
        png(PIXELS),
        bytearray(png(PIXELS)),
        base64.b64encode(png(PIXELS)).decode(),
        base64.encodebytes(png(PIXELS)).decode(),  # with line ends
        "data:image/png;base64," + base64.b64encode(png(PIXELS)).decode(),
        PIXELS,
        PIXELS.tolist(),
    ],
)
def test_a_picture_comes_in_many_ways(value: Any) -> None:
    np.testing.assert_array_equal(columns.read([value], "image", SHAPE)[0], PIXELS)


@given(
    st.lists(
        st.none() | st.lists(st.none() | st.floats(allow_infinity=False) | st.integers(-9, 9))
    ),
    st.integers(1, 6),
)
def test_sequences_keep_their_last_steps(rows: list[Any], steps: int) -> None:
    found = columns.read(rows, "sequence", (steps,))
    assert found.shape == (len(rows), steps)
    for row, values in zip(found, rows, strict=True):
        last = [math.nan if value is None else value for value in (values or [])][-steps:]
        np.testing.assert_array_equal(row, last + [math.nan] * (steps - len(last)))


def test_missing_values() -> None:
    tokenizer = Tokenizer.train(["a word"] * 3, plan.Texts(vocabulary=64))
    absent = [None, math.nan]
    for kind, shape in (("sequence", (3,)), ("text", (4,))):
        found = columns.read(absent, kind, shape, tokenizer)
        np.testing.assert_array_equal(found, [columns.missing(kind, shape)] * 2)
    assert columns.missing("image", SHAPE) is None


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("image", None, "not an image"),
        ("image", "no base64!", "not base64"),
        ("image", b"", "image"),
        ("image", [[1], [1, 2]], "differ in length"),
        ("image", [[0.5]], "0 to 255"),
        ("image", [[math.nan]], "0 to 255"),
        ("image", [[1, None]], "0 to 255"),
        ("image", [["x" * 10**6] + ["1"] * 10**6], "no numbers"),  # 4 TB as text of NumPy's
        ("image", [[10**400]], "no numbers"),
        ("image", {"bytes": b""}, "not an image"),
        ("sequence", [True], "not a list of numbers"),
        ("sequence", "1,2", "not a list of numbers"),
        ("sequence", np.zeros((2, 2)), "not a list of numbers"),
        ("sequence", [math.inf], "infinite"),
        ("sequence", [10**400], "too large"),
        ("text", 3, "not a string"),
        ("text", b"bytes", "not a string"),
    ],
)
def test_what_does_not_fit_names_its_row(kind: str, value: Any, said: str) -> None:
    good: dict[str, Any] = {"image": PIXELS, "sequence": [1.0], "text": "fine"}
    tokenizer = Tokenizer.train(["fine"] * 3, plan.Texts(vocabulary=64))
    shape = SHAPE if kind == "image" else (3,)
    with pytest.raises(InvalidData, match=said) as caught:
        columns.read([good[kind], value], kind, shape, tokenizer)
    assert caught.value.where["row"] == 2


def test_images_of_another_size_are_stretched_as_in_training() -> None:
    data = png(PIXELS.repeat(3, axis=0))
    found = columns.read([data, base64.b64encode(data).decode()], "image", SHAPE)
    np.testing.assert_array_equal(found, [images.decode(data, SHAPE)] * 2)


@given(st.integers(0, 50), st.integers(1, 2**20))
def test_pieces_hold_every_row_once(rows: int, width: int) -> None:
    feed = {"a": np.arange(rows), "b": np.broadcast_to(np.uint8(0), (rows, width))}
    parts = list(columns.pieces(feed))
    assert np.concatenate([part["a"] for part in parts]).tolist() == list(range(rows))
    assert all(len(part["a"]) == len(part["b"]) for part in parts)
    assert all(len(part["a"]) == 1 or part["b"].nbytes <= 2**22 for part in parts)
