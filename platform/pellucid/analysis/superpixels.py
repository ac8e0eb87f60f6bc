"""Superpixels: an image in parts of like colour that lie together.

SLIC (Achanta et al., 2012), with every pixel compared to every centre: for the few parts that a
person looks at, that is quick.
"""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 10
_COMPACTNESS = 0.2  # how much place counts against colour, of which 1 is from black to white


def superpixels(image: NDArray[np.uint8], parts: int) -> NDArray[np.int64]:
    """(height, width): the number of the part that each pixel belongs to, from 0.

    Args:
        image: (height, width, channels) from 0 to 255.
        parts: about how many; there are never more.
    """
    height, width = image.shape[:2]
    rows, columns = _grid(height, width, parts)
    spacing = max(height / rows, width / columns)
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    places = np.stack([y, x], axis=1) * (_COMPACTNESS / spacing)
    colours = image.reshape(height * width, -1) / (255 * np.sqrt(image.shape[2]))
    points = np.concatenate([places, colours], axis=1)
    owners = (y * rows // height) * columns + x * columns // width
    for _ in range(_ROUNDS):
        found = _nearest(points, _centres(points, owners))
        if (found == owners).all():
            break
        owners = found
    numbers: NDArray[np.int64] = np.unique(owners, return_inverse=True)[1]
    return numbers.reshape(height, width)


def _grid(height: int, width: int, parts: int) -> tuple[int, int]:
    """Rows and columns of cells that are about square, no more than `parts` of them."""
    rows = int(np.clip(round(np.sqrt(parts * height / width)), 1, min(height, parts)))
    return rows, max(1, min(width, parts // rows))


def _centres(points: NDArray[np.float64], owners: NDArray[np.int64]) -> NDArray[np.float64]:
    """(parts, dimensions): the mean of each part's points."""
    counts = np.bincount(owners)
    sums = [np.bincount(owners, weights=each) for each in points.T]
    means: NDArray[np.float64] = np.stack(sums, axis=1)[counts > 0] / counts[counts > 0, None]
    return means


def _nearest(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """(points,): the nearest centre. Of |p|^2 - 2 p.c + |c|^2 the first is the same for all."""
    nearest: NDArray[np.int64] = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
    return nearest
