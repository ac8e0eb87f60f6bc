"""The space of a search: how its values get into a plan, and whether the plan takes them."""

import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any

from pellucid.errors import InvalidPlan
from pellucid.plan import Choice, Plan, Search, resolve
from pellucid.schema import Schema

Values = Mapping[str, Any]  # path in the plan -> value

_FIXED = (
    "name", "data", "target", "task", "positive_class", "modality", "split", "cross_validation",
    "search", "evaluation", "explanation", "gates", "training.seed",
)  # fmt: skip
_SCORES = {"classification": ("accuracy", "roc_auc"), "regression": ("rmse",)}
_JOINT = 24  # random points of the whole space that are tried before a search is taken


def trial_plan(given: Mapping[str, Any], values: Values, schema: Schema) -> Plan:
    """The resolved plan of a trial.

    Args:
        given: the plan with its search, as it was submitted: only what it sets.
        values: what the trial tries.
        schema: of the data version.

    Raises:
        InvalidPlan: the plan does not take the values.
    """
    base = {key: part for key, part in given.items() if key != "search"}
    return resolve(Plan.parse(_with_values(base, values, schema)), schema)[0]


def check(given: Mapping[str, Any], search: Search, schema: Schema) -> None:
    """Make sure that the plan takes every limit and every choice, and a sample of all together.

    Raises:
        InvalidPlan: it does not; `where["path"]` is the entry of the space.
    """
    for path in search.space:
        _check_comparable(path, search)
    first = trial_plan({k: v for k, v in given.items() if k != "search"}, {}, schema)
    _check_metric(search, first.task)
    for path, values in _points(search):
        try:
            trial_plan(given, values, schema)
        except InvalidPlan as error:
            tried = ", ".join(f"{key} = {value!r}" for key, value in values.items())
            raise InvalidPlan(
                f"The plan does not take {tried}: {error.message}",
                where={"path": f"search.space.{path}" if path else "search.space"},
                remedy=error.remedy,
            ) from error


def _check_comparable(path: str, search: Search) -> None:
    if path in _FIXED or path.split(".")[0] in _FIXED:
        raise InvalidPlan(
            f"A search cannot vary {path}: its trials could not be compared.",
            where={"path": f"search.space.{path}"},
        )
    if path.split(".")[0] == "loss" and (best_of(search) == "loss" or search.pruner != "none"):
        raise InvalidPlan(
            "Trials with different losses cannot be compared by the loss.",
            where={"path": f"search.space.{path}"},
            remedy="Set search.metric to a score, and search.pruner to none.",
        )


def _check_metric(search: Search, task: str) -> None:
    scores = ("loss", *_SCORES[task])
    if search.metric is not None and search.metric not in scores:
        raise InvalidPlan(
            f"There is no validation score {search.metric!r} of a {task}.",
            where={"path": "search.metric"},
            remedy=f"Use one of: {', '.join(scores)}.",
        )


def _points(search: Search) -> Iterator[tuple[str, Values]]:
    """Limits and choices one by one, the others at their first; then points of the whole space."""
    edges = {
        path: entry.values if isinstance(entry, Choice) else entry.bounds
        for path, entry in search.space.items()
    }
    first = {path: values[0] for path, values in edges.items()}
    for path, values in edges.items():
        for value in values:
            yield path, first | {path: value}
    draw = random.Random(0)
    for _ in range(_JOINT if len(edges) > 1 else 0):
        yield "", {path: draw.choice(values) for path, values in edges.items()}


def _with_values(base: Mapping[str, Any], values: Values, schema: Schema) -> dict[str, Any]:
    """The plan with the values at their paths; a part that it leaves out gets its usual kind."""
    plan = copy.deepcopy(dict(base))
    for path in sorted(values, key=lambda path: (not path.endswith(".kind"), path)):
        part: Any = plan
        *parents, key = path.split(".")
        for depth, name in enumerate(parents):
            if not isinstance(part.get(name), dict):
                kind = None if key == "kind" else _kind(plan, parents[: depth + 1], schema)
                part[name] = {} if kind is None else {"kind": kind}
            part = part[name]
        part[key] = copy.deepcopy(values[path])
    return plan


def _kind(plan: Mapping[str, Any], path: list[str], schema: Schema) -> Any:
    """The kind that a part has where the plan does not say; None for a part without kinds."""
    part: Any = resolve(Plan.parse(dict(plan)), schema)[0].model_dump(mode="json")
    for name in path:
        part = part.get(name) if isinstance(part, dict) else None
    return part.get("kind") if isinstance(part, dict) else None


def best_of(search: Search) -> str:
    """The key of a trial's validation result that the search is for."""
    return search.metric or "loss"
