"""Long tables: what of `data.windows` depends on the data set's columns."""

from pellucid.errors import InvalidPlan
from pellucid.plan.data import GroupSplit, Split, TimeSplit, Windows
from pellucid.plan.document import Plan
from pellucid.schema import Column, Kind, Role, Schema

_CHANNELS = (Kind.NUMERIC, Kind.BOOLEAN)
_ORDERED = (Kind.NUMERIC, Kind.DATETIME)


def settle(plan: Plan, schema: Schema, target: str) -> tuple[Plan, Schema]:
    """The plan with the windows' id and time, and the schema with their roles.

    Without windows both are returned as they are.

    Raises:
        InvalidPlan: a column that is needed is missing or of the wrong kind, or the split would
            put windows that overlap into different parts.
    """
    windows = plan.data.windows
    if windows is None:
        return plan, schema
    named, time = _keys(windows, schema)
    if target in (named, time):
        raise InvalidPlan(
            f"{target!r} cannot be the target and tell the windows' rows.", where={"path": "target"}
        )
    schema = schema.with_roles({time: Role.TIME} | ({named: Role.ID} if named else {}))
    for feature in schema.having(Role.FEATURE):
        if feature.name != target:
            _require_channel(feature)
    settled = windows.model_copy(update={"id": named, "time": time})
    _require_forecast(plan, schema, settled, target)
    split = _split(plan.split, settled)
    data = plan.data.model_copy(update={"windows": settled})
    return plan.model_copy(update={"data": data, "split": split}), schema


def _keys(windows: Windows, schema: Schema) -> tuple[str | None, str]:
    """The columns of id and time, as named or by their roles."""
    named = windows.id or _first(schema, Role.ID)
    time = windows.time or _first(schema, Role.TIME)
    if time is None:
        raise _missing("time", "to order the steps by", Role.TIME)
    if named is None and not windows.horizon:
        raise _missing("id", "that tells which rows are one sequence", Role.ID)
    for key, column in (("id", named), ("time", time)):
        if column is not None and column not in schema.names:
            raise InvalidPlan(
                f"There is no column {column!r}.",
                where={"path": f"data.windows.{key}"},
                remedy=f"The columns are: {', '.join(schema.names)}.",
            )
    if schema[time].kind not in _ORDERED:
        raise InvalidPlan(
            f"The time column {time!r} is {schema[time].kind}.",
            where={"path": "data.windows.time"},
            remedy="Name a datetime or a number.",
        )
    return named, time


def _split(split: Split | None, windows: Windows) -> Split | None:
    """A split that keeps windows that overlap in one part."""
    if not windows.horizon or isinstance(split, GroupSplit):
        return split
    if split is None:
        return TimeSplit(column=windows.time)
    if not isinstance(split, TimeSplit):
        raise InvalidPlan(
            f"A {split.kind} split would train on values that are then tested: windows overlap.",
            where={"path": "split.kind"},
            remedy="Use time, or group to hold out whole series.",
        )
    if split.column not in (None, windows.time):
        raise InvalidPlan(
            "Windows are split by the time that orders their steps.",
            where={"path": "split.column"},
            remedy=f"Leave it out, or name {windows.time!r}.",
        )
    return split.model_copy(update={"column": windows.time})


def _require_forecast(plan: Plan, schema: Schema, windows: Windows, target: str) -> None:
    if not windows.horizon:
        return
    if plan.task == "classification" or schema[target].kind not in _CHANNELS:
        raise InvalidPlan(
            f"With a horizon the next values of {target!r} are forecast: they must be numbers.",
            where={"path": "data.windows.horizon"},
            remedy="Use horizon 0 to predict one value or class of each sequence.",
        )


def _require_channel(column: Column) -> None:
    if column.kind not in _CHANNELS:
        raise InvalidPlan(
            f"The column {column.name!r} is {column.kind}; the steps of a sequence are numbers.",
            where={"path": f"data.roles.{column.name}"},
            remedy="Give it the role ignore, or register it as numbers.",
        )


def _first(schema: Schema, role: Role) -> str | None:
    return next((column.name for column in schema.having(role)), None)


def _missing(key: str, what: str, role: Role) -> InvalidPlan:
    return InvalidPlan(
        f"Windows need a column {what}.",
        where={"path": f"data.windows.{key}"},
        remedy=f"Name one, or give a column the role {role}.",
    )
