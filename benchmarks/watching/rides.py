"""Bike rentals by the hour: 2011 to learn from, the months of 2012 to serve (Fanaee-T and Gama)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from tabular import canonical

FILE, TARGET = "bike_hour.csv", "cnt"
# A key, the time itself, two parts of the target, and the year, which is constant while learning
_LEFT_OUT = ("instant", "dteday", "casual", "registered", "yr")


def learnt(directory: Path) -> pa.Table:
    """The hours of 2011."""
    return _of(directory, 0, None)


def served(directory: Path, month: int) -> pa.Table:
    """The hours of a month of 2012."""
    return _of(directory, 1, month)


def _of(directory: Path, year: int, month: int | None) -> pa.Table:
    table = pyarrow.csv.read_csv(directory / FILE)
    wanted = pc.field("yr") == year
    if month is not None:
        wanted &= pc.field("mnth") == month
    return canonical(table.filter(wanted).drop_columns(_LEFT_OUT))


def rmse(values: np.ndarray, truth: np.ndarray) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((np.asarray(values) - np.asarray(truth)) ** 2)))
