"""Predictions that were answered, from the prediction log."""

import base64
import time
import uuid
from typing import Annotated, Any

from fastapi import Path

from pellucid.errors import NotFound, PellucidError
from pellucid.monitoring import ids
from pellucid.monitoring.log import Logged, PredictionLog
from pellucid.resources.predictions import LoggedPrediction
from pellucid_api.deps import Held
from pellucid_api.services import Services

PredictionId = Annotated[str, Path(description="As it came with the prediction.")]
_FRESH_SECONDS = 10.0  # a younger prediction may still be in the recorder's queue


def show(services: Held, prediction_id: PredictionId) -> LoggedPrediction:
    """Show a prediction: what came in and went out, what is said to be true of it, and its origin.

    The origin is the version, its run, its job and its data.
    """
    prediction = ids.parse(prediction_id)
    found = _find(services, prediction)
    groups = ("inputs", "outputs", "sensitive")
    values = vars(found) | {name: _plain(getattr(found, name)) for name in groups}
    labels = services.feedback.told(found.model, prediction).to_pylist()
    return LoggedPrediction(**values, labels=labels, **_origin(services, found))


def _find(services: Services, prediction: uuid.UUID) -> Logged:
    log = PredictionLog(services.prediction_log)
    found = log.find(prediction)
    fresh = time.time() - ids.seconds_of(prediction) < _FRESH_SECONDS
    if found is None and fresh and services.recorder is not None:
        services.siblings.flush()
        found = log.find(prediction)
    if found is None:
        raise NotFound(
            f"There is no prediction {prediction} in the log.",
            where={"id": str(prediction)},
            remedy="It is older than predictions are kept, was not in its model's sample, or was "
            "made while the log was off.",
        )
    return found


def _origin(services: Services, found: Logged) -> dict[str, str | None]:
    """Where the version came from; None of what is not known now."""
    origin: dict[str, str | None] = {"run_id": None, "job_id": None, "data_version": None}
    try:
        origin["run_id"] = services.registry.version(found.model, found.version).run_id
        manifest = services.pool.bundle(found.model, found.version).manifest
    except PellucidError:  # the version was deleted, or the registry does not answer
        return origin
    return origin | {"job_id": manifest.job_id, "data_version": manifest.data_version}


def _plain(value: Any) -> Any:
    """Arrow's values as JSON has them: bytes in base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
