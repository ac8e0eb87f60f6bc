"""Sketches of columns: what they tell, and that they merge."""

from collections import Counter

import numpy as np
import pytest

from pellucid.analysis.watching.sketches import (
    merge,
    sketch_numbers,
    sketch_strings,
    summary,
)


def test_numbers_tell_quantiles_and_how_many_differ():
    values = np.random.default_rng(0).normal(size=20_000)
    found = summary(sketch_numbers(np.append(values, np.nan)), [0.1, 0.5, 0.9])
    assert found.rows == 20_000
    ranks = [(values <= each).mean() for each in found.quantiles]
    assert ranks == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
    assert found.distinct == pytest.approx(20_000, rel=0.07)


def test_strings_tell_the_most_frequent_ones():
    counts = {"car": 500, "boat": 300} | {f"rare {i}": 1 for i in range(1000)}
    found = summary(sketch_strings(counts))
    assert found.rows == 1800
    assert list(found.frequent)[:2] == ["car", "boat"]
    assert 490 <= found.frequent["car"] <= 500
    assert found.distinct == pytest.approx(1002, rel=0.07)


def test_merged_sketches_are_about_both():
    values = np.random.default_rng(0).random(4_000)
    both = summary(merge(sketch_numbers(values), sketch_numbers(values + 2)), [0.25, 0.75])
    assert both.rows == 8_000
    assert both.quantiles == pytest.approx([0.5, 2.5], abs=0.06)
    assert both.distinct == pytest.approx(8_000, rel=0.07)
    words = Counter("abracadabra")
    assert summary(merge(sketch_strings(words), sketch_strings(words))).frequent["a"] == 10


def test_columns_without_values():
    assert summary(sketch_numbers(np.full(3, np.nan))).quantiles == ()
    assert summary(sketch_strings({})).frequent == {}


def test_sketches_of_two_kinds_or_damaged_ones():
    with pytest.raises(ValueError, match="do not merge"):
        merge(sketch_numbers(np.ones(3)), sketch_strings({"a": 1}))
    with pytest.raises(ValueError, match=r"cannot be read"):
        summary({"kll": "AAAA", "hll": "AAAA"})
