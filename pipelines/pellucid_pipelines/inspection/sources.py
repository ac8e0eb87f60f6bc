"""Data for a look outside a job: a file, or a registered version."""

from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pellucid.client import Client
from pellucid.datasets.ingest import ingest
from pellucid.errors import NotFound
from pellucid.jobs.workspace import Request
from pellucid.plan import Plan
from pellucid.schema import Column, Role, Schema
from pellucid_pipelines import data, windows
from pellucid_pipelines.data import Data

_LARGEST_CELL = 2**26  # bytes; a user's own file on a user's own machine


class Source(NamedTuple):
    """A Parquet file, its schema, and how many classes the plan's target has, where known."""

    path: Path
    schema: Schema
    classes: int | None


def from_file(file: Path, spec: Plan, scratch: Path) -> Source:
    """A file of any format that can be registered. Raises `InvalidData` where it cannot."""
    path, spill = scratch / "data.parquet", scratch / "spill"
    spill.mkdir()
    found = ingest(
        file, path, file=file.name, scratch=spill, types={}, max_cell_bytes=_LARGEST_CELL
    )
    schema = Schema(
        columns=tuple(
            Column(name=name, type=kind, role=found.roles.get(name, Role.FEATURE))
            for name, kind in found.types.items()
        )
    )
    target = _target(spec, schema)
    classes = None
    if target is not None:
        classes = pc.count_distinct(pq.read_table(path, columns=[target])[target]).as_py()
    return Source(path, schema, classes)


def from_service(client: Client, spec: Plan, scratch: Path) -> Source:
    """The version that the plan names, downloaded. Raises `NotFound`."""
    reference = spec.data.dataset
    try:
        dataset = client.datasets.get(reference)
    except NotFound as error:
        error.remedy = error.remedy or "Register it, or name a file with --data."
        raise
    path = scratch / "data.parquet"
    client.datasets.download(reference, path)
    target = _target(spec, dataset.data_schema)
    distinct = {column.name: column.distinct for column in client.datasets.profile(reference)}
    return Source(path, dataset.data_schema, None if target is None else distinct.get(target))


def request_of(spec: Plan, schema: Schema, path: Path) -> Request:
    """What a job would be asked."""
    return Request(
        job_id="look",
        attempt=1,
        plan=spec.model_dump(mode="json"),
        data_schema=schema,
        data_version="look",
        data_path=str(path),
    )


def prepared(request: Request, spec: Plan) -> tuple[Data, Plan]:
    """The rows, cut and prepared as a job would; and the plan for them."""
    table = data.read(request, spec)
    table, schema, spec = windows.widen(table, request.data_schema, spec)
    return data.prepare(table, data.split(table, spec), schema, spec), spec


def _target(spec: Plan, schema: Schema) -> str | None:
    """The plan's target, where it is a column of the data; whether it must be, `resolve` says."""
    named = [c.name for c in schema.with_roles(spec.data.roles).columns if c.role is Role.TARGET]
    target = spec.target or (named[0] if len(named) == 1 else None)
    return target if target in schema.names else None
