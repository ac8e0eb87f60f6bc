"""Every route of the service, in one place."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse

from pellucid.resources.explanations import ExplainedPredictions
from pellucid.resources.jobs import Job
from pellucid.resources.predictions import Predictions
from pellucid_api.oip.types import InferenceResponse
from pellucid_api.problems import OipError, documented
from pellucid_api.routers import (
    alerts,
    counterfactuals,
    datasets,
    events,
    explain,
    feedback,
    health,
    invocations,
    jobs,
    metrics,
    models,
    monitoring,
    oip,
    predict,
    predictions,
    schemas,
    traffic,
)

TAGS = [
    {"name": "Data sets", "description": "Immutable versions, named by their content."},
    {"name": "Jobs", "description": "A plan in, a registered model or a file of answers out."},
    {"name": "Models", "description": "Registered versions, and which of them is served."},
    {"name": "Predictions", "description": "Plain rows in, labels and probabilities out."},
    {"name": "Monitoring", "description": "Drift, performance and bias, window by window."},
    {"name": "Alerts", "description": "What the monitor has found, and who looks after it."},
    {"name": "MLflow", "description": "In the place of `mlflow models serve`."},
    {"name": "Open Inference Protocol", "description": "Version 2 over REST, in JSON or binary."},
    {"name": "Health", "description": "For orchestrators and people; needs no key."},
    {"name": "Metrics", "description": "What the models and the service have done."},
]


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    endpoint: Any
    errors: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def _route(method: str, path: str, endpoint: Any, *errors: int, **options: Any) -> Route:
    return Route(method, path, endpoint, errors, options)


_dataset, _job, _model = "/v1/datasets/{reference}", "/v1/jobs/{job_id}", "/v1/models/{name}"
_version, _invoke = _model + "/versions/{version}", _model + "/invocations"
_v2, _v2_version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
_repository = "/v2/repository/models/{name}"
_created, _accepted, _no_content = ({"status_code": code} for code in (201, 202, 204))
_form, _plan = {"openapi_extra": datasets.UPLOAD_FORM}, {"openapi_extra": jobs.PLAN_BODY}
_explained = {"openapi_extra": explain.BODY, "responses": {200: {"model": ExplainedPredictions}}}
_rows, _tensors = {"openapi_extra": predict.ROWS_BODY}, {"openapi_extra": oip.INFER_BODY}
_only_given = {"response_model_exclude_unset": True}
_parameters = {"openapi_extra": oip.REPOSITORY_BODY}
_scoring, _scored = (400, 404, 413, 415, 503), {"openapi_extra": invocations.BODY}
_predictions = {"responses": {200: {"model": Predictions | ExplainedPredictions}}}
_inference = {"responses": {200: {"model": InferenceResponse}}}

ROUTES: dict[str, tuple[Route, ...]] = {
    "Data sets": (
        _route("POST", "/v1/datasets", datasets.upload, 413, 415, 422, 507, **_created, **_form),
        _route("GET", "/v1/datasets", datasets.list_datasets, 422),
        _route("GET", _dataset, datasets.show, 404),
        _route("GET", _dataset + "/profile", datasets.profile, 404),
        _route("GET", _dataset + "/preview", datasets.preview, 404, 422),
        _route("GET", _dataset + "/content", datasets.content, 404),
        _route("GET", _dataset + "/lineage", datasets.lineage, 404),
    ),
    "Jobs": (
        _route("POST", "/v1/jobs", jobs.submit, 413, 415, 422, **_accepted, **_plan),
        _route("GET", "/v1/jobs", jobs.list_jobs, 422),
        _route("GET", _job, jobs.show, 404, responses={200: {"model": Job}, 304: {}}),
        _route("POST", _job + "/cancel", jobs.cancel, 404, **_accepted),
        _route("POST", _job + "/retry", jobs.retry, 404, 409, **_accepted),
        _route("GET", _job + "/events", events.events, 404, response_class=EventSourceResponse),
        _route("GET", _job + "/trials", jobs.trials, 404, 422),
        _route("POST", _model + "/scorings", jobs.submit_scoring, 404, 422, 503, **_accepted),
        _route("GET", _job + "/predictions", jobs.predictions, 404, 409),
        _route(
            "POST", _model + "/explanations", jobs.submit_explanation, 404, 422, 503, **_accepted
        ),
        _route("GET", _job + "/explanations", jobs.explanations, 404, 409),
        _route("GET", _job + "/logs", events.logs, 404, response_class=events.LogResponse),
        _route("GET", "/v1/schemas/plan", schemas.plan),
    ),
    "Models": (
        _route("GET", "/v1/models", models.list_models, 503),
        _route("GET", _model, models.show, 404, 503),
        _route("GET", _version, models.show_version, 404, 503),
        _route("GET", _model + "/card", models.card, 404, 503, response_class=models.CardResponse),
        _route("PUT", _model + "/aliases/{alias}", models.set_alias, 404, 422, 503),
        _route("DELETE", _model + "/aliases/{alias}", models.delete_alias, 404, 503, **_no_content),
        _route("POST", _model + "/promote", models.promote, 404, 409, 422, 503),
        _route("POST", _model + "/rollback", models.rollback, 404, 409, 503),
        _route("GET", _model + "/traffic", traffic.show, 404, 503),
        _route("PUT", _model + "/traffic", traffic.set_rules, 404, 409, 422, 503),
        _route("DELETE", _model + "/traffic", traffic.abort, 404, 503),
        _route("GET", _model + "/comparison", traffic.comparison, 404, 503),
    ),
    "Predictions": (
        _route(
            "POST", _model + "/predict", predict.predict,
            404, 409, 413, 415, 422, 503, **_rows, **_predictions,
        ),
        _route(
            "POST", _version + "/predict", predict.predict_with_version,
            404, 409, 413, 415, 422, 503, **_rows, **_predictions,
        ),
        _route(
            "POST", _model + "/explain", explain.explain,
            404, 409, 413, 415, 422, 503, **_explained,
        ),
        _route(
            "POST", _version + "/explain", explain.explain_with_version,
            404, 409, 413, 415, 422, 503, **_explained,
        ),
        _route(
            "POST", _model + "/counterfactuals", counterfactuals.find,
            404, 409, 413, 422, 503, **_only_given,
        ),
        _route(
            "POST", _version + "/counterfactuals", counterfactuals.find_with_version,
            404, 409, 413, 422, 503, **_only_given,
        ),
        _route("GET", "/v1/predictions/{prediction_id}", predictions.show, 404, 422),
        _route(
            "POST", "/v1/feedback", feedback.give, 413, 415, 422, 503, 507,
            openapi_extra=feedback.BODY,
        ),
    ),
    "Monitoring": (
        _route("GET", _model + "/monitoring", monitoring.show, 404, 422, 503),
        _route(
            "GET", _model + "/monitoring/report", monitoring.report, 404, 422,
            response_class=monitoring.ReportResponse,
        ),
    ),
    "Alerts": (
        _route("GET", "/v1/alerts", alerts.list_alerts, 422),
        _route("GET", "/v1/alerts/{alert_id}", alerts.show, 404),
        _route("POST", "/v1/alerts/{alert_id}/acknowledge", alerts.acknowledge, 404, 409, 422),
        _route("GET", "/v1/silences", alerts.list_silences, 422),
        _route("POST", "/v1/silences", alerts.silence, 422, **_created),
        _route("DELETE", "/v1/silences/{silence_id}", alerts.lift, 404, 422),
        _route("GET", "/v1/alert-rules", alerts.rules),
        _route("PUT", "/v1/alert-rules", alerts.set_rules, 422),
    ),
    "MLflow": (
        _route("POST", "/invocations", invocations.invocations, *_scoring, **_scored),
        _route("POST", _invoke, invocations.model_invocations, *_scoring, **_scored),
        _route("GET", "/ping", invocations.ping),
        _route("GET", "/health", invocations.ping),
        _route("GET", "/version", invocations.version),
    ),
    "Open Inference Protocol": (
        _route("GET", "/v2", oip.server),
        _route("GET", "/v2/health/live", oip.live),
        _route("GET", "/v2/health/ready", oip.ready),
        _route("GET", "/v2/models/stats", oip.all_stats),
        _route("GET", _v2, oip.model, 404, 503),
        _route("GET", _v2_version, oip.model_version, 404, 503),
        _route("GET", _v2 + "/ready", oip.model_ready, 404, 503),
        _route("GET", _v2_version + "/ready", oip.version_ready, 404, 503),
        _route("GET", _v2 + "/config", oip.config, 404, 503),
        _route("GET", _v2_version + "/config", oip.version_config, 404, 503),
        _route("GET", _v2 + "/stats", oip.stats, 404, 503),
        _route("GET", _v2_version + "/stats", oip.version_stats, 404, 503),
        _route("POST", "/v2/repository/index", oip.index, 400, openapi_extra=oip.INDEX_BODY),
        _route("POST", _repository + "/load", oip.load, 400, 404, 503, **_parameters),
        _route("POST", _repository + "/unload", oip.unload, 400, 404, **_parameters),
        _route("POST", _v2 + "/infer", oip.infer, 400, 404, 413, 503, **_tensors, **_inference),
        _route(
            "POST", _v2_version + "/infer", oip.infer_with_version,
            400, 404, 413, 503, **_tensors, **_inference,
        ),
    ),
    "Health": (
        _route("GET", "/health/live", health.live),
        _route(
            "GET", "/health/ready", health.ready,
            responses={503: {"model": health.Readiness, "description": "Not ready, and why."}},
        ),
        _route("GET", "/v1/info", health.info),
    ),
    "Metrics": (
        _route("GET", "/metrics", metrics.metrics, response_class=metrics.ExpositionResponse),
        _route("GET", _model + "/stats", metrics.stats, 404, 503),
    ),
}  # fmt: skip


def add_routes(app: FastAPI) -> None:
    """Add every route to the application, documented with its errors."""
    for tag, routes in ROUTES.items():
        for route in routes:
            options = dict(route.options)
            responses = _errors(route) | options.pop("responses", {})
            app.add_api_route(
                route.path,
                route.endpoint,
                methods=[route.method],
                tags=[tag],
                summary=_summary(route.endpoint),
                responses=responses,
                **options,
            )


def _errors(route: Route) -> dict[int | str, dict[str, Any]]:
    if route.path.startswith("/v2"):
        return {status: {"model": OipError} for status in route.errors}
    return documented(*route.errors)


def _summary(endpoint: Any) -> str:
    first, _, _ = (endpoint.__doc__ or "").strip().partition("\n")
    return first.rstrip(".")
