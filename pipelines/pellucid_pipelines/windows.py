"""A long table, one row per step, as one row per sequence or window, with list columns."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pellucid import plan
from pellucid.datasets.splits import Parts
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.schema import Column, Role, Schema, StorageType
from pellucid_pipelines.preprocessing.tabular import numbers_of

_MOST_NUMBERS = 2**28  # of all lists together: 2 GiB
_FROM = "_from"

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Cut:
    """Which rows of the sorted long table make up N sequences.

    Attributes:
        first: (N,) the first input row of each.
        count: (N,) how many input rows each has.
    """

    first: Indices
    count: Indices

    @property
    def last(self) -> Indices:
        """(N,) the last input row of each, which other columns are taken from."""
        return self.first + self.count - 1


def widen(table: pa.Table, schema: Schema, spec: plan.Plan) -> tuple[pa.Table, Schema, plan.Plan]:
    """The table with a row per sequence, its schema, and the plan that fits the two.

    Features become list columns; with a horizon, so does the target's own past. The target is then
    a list of the next values (a number for a horizon of 1), named `<target>_next`; the time is
    that of the last of them, and `<time>_from` that of the first. All other columns keep the value
    of the last input row. Without `data.windows` all three are returned as they are.

    Raises:
        InvalidData: an id or a time is missing, no series is long enough, or the windows hold
            more numbers than fit in memory.
        InvalidPlan: the rows of one series are in several groups of the split, or a column has the
            name of one that is added.
    """
    windows = spec.data.windows
    if windows is None:
        return table, schema, spec
    assert windows.time is not None, "a resolved plan's windows have a time"
    assert spec.target is not None, "a resolved plan has a target"
    _require_keys(table, windows)
    bounds = _bounds(table := _sorted(table, windows), windows)
    _require_whole_series(table, bounds, spec)
    features = [column.name for column in schema.having(Role.FEATURE)]
    features = [name for name in features if name in table.column_names]
    ahead = windows.horizon
    if not ahead:
        cut = _sequences(bounds, windows)
    else:
        features = [spec.target, *(name for name in features if name != spec.target)]
        cut = _windows(bounds, windows, numbers_of(table[spec.target]))
    _require_room(cut, windows, len(features))
    steps, offsets = _steps(cut)
    columns = {name: _lists(numbers_of(table[name])[steps], offsets) for name in features}
    kept = {
        column.name: column
        for column in schema.columns
        if column.name in table.column_names and column.name not in columns
    }
    columns |= {name: table[name].take(pa.array(cut.last)) for name in kept}
    described = [Column(name=name, type=StorageType.LIST) for name in features]
    if not ahead:
        return pa.table(columns), Schema(columns=(*described, *kept.values())), spec
    return _with_future(table, cut, columns, described, list(kept.values()), spec)


def without_overlap(parts: Parts, table: pa.Table, spec: plan.Plan) -> Parts:
    """The parts of a split by time without windows whose targets reach across a boundary.

    A window belongs to the part where its targets lie; one that begins to forecast at or before
    the last target of an earlier part belongs to none.
    """
    windows = spec.data.windows
    if windows is None or not windows.horizon or not isinstance(spec.split, plan.TimeSplit):
        return parts
    assert windows.time is not None, "a resolved plan's windows have a time"
    end = table[windows.time].to_numpy()
    begin = table[f"{windows.time}{_FROM}"].to_numpy()
    kept = [parts.train]
    for name, rows in zip(("validation", "test"), parts[1:], strict=True):
        kept.append(rows[begin[rows] > end[kept[-1]].max()])
        if not len(kept[-1]):
            raise InvalidData(
                f"No window of the {name} part lies wholly after the part before it.",
                where={"path": "split"},
                remedy="Give it a larger share, or lower data.windows.horizon.",
            )
    return Parts(*kept)


def _with_future(
    table: pa.Table,
    cut: _Cut,
    columns: dict[str, pa.ChunkedArray],
    described: list[Column],
    kept: list[Column],
    spec: plan.Plan,
) -> tuple[pa.Table, Schema, plan.Plan]:
    """The target's next values and their times, added to the windows."""
    windows = spec.data.windows
    assert windows is not None, "a forecast has windows"
    assert windows.time is not None, "a resolved plan's windows have a time"
    begins, ahead = cut.last + 1, windows.horizon
    times = table[windows.time]
    columns[windows.time] = times.take(pa.array(begins + ahead - 1))
    begin, target = f"{windows.time}{_FROM}", f"{spec.target}_next"
    _require_free((begin, target), columns)
    columns[begin] = times.take(pa.array(begins))
    values = numbers_of(table[spec.target])[begins[:, None] + np.arange(ahead)]
    several = ahead > 1
    columns[target] = (
        _lists(values.ravel(), ahead * np.arange(len(values) + 1))
        if several
        else pa.chunked_array([values[:, 0]])
    )
    time = next(column.type for column in kept if column.name == windows.time)
    described += [
        *kept,
        Column(name=begin, type=time, role=Role.IGNORE),
        Column(
            name=target,
            type=StorageType.LIST if several else StorageType.FLOAT64,
            role=Role.TARGET,
        ),
    ]
    forecast = spec.model_copy(update={"target": target})
    return pa.table(columns), Schema(columns=tuple(described)), forecast


def _require_keys(table: pa.Table, windows: plan.Windows) -> None:
    for name in (windows.id, windows.time):
        if name is not None and table[name].null_count:
            raise InvalidData(
                f"{table[name].null_count:,} rows have no {name!r}.",
                where={"column": name, "row": pc.index(pc.is_null(table[name]), True).as_py() + 1},
                remedy="Fill it in, or take these rows out.",
            )
    if not len(table):
        raise InvalidData("There are no rows.", where={"column": str(windows.time)})


def _sorted(table: pa.Table, windows: plan.Windows) -> pa.Table:
    """By series, then by time; rows of the same time stay in their order."""
    keys = [(name, "ascending") for name in (windows.id, windows.time) if name is not None]
    return table.take(pc.sort_indices(table, sort_keys=keys))


def _bounds(table: pa.Table, windows: plan.Windows) -> Indices:
    """(series + 1,) where each series of the sorted table begins, and the end of the last one."""
    if windows.id is None:
        return np.array([0, len(table)])
    codes = table[windows.id].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = np.flatnonzero(np.diff(codes)) + 1
    return np.concatenate([[0], changes, [len(table)]]).astype(np.int64)


def _require_whole_series(table: pa.Table, bounds: Indices, spec: plan.Plan) -> None:
    """With a split by group each series is in one group, or its windows would be in two parts."""
    if not isinstance(spec.split, plan.GroupSplit) or not spec.data.windows:
        return
    name = str(spec.split.column)
    if name == spec.data.windows.id:
        return
    codes = table[name].combine_chunks().dictionary_encode().indices
    groups = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)
    inner = np.setdiff1d(np.flatnonzero(np.diff(groups)) + 1, bounds)
    if len(inner):
        raise InvalidPlan(
            f"The column {name!r} changes within one series.",
            where={"path": "split.column"},
            remedy="Split by the id of the series, or by time.",
        )


def _require_room(cut: _Cut, windows: plan.Windows, channels: int) -> None:
    if cut.count.sum() * channels > _MOST_NUMBERS:
        raise InvalidData(
            f"{len(cut.count):,} windows of {windows.steps} steps and {channels} channels "
            "do not fit in memory.",
            where={"path": "data.windows"},
            remedy="Raise data.windows.stride, or lower data.windows.steps.",
        )


def _require_free(names: tuple[str, ...], columns: Mapping[str, object]) -> None:
    for name in names:
        if name in columns:
            raise InvalidPlan(
                f"The windows' own column {name!r} is already there.",
                where={"path": "data.windows"},
                remedy="Rename it, or give it the role ignore.",
            )


def _sequences(bounds: Indices, windows: plan.Windows) -> _Cut:
    """One per series: its last steps."""
    count = np.minimum(np.diff(bounds), windows.steps)
    return _Cut(bounds[1:] - count, count)


def _windows(bounds: Indices, windows: plan.Windows, target: npt.NDArray[np.float64]) -> _Cut:
    """All of full length whose targets are known, counted from the end of each series."""
    length = windows.steps + windows.horizon
    room = np.maximum(np.diff(bounds) - length + windows.stride, 0) // windows.stride
    if not room.any():
        raise InvalidData(
            f"No series has the {length} rows of a window: the longest has "
            f"{np.diff(bounds).max()}.",
            where={"path": "data.windows"},
            remedy="Lower data.windows.steps or data.windows.horizon.",
        )
    back = _counted(room)[::-1] * windows.stride
    ends = np.repeat(bounds[1:][::-1], room[::-1])
    first = np.sort(ends - length - back)
    unknown = np.concatenate([[0], np.isnan(target).cumsum()])
    complete = unknown[first + length] == unknown[first + windows.steps]
    if not complete.any():
        raise InvalidData(
            "Every window has a missing value among those that are to be forecast.",
            where={"path": "data.windows.horizon"},
            remedy="Fill in the target, or lower the horizon.",
        )
    first = first[complete]
    return _Cut(first, np.full(len(first), windows.steps))


def _steps(cut: _Cut) -> tuple[Indices, Indices]:
    """The input rows of all sequences, one after the other, and where each begins in them."""
    return np.repeat(cut.first, cut.count) + _counted(cut.count), np.append(0, cut.count.cumsum())


def _counted(counts: Indices) -> Indices:
    """0, 1, ... up to each count: of (2, 3) it is (0, 1, 0, 1, 2)."""
    ends = counts.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _lists(values: npt.NDArray[np.float64], offsets: Indices) -> pa.ChunkedArray:
    flat = pa.array(values, from_pandas=True)  # NaN is missing
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)])
