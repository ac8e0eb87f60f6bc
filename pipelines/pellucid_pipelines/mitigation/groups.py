"""Which group each row belongs to, by the sensitive columns that the plan names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pellucid import decisions, plan
from pellucid.bundle import Input
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.schema import Kind, Schema
from pellucid_pipelines.mapped import Mapped
from pellucid_pipelines.preprocessing.tabular import numbers_of, texts_of
from pellucid_pipelines.tensors import Target

_MOST = 64  # values of a column
_MOST_GROUPS = 1024  # of the columns together

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Groups:
    """The groups that training rows fall into.

    Attributes:
        columns: how their values are told apart.
        places: (G,) each group's number among the combinations of the columns' codes, ascending.
        names: of the groups.
        codes: (N,) of the whole table's rows: 0 to G - 1; G where a column is missing, or no
            training row has its combination.
    """

    columns: tuple[Input, ...]
    places: Integers
    names: tuple[str, ...]
    codes: Integers

    @classmethod
    def fit(
        cls, table: pa.Table | Mapped, train: Integers, schema: Schema, spec: plan.Fairness
    ) -> Self:
        """Learn the groups from the training rows.

        Raises:
            InvalidData: there are too many of them, or fewer than two.
        """
        wanted = {name: table.column(name) for name in spec.column}
        columns = tuple(
            _described(name, schema[name].kind, column.take(pa.array(train)), spec)
            for name, column in wanted.items()
        )
        if np.prod(decisions.shape_of(columns)) > _MOST_GROUPS:
            raise InvalidData(
                f"The columns have more than {_MOST_GROUPS} combinations of groups.",
                where={"path": "fairness.column"},
                remedy="Name fewer columns, or columns of fewer groups.",
            )
        numbers = decisions.numbers(columns, arrays(wanted, columns))
        known = decisions.groups_of(columns)
        present = set(np.unique(numbers[train]).tolist())
        places = np.array([each for each in known if each in present], np.int64)
        if len(places) < 2:
            raise InvalidData(
                "All training rows are of one group, or of none.",
                where={"column": list(spec.column)},
                remedy="Name a column that tells people apart.",
            )
        code = np.full(int(np.prod(decisions.shape_of(columns))), len(places))
        code[places] = np.arange(len(places))
        return cls(columns, places, tuple(known[each] for each in places.tolist()), code[numbers])

    def __len__(self) -> int:
        return len(self.names)

    def fewest(self, rows: Integers, yes: Booleans) -> Integers:
        """(G,) how many rows each group has of the class that it has fewest of, among some rows.

        Args:
            rows: (n,) of the table.
            yes: (n,) whether they are of the one class or the other.
        """
        cells = np.bincount(self.codes[rows] * 2 + yes, minlength=2 * len(self) + 2)
        return np.asarray(cells.reshape(-1, 2)[: len(self)].min(axis=1))

    def compared(self, rows: Integers, yes: Booleans, least: int) -> Integers:
        """The groups that have at least so many of some rows in each class.

        Raises:
            InvalidData: they are fewer than two.
        """
        fewest = self.fewest(rows, yes)
        found = np.flatnonzero(fewest >= least)
        if len(found) < 2:
            counts = zip(self.names, fewest.tolist(), strict=True)
            listed = ", ".join(f"{name} {count}" for name, count in counts)
            raise InvalidData(
                f"Fewer than two groups have {least} validation rows of each class (they have at "
                f"least: {listed}).",
                where={"path": "fairness.min_rows"},
                remedy="Enlarge split.validation, join groups, or lower fairness.min_rows.",
            )
        return found


def check(fairness: plan.Fairness, target: Target) -> None:
    """Refuse what is of two classes where there are more.

    Raises:
        InvalidPlan: there are.
    """
    thresholds = isinstance(fairness.mitigation, plan.Thresholds)
    if target.positive is None and (thresholds or fairness.criterion == "equal_opportunity"):
        raise InvalidPlan(
            "A threshold and a positive class are of two classes; "
            f"{target.name!r} has {len(target.classes)}.",
            where={"path": "fairness"},
            remedy="Use another mitigation with another criterion, or two classes.",
        )


def favoured(spec: plan.Plan, target: Target) -> int | None:
    """The class that is good for whoever gets it: the plan's, else the positive one of two."""
    named = spec.evaluation.favourable
    if target.positive is None or named is None:
        return target.positive
    return [str(each) for each in target.classes].index(named)


def arrays(table: Any, columns: Sequence[Input]) -> dict[str, npt.NDArray[Any]]:
    """The columns as a model takes them: (N,) strings as objects, or float64.

    Args:
        table: name -> column, such as an Arrow table.
        columns: which.
    """
    found = {}
    for each in columns:
        column = table[each.name]
        texts = each.kind is Kind.CATEGORICAL
        found[each.name] = (
            texts_of(column).to_numpy().astype(object) if texts else numbers_of(column)
        )
    return found


def _described(name: str, kind: Kind, column: pa.ChunkedArray, spec: plan.Fairness) -> Input:
    if kind is not Kind.CATEGORICAL:
        edges = tuple(spec.edges.get(name, ()))
        return Input.of(name, kind).model_copy(update={"edges": edges})
    values = sorted(value for value in pc.unique(column).to_pylist() if value)
    if len(values) > _MOST:
        raise InvalidData(
            f"{name!r} has {len(values):,} values, and each is a group: the most is {_MOST}.",
            where={"column": name},
            remedy="Register the data with a column that joins them to groups.",
        )
    return Input.of(name, kind, tuple(values))
