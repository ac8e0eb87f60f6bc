"""Encoded images, or arrays of pixels, to uint8 arrays of one shape.

A shape is (height, width, channels), or (frames, height, width, channels). One channel is grey
(ITU-R 601 luma), three are RGB. An image of another size is stretched to it (bilinear, averaging
where it shrinks). EXIF orientation is applied, transparency lies on white, 16 bits become 8.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from pellucid.errors import InvalidData

Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 2**26  # of one image as it is stored: 256 MiB once decoded
_MAX_ANIMATION = 2**28  # pixels of all frames together
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)


@dataclass(frozen=True)
class Seen:
    """What a header tells: height and width as the image is shown, and its format."""

    height: int
    width: int
    format: str


def decode(data: bytes, shape: tuple[int, ...]) -> Pixels:
    """The pixels of an encoded image, of this shape.

    Of an animated image, frames at even distances are taken, the first and the last among them;
    without frames in the shape it is the first one.

    Raises:
        InvalidData: the bytes are no image, are damaged, or hold more pixels than is safe.
    """
    with _opened(data) as image:
        side = 2 * max(shape[-3:-1])
        image.draft(None, (side, side))  # a JPEG shrinks while it is decoded
        if len(shape) == 3:
            return _fitted(image, shape)
        chosen = _spread(_frames(image), shape[0])
        return np.stack([_fitted(_at(image, frame), shape[1:]) for frame in chosen])


def pixels(array: npt.ArrayLike, shape: tuple[int, ...]) -> Pixels:
    """The pixels of an array of numbers from 0 to 255, of this shape.

    The array is (height, width) or (height, width, channels), of any size, with 1, 3 or 4
    channels (the fourth is opacity), and has a first axis of frames where the shape has one.

    Raises:
        InvalidData: the array has another number of axes or channels, or other numbers.
    """
    given = _bytes(array)
    moving = len(shape) == 4
    frames = given if moving else given[None]
    frames = frames[..., None] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[3] not in (1, 3, 4) or not frames.size:
        size = "(frames, height, width" if moving else "(height, width"
        raise InvalidData(
            f"An array of shape {given.shape} is no image.",
            remedy=f"Send {size}) or {size}, channels) with 1, 3 or 4 channels.",
        )
    _require_safe(frames.shape[2], frames.shape[1])
    chosen = _spread(len(frames), shape[0]) if moving else [0]
    found = [_resized(frames[frame], shape[-3:]) for frame in chosen]
    return np.stack(found) if moving else found[0]


def inspect(data: bytes) -> Seen:
    """What the header tells, without decoding. Raises like `decode`."""
    with _opened(data) as image:
        sides = (image.height, image.width)
        if image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
            sides = sides[::-1]
        return Seen(*sides, str(image.format))


def is_grey(data: bytes) -> bool:
    """Whether no pixel has a colour, however they are stored. Raises like `decode`."""
    with _opened(data) as image:
        if image.mode in _GREY:
            return True
        shown = np.asarray(_plain(image, 3))
        return bool((shown == shown[..., :1]).all())


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image, its header read; whatever a decoder raises on damaged bytes is `InvalidData`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _require_safe(image.width, image.height)
            yield image
    except InvalidData:
        raise
    except UnidentifiedImageError as error:
        raise InvalidData(
            "These bytes are no image.", remedy=f"Known formats: {', '.join(FORMATS)}."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    except Exception as error:
        raise InvalidData(
            f"The image is damaged: {error or type(error).__name__}.",
            remedy="Save it again, or take it out.",
        ) from error


def _require_safe(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(f" ({width:,} x {height:,})")


def _too_large(size: str = "") -> InvalidData:
    return InvalidData(
        f"The image has more than {MAX_PIXELS:,} pixels{size}.", remedy="Send a smaller one."
    )


def _frames(image: Image.Image) -> int:
    frames = int(getattr(image, "n_frames", 1))
    if frames * image.width * image.height > _MAX_ANIMATION:
        raise InvalidData(
            f"The animation's {frames:,} frames have more than {_MAX_ANIMATION:,} pixels.",
            remedy="Send fewer or smaller frames.",
        )
    return frames


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` frames, at even distances; of fewer, some several times."""
    return [int(frame) for frame in np.linspace(0, count - 1, wanted).round()]


def _at(image: Image.Image, frame: int) -> Image.Image:
    if getattr(image, "n_frames", 1) > 1:
        image.seek(frame)
    return image


def _fitted(image: Image.Image, shape: tuple[int, ...]) -> Pixels:
    """One frame as (height, width, channels)."""
    height, width, channels = shape
    plain = _plain(image, channels)
    if plain.size != (width, height):
        plain = plain.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(plain, np.uint8).reshape(shape)


def _resized(pixels: Pixels, shape: tuple[int, ...]) -> Pixels:
    """(height, width, channels) of any size, the same way."""
    if pixels.shape == shape:
        return pixels
    return _fitted(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), shape)


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """The upright image in 8 bits, without palette or transparency: grey (1) or RGB (3)."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits, some of them kept in 32
        wide = np.clip(np.asarray(image), 0, 65535).astype(np.float64)
        image = Image.fromarray((wide / 257).round().astype(np.uint8))
    elif image.mode == "F":
        raise InvalidData(
            "The image's pixels are floating-point numbers, whose range is not known.",
            remedy="Save it with 8 or 16 bits a channel.",
        )
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _bytes(array: npt.ArrayLike) -> Pixels:
    """The same numbers as uint8, rounded."""
    try:
        given = np.asarray(array)
        if given.dtype == np.uint8:
            return given
        numbers = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(
            "The pixels are not an array of numbers.", remedy="Send rows of the same length."
        ) from error
    if not ((numbers >= 0) & (numbers <= 255)).all():
        raise InvalidData("A pixel is not a number from 0 to 255.")
    return numbers.round().astype(np.uint8)
