"""Scalar columns to the dense vector that networks take, fitted on the training rows only.

numeric, boolean and the linear term of a datetime go through a piecewise linear `Curve`.
categorical is one-hot, with a bucket for missing values and one for unknown ones. A bucket that
no training row fell into, or a flag that no training row raised, gets no column of its own: the
network could not have learnt what it means, so such a value gives zeros. Columns that hold one
value only, or none, become a single zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pellucid import plan
from pellucid.bundle import Input
from pellucid.schema import Column, Kind
from pellucid_pipelines.curves import Curve, bounded, interpolate
from pellucid_pipelines.features import Features
from pellucid_pipelines.preprocessing.contract import Feed, Preprocessing

Floats = npt.NDArray[np.float64]

# The exporter rounds Python floats to 32 bits: these are exact there, and a tensor keeps its 64.
_PERIODS = (86_400.0, 604_800.0, 31_556_952.0)  # seconds: day, week, mean Gregorian year
_FURTHEST = 2.0**44  # seconds; what 64-bit microseconds can tell is nearer to 1970
_TAU = torch.tensor(math.tau, dtype=torch.float64)


@dataclass(frozen=True)
class _Numbers:
    """What was learnt of a numeric, boolean or datetime column."""

    input: Input
    fill: float  # stands for a missing value
    curve: Curve
    flagged: bool  # some training row misses it
    cycles: tuple[bool, ...]  # datetime: which of sin, cos of each period vary

    @property
    def width(self) -> int:
        return 1 + len(self.cycles) + self.flagged


@dataclass(frozen=True)
class _Texts:
    """What was learnt of a categorical column: which codes get a column.

    Codes: the position among the known categories, then missing, then unknown.
    """

    input: Input
    codes: tuple[int, ...]

    @property
    def width(self) -> int:
        return len(self.codes)


class Tabular(Preprocessing):
    """Raw columns of (N,) to the dense vector (N, width); all that was learnt is in buffers.

    Attributes:
        blocks: raw column -> its slice of the dense vector.
        width: length of the dense vector, at least one per raw column.
        numbers: names of the columns that are fed as numbers.
        texts: names of the categorical columns.
    """

    fill: Tensor  # (numbers,)
    knots: Tensor  # (numbers, n), as `levels`
    levels: Tensor
    flagged: Tensor  # positions among the numbers
    dates: Tensor  # positions among the numbers
    varies: Tensor  # (dates, 6)
    owner: Tensor  # (one-hot columns,): position among the texts
    codes: Tensor  # (one-hot columns,): the code that is hot there
    order: Tensor  # (width,)

    def __init__(self, columns: Sequence[_Numbers | _Texts]) -> None:
        super().__init__()
        self.inputs = tuple(column.input for column in columns)
        ends = np.cumsum([column.width for column in columns])
        self.blocks = {
            column.input.name: slice(int(end) - column.width, int(end))
            for column, end in zip(columns, ends, strict=True)
        }
        self.width = int(ends[-1])
        numbers = [column for column in columns if isinstance(column, _Numbers)]
        dates = [column for column in numbers if column.cycles]
        texts = [column for column in columns if isinstance(column, _Texts)]
        self.numbers = tuple(column.input.name for column in numbers)
        self.texts = tuple(column.input.name for column in texts)
        curves = Curve.stacked([column.curve for column in numbers])
        self._keep("fill", [column.fill for column in numbers], torch.float64)
        self._keep("knots", curves.knots, torch.float64)
        self._keep("levels", curves.levels, torch.float64)
        self._keep("flagged", [i for i, column in enumerate(numbers) if column.flagged])
        self._keep("dates", [i for i, column in enumerate(numbers) if column.cycles])
        self._keep("varies", [column.cycles for column in dates], torch.float64)
        self._keep("owner", [i for i, column in enumerate(texts) for _ in column.codes])
        self._keep("codes", [code for column in texts for code in column.codes])
        self._keep("order", self._places(numbers, dates, texts))
        self.feeds = (Feed("numbers", self.numbers), Feed("codes", self.texts))
        curved = {column.input.name for column in numbers if column.input.kind != Kind.BOOLEAN}
        self.features = Features(
            "tabular",
            (self.width,),
            self.blocks,
            tuple(block.start for name, block in self.blocks.items() if name in curved),
        )

    def _keep(self, name: str, values: object, dtype: torch.dtype = torch.int64) -> None:
        self.register_buffer(name, torch.as_tensor(np.asarray(values), dtype=dtype))

    def _places(
        self, numbers: Sequence[_Numbers], dates: Sequence[_Numbers], texts: Sequence[_Texts]
    ) -> list[int]:
        """Where each dense position lies in what `forward` concatenates, kind after kind."""
        taken: list[str] = [column.input.name for column in numbers]
        taken += [column.input.name for column in dates for _ in column.cycles]
        taken += [column.input.name for column in numbers if column.flagged]
        taken += [column.input.name for column in texts for _ in column.codes]
        rank = {name: i for i, name in enumerate(self.blocks)}
        return sorted(range(len(taken)), key=lambda place: (rank[taken[place]], place))

    @classmethod
    def fit(cls, table: pa.Table, columns: Sequence[Column], spec: plan.Preprocessing) -> Self:
        """Learn from the training rows; rows outside `table` are never seen.

        Args:
            table: the training rows, at least one.
            columns: the feature columns, at least one.
            spec: the plan's choices.
        """
        return cls([_learn(table[column.name], column, spec) for column in columns])

    def encode(self, table: pa.Table) -> dict[str, Tensor]:
        """Raw column -> (N,) float64, NaN where missing, or (N,) int64 category codes."""
        return {
            column.name: torch.from_numpy(
                _codes(table[column.name], column.categories)
                if column.kind is Kind.CATEGORICAL
                else numbers_of(table[column.name])
            )
            for column in self.inputs
        }

    def dense(self, *matrices: Tensor | None) -> Tensor:
        """`self.numbers` (N, n) float64 and `self.texts` (N, t) int64 to (N, width) float32."""
        numbers, codes = matrices
        parts = []
        if numbers is not None:
            parts += self._dense_numbers(numbers)
        if codes is not None:
            parts.append(codes.index_select(1, self.owner) == self.codes)
        dense = torch.cat([part.to(torch.float32) for part in parts], dim=1)
        return dense.index_select(1, self.order)

    def _dense_numbers(self, raw: Tensor) -> list[Tensor]:
        """(N, n) float64 to curves (N, n), cycles (N, 6 dates) and flags (N, flagged)."""
        missing = raw.isnan()
        parts = [interpolate(torch.where(missing, self.fill, raw), self.knots, self.levels)]
        if len(self.dates):
            seconds = raw.index_select(1, self.dates).clamp(-_FURTHEST, _FURTHEST)
            absent = missing.index_select(1, self.dates).unsqueeze(2)
            parts.append(torch.where(absent, 0.0, _waves(seconds) * self.varies).flatten(1))
        if len(self.flagged):
            parts.append(missing.index_select(1, self.flagged))
        return parts


def numbers_of(column: pa.ChunkedArray) -> Floats:
    """A numeric, boolean or datetime column as the model's input (N,): NaN is missing."""
    if pa.types.is_timestamp(column.type):
        return numbers_of(column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())) / 1e6
    return np.array(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def texts_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A categorical column as the model's input: "" is missing."""
    return pc.fill_null(column.cast(pa.large_string()), "")


def _codes(column: pa.ChunkedArray, categories: Sequence[str]) -> npt.NDArray[np.int64]:
    known = pa.array([*categories, ""], pa.large_string())
    codes = pc.index_in(texts_of(column), value_set=known)
    return np.array(pc.fill_null(codes, len(known)).to_numpy(), dtype=np.int64)


def _learn(values: pa.ChunkedArray, column: Column, spec: plan.Preprocessing) -> _Numbers | _Texts:
    if column.kind is Kind.CATEGORICAL:
        return _learn_texts(values, column, spec)
    numbers = numbers_of(values)
    missing = np.isnan(numbers)
    observed = bounded(numbers[~missing]) if np.isfinite(numbers).any() else np.zeros(1)
    boolean = column.kind is Kind.BOOLEAN
    fill = np.mean(observed) if boolean or spec.impute == "mean" else np.median(observed)
    completed = np.append(observed, np.full(missing.sum(), fill))
    if boolean:
        curve = Curve.unit() if observed.min() < observed.max() else Curve.flat()
    else:
        scaling = spec.numeric if column.kind is Kind.NUMERIC else plan.Standardize()
        curve = Curve.fit(completed, scaling)
    return _Numbers(
        input=Input.of(column.name, column.kind),
        fill=float(fill),
        curve=curve,
        flagged=bool(missing.any() and not missing.all()),
        cycles=_cycles(observed) if column.kind is Kind.DATETIME else (),
    )


def _learn_texts(values: pa.ChunkedArray, column: Column, spec: plan.Preprocessing) -> _Texts:
    counts = pc.value_counts(texts_of(values)).to_pylist()
    frequent = sorted(
        (-item["counts"], item["values"])
        for item in counts
        if item["values"] and item["counts"] >= spec.min_count
    )
    categories = tuple(sorted(text for _, text in frequent[: spec.max_categories]))
    present = np.unique(_codes(values, categories))
    return _Texts(
        input=Input.of(column.name, column.kind, categories),
        codes=tuple(present.tolist()) if len(present) > 1 else (-1,),  # -1 is never hot
    )


def _cycles(seconds: Floats) -> tuple[bool, ...]:
    waves = _waves(torch.from_numpy(seconds).unsqueeze(1))[:, 0]
    return tuple((waves.amax(0) - waves.amin(0) > 1e-9).tolist())


def _waves(seconds: Tensor) -> Tensor:
    """Sine and cosine of the hour of day, day of week, time of year (UTC): (N, D) to (N, D, 6)."""
    turns = torch.stack([seconds / period for period in _PERIODS], dim=2)
    angles = _TAU * (turns - turns.floor())
    return torch.cat([angles.sin(), angles.cos()], dim=2)
