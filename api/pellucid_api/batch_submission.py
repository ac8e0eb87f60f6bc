"""From a model and a data set version to a queued job that takes the one over the other."""

from pydantic import BaseModel, ConfigDict, Field

from pellucid.bundle import EXPLAINER, Manifest
from pellucid.errors import InvalidInput
from pellucid.parts import divide
from pellucid.plan import NAME_PATTERN
from pellucid.plan.batch import BatchPlan, ExplanationPlan, ScoringPlan
from pellucid.resources.datasets import Dataset
from pellucid.resources.jobs import ExplanationMethod, Job, JobKind
from pellucid.tracking.contract import CHAMPION
from pellucid_api.engine.rows import check_names
from pellucid_api.engine.tables import spreads
from pellucid_api.services import Services
from pellucid_api.submission import aliased, dataset_of, fingerprint


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(
        description="`credit` (the newest), `credit@3`, or a SHA-256.", examples=["credit@3"]
    )
    version: int | None = Field(default=None, ge=1, description="Of the model.", examples=[2])
    alias: str | None = Field(
        default=None, description="In place of the version; looked up once, now. Default: champion."
    )


class WantedScoring(_Wanted):
    """What is to be scored, and with which version of the model."""

    keep: list[str] | None = Field(
        default=None,
        description="Columns beside the predictions. Default: all that are no input of the model.",
        examples=[["customer"]],
    )
    register_as: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        description="The predictions become a version of this data set.",
        examples=["credit-scored"],
    )


class WantedExplanation(_Wanted):
    """What is to be explained, of which version of the model, and how."""

    method: ExplanationMethod = Field(
        default="auto",
        description="graph: the bundle's explain.onnx. permutation: shap's PermutationExplainer "
        "over the model, far slower. auto: the graph, and for rows whose values miss the "
        "prediction by more than the tolerance more steps, then permutation.",
    )
    rows: int | None = Field(
        default=None, ge=1, description="Of a random sample. Default: all.", examples=[10_000]
    )
    permutations: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="There and back, of the method permutation. More of them: less chance.",
    )
    keep: list[str] | None = Field(
        default=None,
        description="Columns beside the SHAP values. Default: all.",
        examples=[["customer"]],
    )
    register_as: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        description="The SHAP values become a version of this data set.",
        examples=["credit-explained"],
    )


def submit_scoring(services: Services, model: str, wanted: WantedScoring, key: str | None) -> Job:
    """Queue the scoring of a data set version, its columns checked against the model's inputs.

    Args:
        services: of the process.
        model: its name.
        wanted: the request.
        key: `Idempotency-Key`.

    Raises:
        NotFound: there is no such model, version or alias.
        InvalidPlan: there is no such data set.
        InvalidInput: both a version and an alias are named.
        InvalidRows: a column is missing.
        IdempotencyConflict: the key came before, with another request.
    """
    version, dataset, manifest = _looked_up(services, model, wanted)
    plan = ScoringPlan(
        model=model,
        version=version,
        dataset=f"{dataset.name}@{dataset.version}",
        keep=_kept(dataset, manifest, wanted.keep),
        register_as=wanted.register_as,
    )
    return _queued(services, plan, "scoring", dataset, wanted, key)


def submit_explanation(
    services: Services, model: str, wanted: WantedExplanation, key: str | None
) -> Job:
    """Queue the explanation of a data set version, checked as a scoring is.

    Raises:
        InvalidInput: also, the version has no explainer.
        PellucidError: as `submit_scoring` does.
    """
    version, dataset, manifest = _looked_up(services, model, wanted)
    if manifest.explanation is None:
        raise InvalidInput(
            f"Version {version} of {model!r} cannot be explained: its bundle has no {EXPLAINER}.",
            where={"model": model, "version": version},
            remedy="Train it again; models that were made elsewhere cannot be explained.",
        )
    keep = list(dataset.data_schema.names) if wanted.keep is None else wanted.keep
    plan = ExplanationPlan(
        model=model,
        version=version,
        dataset=f"{dataset.name}@{dataset.version}",
        keep=_kept(dataset, manifest, keep),
        register_as=wanted.register_as,
        method=wanted.method,
        rows=wanted.rows,
        permutations=wanted.permutations,
    )
    return _queued(services, plan, "explanation", dataset, wanted, key)


def _looked_up(services: Services, model: str, wanted: _Wanted) -> tuple[int, Dataset, Manifest]:
    if wanted.version is not None and wanted.alias is not None:
        raise InvalidInput("Both a version and an alias are named.", remedy="Name one of them.")
    version = wanted.version or aliased(services, model, wanted.alias or CHAMPION)
    dataset = dataset_of(services, wanted.dataset, "dataset")
    return version, dataset, services.pool.bundle(model, version).manifest


def _kept(dataset: Dataset, manifest: Manifest, keep: list[str] | None) -> tuple[str, ...]:
    """The columns beside the answers, once the model's own are seen to be there."""
    names = [each.name for each in manifest.inputs]
    sent, kept = divide(dataset.data_schema.names, names, keep)
    if not spreads(sent, manifest.inputs):
        check_names(sent, manifest.inputs)
    return tuple(kept)


def _queued(
    services: Services,
    plan: BatchPlan,
    kind: JobKind,
    dataset: Dataset,
    wanted: _Wanted,
    key: str | None,
) -> Job:
    job, _ = services.queue.submit(
        plan.model_dump(mode="json"),
        name=plan.model,
        kind=kind,
        data_version=dataset.sha256,
        idempotency_key=key,
        fingerprint=fingerprint({"model": plan.model} | wanted.model_dump(mode="json")),
    )
    return job
