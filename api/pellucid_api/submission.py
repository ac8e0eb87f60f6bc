"""From a submitted plan to a queued job: everything that can be wrong with it is found here."""

import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pellucid.datasets.targets import check_target
from pellucid.errors import InvalidData, InvalidPlan, NotFound
from pellucid.plan import Plan, resolve
from pellucid.resources.datasets import Dataset
from pellucid.resources.jobs import Job
from pellucid.search.space import check
from pellucid_api.services import Services


def submit(services: Services, value: Any, idempotency_key: str | None) -> Job:
    """Queue the plan that a mapping describes, checked against its data.

    Raises:
        InvalidPlan: a key, a column, the task or a class is wrong.
        InvalidData: the target's values allow no training.
        IdempotencyConflict: the key came before, with another plan.
    """
    plan = Plan.parse(value)
    dataset = dataset_of(services, plan.data.dataset, "data.dataset")
    resolved = _pinned(services, _resolved(services, plan, dataset))
    _check_target(services, dataset, resolved)
    kept = resolved.model_dump(mode="json")
    if resolved.search is not None:
        kept = _open(plan, resolved)
        check(kept, resolved.search, dataset.data_schema)
    job, _ = services.queue.submit(
        kept,
        name=resolved.name,
        kind="training" if resolved.search is None else "search",
        data_version=dataset.sha256,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint(value),
    )
    return job


def dataset_of(services: Services, reference: str, path: str) -> Dataset:
    """The data set version that a request names at this path. Raises `InvalidPlan`."""
    try:
        return services.datasets.get(reference)
    except NotFound as error:
        raise InvalidPlan(error.message, where={"path": path}, remedy=error.remedy) from error


def _resolved(services: Services, plan: Plan, dataset: Dataset) -> Plan:
    """The plan with every default, naming the very version that it will be trained on."""
    first, _ = resolve(plan, dataset.data_schema)  # which column is the target
    profile = services.datasets.profile(dataset.sha256)
    classes = next(column.distinct for column in profile if column.name == first.target)
    resolved, _ = resolve(plan, dataset.data_schema, classes)
    data = resolved.data.model_copy(update={"dataset": f"{dataset.name}@{dataset.version}"})
    return resolved.model_copy(update={"data": data})


def _pinned(services: Services, plan: Plan) -> Plan:
    """The plan with the version to start from by its number: an alias may move."""
    transfer = plan.transfer
    if transfer is None:
        return plan
    try:
        number = transfer.number or aliased(services, transfer.name, str(transfer.alias))
        services.registry.version(transfer.name, number)
    except NotFound as error:
        raise InvalidPlan(
            f"There is no registered version {transfer.version}.",
            where={"path": "transfer.version"},
            remedy="`pellucid models list` shows models, their versions and aliases.",
        ) from error
    pinned = transfer.model_copy(update={"version": f"models:/{transfer.name}/{number}"})
    return plan.model_copy(update={"transfer": pinned})


def _open(given: Plan, resolved: Plan) -> dict[str, Any]:
    """The plan of a search: what was given, so that defaults follow what each trial chooses.

    Only what no trial changes, and what an alias or newer data could change, is settled.
    """
    settled = ("data", "target", "task", "transfer", "search")
    whole = resolved.model_dump(mode="json")
    return given.model_dump(mode="json", exclude_unset=True) | {key: whole[key] for key in settled}


def aliased(services: Services, name: str, alias: str) -> int:
    """The version that an alias points to. Raises `NotFound`."""
    aliases = services.registry.model(name).aliases
    if alias not in aliases:
        raise NotFound(
            f"The model {name!r} has no alias {alias!r}.",
            where={"model": name},
            remedy=f"It has: {', '.join(aliases) or 'none'}. Or name a version.",
        )
    return aliases[alias]


def _check_target(services: Services, dataset: Dataset, plan: Plan) -> None:
    name = str(plan.target)
    column = services.datasets.column(dataset.sha256, name)
    if plan.data.windows is not None:
        column = column.drop_null()  # not every step of a long table needs one
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


def fingerprint(value: Any) -> str:
    """Of a request: what an Idempotency-Key stands for."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
