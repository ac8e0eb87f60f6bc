"""Data sets: uploads and what is known of them."""

import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from pellucid.errors import InvalidInput, NotFound
from pellucid.resources.base import Page
from pellucid.resources.datasets import ColumnProfile, Dataset, Lineage
from pellucid.resources.jobs import Job
from pellucid.schema import Constraint, Role, StorageType
from pellucid_api.bodies import json_field
from pellucid_api.deps import Cursor, Held, Limit, Reference
from pellucid_api.services import Services
from pellucid_api.uploads import Upload, raise_if_full, receive_upload

UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "CSV, Parquet, JSON lines, a NumPy archive (.npz), "
                            "or a zip of images in a folder for each class.",
                        },
                        "name": {
                            "type": "string",
                            "description": "Default: the file's name without its ending.",
                        },
                        "types": {
                            "type": "string",
                            "description": "JSON: column to int64, float64, bool, timestamp[us] "
                            "or string, where the inferred type is not the wanted one. Images "
                            "and lists are what the file says.",
                            "examples": ['{"zip": "string"}'],
                        },
                        "roles": {
                            "type": "string",
                            "description": "JSON: column to feature, target, sensitive, ignore, "
                            "id, time or weight.",
                            "examples": ['{"bad": "target", "sex": "sensitive"}'],
                        },
                        "constraints": {
                            "type": "string",
                            "description": "JSON: column to what counterfactuals may make of it: "
                            "change (free, never, increase, decrease), low, high.",
                            "examples": ['{"age": {"change": "never"}, "amount": {"low": 250}}'],
                        },
                        "parent": {
                            "type": "string",
                            "description": "The version that this one was made from.",
                        },
                    },
                }
            }
        },
    }
}
_Types = TypeAdapter(dict[str, StorageType])
_Roles = TypeAdapter(dict[str, Role])
_Constraints = TypeAdapter(dict[str, Constraint])


async def upload(request: Request, response: Response, services: Held) -> Dataset:
    """Upload a data set.

    The file is streamed to disk, read, checked and stored under the SHA-256 of its content. 201 is
    a new version; 200 means that the same content was known under this name already.
    """
    async with receive_upload(request, services.uploads, "file") as form:
        dataset, created = await run_in_threadpool(_add, services, form)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/datasets/{dataset.name}@{dataset.version}"
    return dataset


def list_datasets(
    services: Held,
    name: Annotated[str | None, Query(description="Only versions of this name.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Dataset]:
    """List data set versions, newest first."""
    return services.datasets.list(name=name, cursor=cursor, limit=limit)


def show(services: Held, reference: Reference) -> Dataset:
    """Show a data set version."""
    return services.datasets.get(reference)


def profile(services: Held, reference: Reference) -> list[ColumnProfile]:
    """Profile a data set by column.

    Missing and distinct values, quantiles, frequent values; lengths of strings and lists; sizes
    and formats of images.
    """
    return services.datasets.profile(reference)


def preview(
    services: Held, reference: Reference, rows: Annotated[int, Query(ge=1, le=1000)] = 20
) -> list[dict[str, Any]]:
    """Preview a data set's first rows; images by format and size, long lists cut short."""
    return services.datasets.preview(reference, rows)


def content(services: Held, reference: Reference) -> FileResponse:
    """Download a data set's content, as Parquet with the canonical types."""
    dataset = services.datasets.get(reference)
    path = services.datasets.path(dataset.sha256)
    if not path.is_file():
        raise NotFound(
            f"The content of {dataset.name}@{dataset.version} is not here.",
            where={"dataset": reference},
            remedy="Give every service the same PELLUCID_HOME, or register the file again.",
        )
    return FileResponse(
        path,
        media_type="application/vnd.apache.parquet",
        filename=f"{dataset.name}-{dataset.version}.parquet",
        headers={"ETag": f'"{dataset.sha256}"'},
    )


def lineage(services: Held, reference: Reference) -> Lineage:
    """Trace a data set: what it came from, and the jobs and models made of it."""
    dataset = services.datasets.get(reference)
    jobs = _jobs_on(services, dataset.sha256)
    return Lineage(
        dataset=dataset,
        ancestors=services.datasets.ancestors(dataset),
        descendants=services.datasets.descendants(dataset),
        jobs=[job.id for job in jobs],
        models=[f"{job.name}/{job.model_version}" for job in jobs if job.model_version],
    )


def _add(services: Services, form: Upload) -> tuple[Dataset, bool]:
    known = {"name", "types", "roles", "constraints", "parent"}
    if unknown := sorted(form.fields.keys() - known):
        raise InvalidInput(
            f"The form has a field {unknown[0]!r} that is not known.",
            where={"field": unknown[0]},
            remedy=f"The fields are: file, {', '.join(sorted(known))}.",
        )
    try:
        return services.datasets.add(
            form.path,
            name=form.fields.get("name") or _name_of(form.filename),
            filename=form.filename,
            types=_checked(_Types, form, "types"),
            roles=_checked(_Roles, form, "roles"),
            constraints=_checked(_Constraints, form, "constraints"),
            parent=form.fields.get("parent") or None,
        )
    except OSError as error:
        raise_if_full(error)
        raise


def _checked(adapter: TypeAdapter[dict[str, Any]], form: Upload, name: str) -> dict[str, Any]:
    value = json_field(form.fields.get(name, ""), name)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        column = str(first["loc"][0])
        raise InvalidInput(
            f"{name}: column {column!r}: {first['msg']} (got {first['input']!r}).",
            where={"field": name, "column": column},
        ) from error


def _name_of(filename: str) -> str:
    """A name made of the file's own: german credit.csv.gz becomes german_credit."""
    stem = Path(filename).name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "data"


def _jobs_on(services: Services, data_version: str) -> list[Job]:
    jobs: list[Job] = []
    cursor = None
    while True:
        page = services.queue.list(data_version=data_version, cursor=cursor, limit=500)
        jobs += page.items
        cursor = page.next_cursor
        if cursor is None:
            return jobs
