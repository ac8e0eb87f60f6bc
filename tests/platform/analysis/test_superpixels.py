"""Parts of images."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.analysis.superpixels import superpixels


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 24), st.integers(1, 24), st.sampled_from([1, 3]), st.integers(1, 40),
    st.integers(0, 9),
)  # fmt: skip
def test_every_pixel_has_a_part_and_parts_are_numbered_without_gaps(
    height, width, channels, parts, seed
):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, channels)).astype(np.uint8)
    found = superpixels(image, parts)
    assert found.shape == (height, width)
    numbers = np.unique(found)
    assert numbers.tolist() == list(range(len(numbers)))
    assert len(numbers) <= parts


def test_parts_follow_the_colours():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 7:] = 255
    found = superpixels(image, 8)
    assert not set(found[:, :7].ravel()) & set(found[:, 7:].ravel())


def test_an_even_image_is_cut_into_a_grid():
    found = superpixels(np.full((12, 12, 1), 9, np.uint8), 9)
    assert sorted(np.bincount(found.ravel())) == [16] * 9
