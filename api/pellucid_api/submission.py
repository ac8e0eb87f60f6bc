"""From a submitted plan to a queued job: everything that can be wrong with it is found here."""

import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pellucid.datasets.targets import check_target
from pellucid.errors import InvalidData, InvalidPlan, NotFound
from pellucid.plan import Plan, resolve
from pellucid.resources import Dataset, Job
from pellucid_api.services import Services


def submit(services: Services, value: Any, idempotency_key: str | None) -> Job:
    """Queue the plan that a mapping describes, checked against its data.

    Raises:
        InvalidPlan: a key, a column, the task or a class is wrong.
        InvalidData: the target's values allow no training.
        IdempotencyConflict: the key came before, with another plan.
    """
    plan = Plan.parse(value)
    dataset = _dataset(services, plan)
    resolved = _resolved(services, plan, dataset)
    _check_target(services, dataset, resolved)
    job, _ = services.queue.submit(
        resolved.model_dump(mode="json"),
        name=resolved.name,
        data_version=dataset.sha256,
        idempotency_key=idempotency_key,
        fingerprint=_fingerprint(value),
    )
    return job


def _dataset(services: Services, plan: Plan) -> Dataset:
    try:
        return services.datasets.get(plan.data.dataset)
    except NotFound as error:
        raise InvalidPlan(
            error.message, where={"path": "data.dataset"}, remedy=error.remedy
        ) from error


def _resolved(services: Services, plan: Plan, dataset: Dataset) -> Plan:
    """The plan with every default, naming the very version that it will be trained on."""
    first, _ = resolve(plan, dataset.data_schema)  # which column is the target
    profile = services.datasets.profile(dataset.sha256)
    classes = next(column.distinct for column in profile if column.name == first.target)
    resolved, _ = resolve(plan, dataset.data_schema, classes)
    data = resolved.data.model_copy(update={"dataset": f"{dataset.name}@{dataset.version}"})
    return resolved.model_copy(update={"data": data})


def _check_target(services: Services, dataset: Dataset, plan: Plan) -> None:
    name = str(plan.target)
    column = services.datasets.column(dataset.sha256, name)
    try:
        check_target(column, plan.task, name=name)
    except InvalidData as error:
        where = {"path": "target", "dataset": f"{dataset.name}@{dataset.version}"}
        raise InvalidData(error.message, where=where | error.where, remedy=error.remedy) from error
    if plan.positive_class is not None:
        _check_positive_class(column, plan)


def _check_positive_class(column: pa.ChunkedArray, plan: Plan) -> None:
    where = {"path": "positive_class"}
    if plan.task == "regression":
        raise InvalidPlan(
            "positive_class is for classification; this is a regression.",
            where=where,
            remedy="Leave it out.",
        )
    values = sorted(pc.unique(column).to_pylist())
    classes = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    if len(classes) != 2 or plan.positive_class not in classes:
        raise InvalidPlan(
            f"positive_class {plan.positive_class!r} is not one of two classes.",
            where=where,
            remedy=f"The classes of {plan.target!r} are: {', '.join(classes[:20])}.",
        )


def _fingerprint(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
