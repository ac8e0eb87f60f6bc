"""The REST resources, as the service sends them and the client reads them."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pellucid.schema import Kind, Role, Schema, StorageType

Item = TypeVar("Item")
_MISSING = "Serving processes, from 0, that did not answer; their part is some seconds old."


class Resource(BaseModel):
    """A resource; keys that a newer server adds are ignored by an older client."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Page(Resource, Generic[Item]):
    """One page of a list. `next_cursor` asks for the next; None is the end."""

    items: list[Item]
    next_cursor: str | None = None


class TopValue(Resource):
    """A frequent value and its count."""

    value: str
    count: int


class Extent(Resource):
    """The range of a whole number: of pixels, characters, elements."""

    minimum: int
    median: float
    maximum: int


class ImageProfile(Resource):
    """What images a column holds, as their headers tell."""

    formats: dict[str, int] = Field(description="PNG, JPEG, ...: how many images.")
    height: Extent = Field(description="Pixels, as shown.")
    width: Extent = Field(description="Pixels, as shown.")
    bytes: Extent = Field(description="Of the encoded image.")


class ColumnProfile(Resource):
    """What a column holds. Numbers stand for datetimes as seconds since 1970-01-01 UTC.

    Of a list column, minimum to deviation are those of all elements.
    """

    name: str
    type: StorageType
    kind: Kind
    role: Role
    rows: int
    missing: int
    distinct: int  # exact
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    deviation: float | None = Field(default=None, description="Sample standard deviation.")
    quantiles: dict[str, float] = Field(default_factory=dict, description="0.01 ... 0.99")
    top: list[TopValue] = Field(default_factory=list, description="Most frequent values.")
    lengths: Extent | None = Field(
        default=None, description="Characters of strings, elements of lists."
    )
    images: ImageProfile | None = None
    warnings: list[str] = Field(default_factory=list, description="Constant, all missing, ...")


class Dataset(Resource):
    """A data set version: immutable content under a name and a number."""

    name: str
    version: int
    sha256: str = Field(description="Of the canonical content; names the version for ever.")
    rows: int
    bytes: int = Field(description="Size of the stored Parquet file.")
    data_schema: Schema
    source: str = Field(description="The file it was made from.")
    parent: str | None = Field(default=None, description="SHA-256 of the version it came from.")
    created_at: datetime


class Lineage(Resource):
    """Where a data set version came from and what was made of it."""

    dataset: Dataset
    ancestors: list[Dataset]
    descendants: list[Dataset]
    jobs: list[str]
    models: list[str] = Field(description="name/version of models trained on it.")


class JobStatus(StrEnum):
    """A job's state. `queued` and `running` go on; the others are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    PRUNED = "pruned"  # a trial that its search gave up

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


JobKind = Literal["training", "search", "scoring", "explanation"]
BATCH_KINDS: tuple[JobKind, ...] = ("scoring", "explanation")
"""Jobs that take a model over a data set: they measure nothing, and so have no run."""
ExplanationMethod = Literal["auto", "graph", "permutation"]


class Job(Resource):
    """A plan plus its lifecycle: of a training, a search, a scoring, or an explanation.

    A search has trials, which are jobs too.
    """

    id: str
    name: str = Field(description="The model's name in the plan.")
    status: JobStatus
    reason: str = Field(description="Why it is in this state, in a sentence.")
    plan: dict[str, Any] = Field(
        description="Resolved: every default filled in. Of a search: as given, on a fixed version. "
        "Of a scoring: model, version, dataset, keep, register_as; of an explanation also method, "
        "rows, permutations."
    )
    data_version: str
    attempt: int = Field(description="Attempts started so far.")
    max_attempts: int
    cancel_requested: bool
    kind: JobKind = "training"
    parent_id: str | None = Field(default=None, description="The search that a trial belongs to.")
    trial: int | None = Field(default=None, description="A trial's number, from 0.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="What the search chose for a trial: path -> value."
    )
    winner: str | None = Field(default=None, description="The job of a search's best trial.")
    worker: str | None = None
    run_id: str | None = Field(default=None, description="The MLflow run.")
    model_version: int | None = Field(default=None, description="The registered version.")
    progress: dict[str, Any] = Field(default_factory=dict, description="The newest progress event.")
    result: dict[str, Any] = Field(
        default_factory=dict,
        description="Test metrics and promotion. Of a scoring: rows, bytes, dataset; of an "
        "explanation also how many rows by which method, and the largest gap.",
    )
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Event(Resource):
    """Something that happened to a job. `seq` counts from 1 within the job.

    Kinds: state, stage, progress, environment, transfer, finding, trial, log, result.
    """

    seq: int
    time: datetime
    kind: str
    data: dict[str, Any]


class ModelSummary(Resource):
    """A registered model."""

    name: str
    aliases: dict[str, int]
    latest: int | None
    serving: list[int] = Field(default_factory=list, description="Versions loaded here, now.")


class ModelVersionDetail(Resource):
    """A version of a model, with what it takes and gives."""

    name: str
    version: int
    run_id: str
    created: str
    aliases: list[str]
    tags: dict[str, str]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    classes: list[int | str]
    metrics: dict[str, float]
    data_version: str
    job_id: str


class Quantiles(Resource):
    """Estimates from a histogram's buckets, in seconds."""

    p50: float
    p90: float
    p99: float


class VersionStatistics(Resource):
    """What a version has done since the service first loaded it."""

    version: int
    loaded: bool = Field(description="Whether a process has it in memory now.")
    since: datetime
    requests: int
    succeeded: int
    errors: dict[str, int] = Field(
        description="invalid: does not fit the model; failed: the model raised; refused: the queue "
        "was full; expired, dropped: the time was over, or the client gone, before its turn."
    )
    rows: int = Field(description="Answered.")
    runs: int = Field(description="Of the model, one batch each.")
    rows_per_run: float | None = Field(description="The mean batch.")
    latency: Quantiles | None = Field(description="From arrival to answer.")
    queue: Quantiles | None = Field(description="From arrival to run.")
    compute: Quantiles | None = Field(description="Of a run.")


class ModelStatistics(Resource):
    """What a model's versions have done."""

    model: str
    versions: list[VersionStatistics]
    missing: list[int] = Field(default_factory=list, description=_MISSING)


class Contender(Resource):
    """A version that competes with the champion, and its share of the requests."""

    version: int
    share: float = Field(description="From 0 to 1: answered by a challenger, seen by a shadow.")


class Traffic(Resource):
    """Who answers the requests that name no version of a model, and who sees copies of them."""

    model: str
    champion: int | None
    challenger: Contender | None = None
    shadow: Contender | None = None
    failures: dict[str, str] = Field(
        default_factory=dict, description="Why a role's version is not loaded here, by role."
    )


class Side(Resource):
    """What one of two versions has done since they were first compared."""

    version: int
    requests: int
    errors: int = Field(
        description="Requests that it could not answer. Of a challenger: those that the champion "
        "answered instead."
    )
    latency: Quantiles | None = Field(
        description="From arrival to answer. Of a shadow: to decode, wait and run."
    )


class Agreement(Resource):
    """How alike two versions are on the same rows."""

    rows: int
    equal_labels: float | None = Field(description="Share of rows; null without labels.")
    mean_difference: float | None = Field(
        description="Mean absolute difference of the numbers; probabilities matched by class."
    )
    largest_difference: float | None
    incomparable: int = Field(description="Rows whose outputs have nothing in common.")


class Significance(Resource):
    """A test of a difference: contender minus champion, with 95 % limits."""

    of: str = Field(description="What is compared.")
    test: str
    difference: float
    low: float
    high: float
    p_value: float
    significant: bool = Field(description="At the level 0.05.")


class Comparison(Resource):
    """A champion against one contender, since they first met."""

    role: str = Field(description="challenger or shadow.")
    share: float
    since: datetime
    champion: Side
    contender: Side
    copied: int = Field(description="Requests run by both.")
    dropped: int = Field(description="Copies given up, since requests were waiting.")
    agreement: Agreement
    tests: list[Significance]


class Achieved(Resource):
    """A score of a version, from labels: of the newest window that has some."""

    version: int
    metric: str
    value: float
    low: float | None = Field(description="95 % limits.")
    high: float | None
    start: datetime
    end: datetime


class Comparisons(Resource):
    """Who competes with a model's champion, and what that has shown so far."""

    model: str
    champion: int
    comparisons: list[Comparison]
    missing: list[int] = Field(default_factory=list, description=_MISSING)
    achieved: list[Achieved] = Field(default_factory=list, description="By the monitor.")
    labels: str = Field(description="What is known of the true outcomes.")


class Prediction(Resource):
    """One row's answer. Classification has a label and probabilities, regression a value.

    A forecast of several steps has a list of values. A model that was made elsewhere has its
    outputs, by name, as nested lists.
    """

    id: str
    label: int | str | None = None
    probabilities: dict[str, float] | None = None
    value: float | list[float] | None = None
    outputs: dict[str, Any] | None = None


class Predictions(Resource):
    """Answers in the order of the rows."""

    model: str
    version: int
    predictions: list[Prediction]


class Explained(Resource):
    """The number that an explanation is about."""

    output: str = Field(description="A class, or what a regression predicts.")
    value: float
    unit: str
    contrast: str | None = Field(default=None, description="The class that was subtracted.")


class Contribution(Resource):
    """What a raw column's value adds to the explained number."""

    column: str
    value: Any = Field(default=None, description="As it was sent; null of an image.")
    shap: float


class Others(Resource):
    """The columns that are not told one by one."""

    columns: int
    shap: float = Field(description="The sum of theirs.")


class Token(Resource):
    """A piece of a text, and its part in the explained number."""

    text: str
    start: int = Field(description="Its first character, from 0.")
    end: int = Field(description="One after its last.")
    shap: float


class Superpixels(Resource):
    """An image in parts."""

    segments: list[list[int]] = Field(description="Of each pixel the part that it belongs to.")
    shap: list[float] = Field(description="Of each part.")


class ExplainedPrediction(Resource):
    """One row's answer and its SHAP values: base + the sum over the columns is the explained value.

    Of a row that was compared to a reference, `base` is the reference's value.
    """

    id: str | None = Field(default=None, description="Of what was recorded as a prediction.")
    label: int | str | None = None
    probabilities: dict[str, float] | None = None
    value: float | list[float] | None = None
    explained: Explained
    base: float = Field(description="The mean explained value over the background rows.")
    contributions: list[Contribution] = Field(description="The largest first.")
    others: Others | None = None
    gap: float = Field(description="|base + the sum of all SHAP values - the explained value|.")
    within_tolerance: bool = Field(description="Of the gap.")
    method: str
    pixels: list[Any] | None = Field(
        default=None, description="Of images: (height, width), with frames in front."
    )
    superpixels: Superpixels | None = None
    steps: dict[str, list[float]] | None = Field(
        default=None, description="Of sequences: of each column the values of its steps."
    )
    tokens: list[Token] | None = Field(default=None, description="Of texts.")


class ExplainedPredictions(Resource):
    """Explained answers in the order of the rows, and how good such explanations are."""

    model: str
    version: int
    method: str = Field(description="deep, gradients, exact, or amortized.")
    unit: str = Field(description="Of all values: log-odds, score, or what a regression predicts.")
    background: int = Field(description="Rows that are compared to.")
    tolerance: float = Field(
        description="Of gaps, relative to how far explained values are from the base, on average."
    )
    quality: dict[str, float] = Field(description="Measured on held-out rows, at the training.")
    hint: str | None = Field(default=None, description="What to do about rows above the tolerance.")
    predictions: list[ExplainedPrediction]


class LoggedPrediction(Resource):
    """A prediction as it was recorded, and where its version came from.

    Missing values are null; redacted columns are not there. An image, or another array, is an
    object of datatype, shape and data: its bytes, little-endian and row-major, in base64.
    """

    id: str
    time: datetime = Field(description="When its request came.")
    model: str
    version: int
    latency_ms: float = Field(description="From the request's arrival to its answer.")
    inputs: dict[str, Any] = Field(description="By raw column.")
    outputs: dict[str, Any]
    sensitive: dict[str, Any] = Field(
        default_factory=dict, description="Columns that came with the row, not for the model."
    )
    run_id: str | None = Field(default=None, description="The version's MLflow run.")
    job_id: str | None = Field(default=None, description="The job that trained the version.")
    data_version: str | None = Field(
        default=None, description="SHA-256 of the data set that it was trained on."
    )


class Decision(Resource):
    """What a model says of a row: a label and probabilities, or a value."""

    label: int | str | None = None
    probabilities: dict[str, float] | None = None
    value: float | None = None


class Alteration(Resource):
    """A column's value, and what it becomes; null is missing."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, serialize_by_alias=True
    )

    column: str
    before: Any = Field(alias="from")
    after: Any = Field(alias="to")


class Counterfactual(Resource):
    """Changes of a row that bring about what is desired."""

    changes: list[Alteration]
    prediction: Decision = Field(description="For the changed row.")
    verified: bool = Field(description="The served model itself decided so.")
    distance: float = Field(
        description="The sum of the changes: of a number in units of its mean absolute deviation "
        "from the median, of anything else 1."
    )


class CounterfactualRow(Resource):
    """What was found for one row: few changed columns first, then small distances."""

    prediction: Decision = Field(description="For the row as it is.")
    counterfactuals: list[Counterfactual]
    reason: str = Field(description="Why there is none; empty if there is one.")
    binding: list[str] = Field(
        description="Where there is none: columns that may not change so far, or at all, and any "
        "one of which would have sufficed, with changes of others."
    )
    model_rows: int = Field(description="Rows that the model ran in the search.")


class Counterfactuals(Resource):
    """Counterfactual explanations in the order of the rows."""

    model: str
    version: int
    rows: list[CounterfactualRow]
