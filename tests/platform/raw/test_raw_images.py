"""Images of every make become the same pixels."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pellucid.errors import InvalidData
from pellucid.raw import images

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def encoded(image: Image.Image, kind: str = "PNG", **choices: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **choices)
    return buffer.getvalue()


def png(array: np.ndarray) -> bytes:
    return encoded(Image.fromarray(array))


def test_lossless_formats_keep_every_pixel():
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        data = encoded(Image.fromarray(COLOUR), kind)
        np.testing.assert_array_equal(images.decode(data, (6, 8, 3)), COLOUR)
    data = encoded(Image.fromarray(COLOUR), "WEBP", lossless=True)
    np.testing.assert_array_equal(images.decode(data, (6, 8, 3)), COLOUR)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_an_encoded_image_and_its_array_are_the_same(pixels: np.ndarray):
    shape = pixels.shape
    np.testing.assert_array_equal(images.decode(png(pixels), shape), pixels)
    np.testing.assert_array_equal(images.pixels(pixels, shape), pixels)
    for other in ((5, 4, 3), (5, 4, 1)):
        np.testing.assert_array_equal(
            images.decode(png(pixels), other), images.pixels(pixels, other)
        )


def test_a_jpeg_is_near_its_pixels_and_shrinks():
    smooth = np.linspace(0, 255, 640 * 480).reshape(480, 640).astype(np.uint8)
    data = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    whole = images.decode(data, (480, 640, 1))
    assert abs(whole[..., 0].astype(int) - smooth).max() <= 4
    small = images.decode(data, (48, 64, 1))
    assert abs(small.mean() - smooth.mean()) < 1


def test_grey_and_colour_become_each_other():
    grey = images.decode(png(COLOUR), (6, 8, 1))[..., 0]
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert abs(grey - luma).max() <= 1
    rgb = images.decode(png(GREY), (6, 8, 3))
    np.testing.assert_array_equal(rgb, np.repeat(GREY[..., None], 3, axis=2))


def test_palettes_are_looked_up():
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(images.decode(encoded(palette), (6, 8, 3)), expected)
    bits = Image.fromarray(GREY > 100)
    found = images.decode(encoded(bits), (6, 8, 1))[..., 0]
    np.testing.assert_array_equal(found, np.where(GREY > 100, 255, 0))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(mode: str):
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.putpalette([10, 20, 30])
        data = encoded(image, transparency=0)
    else:
        data = encoded(Image.new(mode, (4, 4), (10,) * (len(mode) - 1) + (0,)))
    assert (images.decode(data, (4, 4, 3)) == 255).all()


def test_half_transparent_pixels_are_mixed():
    half = np.full((2, 2, 4), 128, np.uint8)
    assert abs(images.pixels(half, (2, 2, 1)).astype(int) - 191).max() <= 1


def test_sixteen_bits_become_eight():
    wide = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(images.decode(png(wide), (6, 8, 1))[..., 0], GREY)
    tiff = encoded(Image.fromarray(wide), "TIFF")
    np.testing.assert_array_equal(images.decode(tiff, (6, 8, 1))[..., 0], GREY)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    data = encoded(Image.fromarray(GREY), exif=exif)
    seen = images.inspect(data)
    assert (seen.height, seen.width, seen.format) == (8, 6, "PNG")
    np.testing.assert_array_equal(images.decode(data, (8, 6, 1))[..., 0], np.rot90(GREY, -1))


def test_frames_are_taken_at_even_distances():
    frames = [Image.fromarray(np.full((4, 4), 20 * i, np.uint8)) for i in range(9)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = images.decode(data, (5, 4, 4, 1))
    assert found[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160]
    assert images.decode(data, (4, 4, 1)).max() == 0
    still = images.decode(png(GREY), (3, 6, 8, 1))
    assert (still == still[0]).all()
    moving = np.stack([np.full((4, 4), i, np.uint8) for i in range(9)])
    assert images.pixels(moving, (3, 4, 4, 1))[:, 0, 0, 0].tolist() == [0, 4, 8]


def test_grey_is_told_by_the_pixels():
    assert images.is_grey(png(GREY))
    assert images.is_grey(png(np.repeat(GREY[..., None], 3, axis=2)))
    assert not images.is_grey(png(COLOUR))


@given(st.binary(max_size=200))
def test_no_bytes_are_a_traceback(data: bytes):
    with pytest.raises(InvalidData):
        images.decode(data, (4, 4, 1))


@given(st.integers(1, 2000), st.integers(0, 255), st.sampled_from(["PNG", "GIF", "TIFF", "WEBP"]))
def test_damaged_bytes_are_no_traceback(where: int, value: int, kind: str):
    data = bytearray(encoded(Image.fromarray(COLOUR), kind))
    data[where % len(data)] = value
    with contextlib.suppress(InvalidData):
        assert images.decode(bytes(data), (6, 8, 3)).shape == (6, 8, 3)


def test_a_truncated_image_is_refused():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG"):
        data = encoded(Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)), kind)
        with pytest.raises(InvalidData, match=r"damaged|no image"):
            images.decode(data[: len(data) // 2], (64, 64, 1))


@pytest.mark.parametrize("side", [9000, 14000])
def test_decompression_bombs_are_refused_before_they_are_decoded(side: int):
    data = encoded(Image.new("1", (side, side)))
    assert len(data) < 50_000
    for read in (images.inspect, images.is_grey, lambda given: images.decode(given, (8, 8, 1))):
        with pytest.raises(InvalidData, match="more than 67,108,864 pixels"):
            read(data)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([[0, 256]], "from 0 to 255"),
        ([[0, float("nan")]], "from 0 to 255"),
        ([[0, -1]], "from 0 to 255"),
        ([[0], [1, 2]], "not an array"),
        ([["a"]], "not an array"),
        ([1, 2, 3], r"shape \(3,\)"),
        (np.zeros((2, 2, 5)), r"shape"),
        (np.zeros((0, 2)), "no image"),
    ],
)
def test_other_arrays_are_refused(array: object, message: str):
    with pytest.raises(InvalidData, match=message):
        images.pixels(array, (4, 4, 1))  # type: ignore[arg-type]
