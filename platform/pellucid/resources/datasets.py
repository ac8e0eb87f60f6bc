"""Data set versions: what they hold, where they came from, what was made of them."""

from datetime import datetime

from pydantic import Field

from pellucid.resources.base import Resource
from pellucid.schema import Kind, Role, Schema, StorageType


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
