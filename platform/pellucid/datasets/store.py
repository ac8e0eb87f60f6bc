"""The store of data set versions: contents on disk, names and version numbers in the database."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pellucid.analysis.profiles import warnings_of
from pellucid.datasets.contents import Contents
from pellucid.datasets.ingest import Ingested, check_columns
from pellucid.db.session import Database
from pellucid.db.tables.datasets import DatasetRow
from pellucid.errors import InvalidData, InvalidInput, NotFound
from pellucid.plan import NAME_PATTERN
from pellucid.raw import images
from pellucid.resources.base import Page
from pellucid.resources.datasets import ColumnProfile, Dataset
from pellucid.schema import Column, Constraint, Role, Schema, StorageType

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERED = re.compile(r"(?P<name>[^@]+)@(?P<version>\d{1,9})")
_SHOWN_ELEMENTS = 32  # of a list
_ATTEMPTS = 20  # at numbering a version, while others number versions of the same name
_Choice = TypeVar("_Choice", bound=StrEnum)
_Datasets = list[Dataset]
_Rows = list[dict[str, Any]]


class DatasetStore:
    """Data set versions under a home directory, recorded in a database."""

    def __init__(self, home: Path, database: Database, max_cell_bytes: int = 2**20) -> None:
        self._contents = Contents(home / "datasets", max_cell_bytes)
        self._database = database

    def add(
        self,
        source: Path,
        *,
        name: str,
        filename: str | None = None,
        types: Mapping[str, StorageType] | None = None,
        roles: Mapping[str, Role] | None = None,
        constraints: Mapping[str, Constraint] | None = None,
        parent: str | None = None,
    ) -> tuple[Dataset, bool]:
        """Register a CSV, Parquet, JSON lines or .npz file, or a zip of images in class folders.

        Args:
            source: the file; it is only read.
            name: the data set's name; a new content becomes the name's next version.
            filename: what the user calls the file, in errors and as the version's source.
            types: types of columns, instead of the inferred ones.
            roles: roles of columns; the others are features.
            constraints: on what counterfactuals make of columns.
            parent: a reference to the version that this one was made from.

        Returns:
            The version, and whether it is new. The same content under the same name is the
            version that is there already, unless other roles or constraints are asked for.

        Raises:
            InvalidData: the name, a type, a role, a constraint or the content cannot be taken.
            NotFound: there is no such parent.
            StorageFull: no space was left; nothing was kept.
        """
        file = Path(filename or source.name).name
        _check_name(name)
        wanted = _choices(roles, Role, file, "roles")
        ancestor = self.get(parent).sha256 if parent else None
        ingested, schema = self._contents.take(
            source,
            file=file,
            types=_choices(types, StorageType, file, "types"),
            describe=lambda found: _schema(found, wanted, constraints or {}, file),
        )
        row = DatasetRow(
            name=name,
            sha256=ingested.sha256,
            rows=ingested.rows,
            bytes=self.path(ingested.sha256).stat().st_size,
            data_schema=schema.model_dump(mode="json", exclude_none=True),
            source=file,
            parent=ancestor,
        )
        return self._record(row, any_schema=not wanted and not constraints)

    def get(self, reference: str) -> Dataset:
        """The version that a reference names: `credit` (newest), `credit@3`, or a SHA-256.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as session:
            row = session.scalars(_newest_first(reference)).first()
            if row is None:
                raise _not_found(session, reference)
            return _dataset(row)

    def profile(self, reference: str) -> list[ColumnProfile]:
        """Every column's profile, with the version's roles, and warnings. Raises `NotFound`."""
        dataset = self.get(reference)
        profiles = []
        for profile in self._contents.profiles(dataset.sha256):
            role = dataset.data_schema[profile.name].role
            profile = profile.model_copy(update={"role": role})
            profiles.append(profile.model_copy(update={"warnings": warnings_of(profile)}))
        return profiles

    def preview(self, reference: str, rows: int = 20) -> _Rows:
        """The first rows, as JSON values. Raises `NotFound`.

        Datetimes are ISO 8601 texts; of an image there is its format and size, of a long list
        the first numbers and "...".
        """
        with pq.ParquetFile(self.path(self.get(reference).sha256)) as file:
            batch = next(file.iter_batches(batch_size=max(rows, 1)))[:rows]
        return [{key: _as_json(value) for key, value in row.items()} for row in batch.to_pylist()]

    def column(self, sha256: str, name: str) -> pa.ChunkedArray:
        """One column of a content, whole: a target, to check before a job is taken."""
        return pq.read_table(self.path(sha256), columns=[name]).column(name)

    def path(self, sha256: str) -> Path:
        """The canonical Parquet file of a content."""
        return self._contents.path(sha256)

    def ancestors(self, dataset: Dataset) -> _Datasets:
        """The versions that this one was made from, nearest first."""
        found: list[Dataset] = []
        seen = {dataset.sha256}
        while dataset.parent is not None and dataset.parent not in seen:
            dataset = self.get(dataset.parent)
            seen.add(dataset.sha256)
            found.append(dataset)
        return found

    def descendants(self, dataset: Dataset) -> _Datasets:
        """The versions made from this one, directly or not, nearest first."""
        found: list[Dataset] = []
        seen, nearest = {dataset.sha256}, [dataset.sha256]
        while nearest:
            query = select(DatasetRow).where(DatasetRow.parent.in_(nearest)).order_by(DatasetRow.id)
            with self._database.reading() as session:
                rows = [row for row in session.scalars(query) if row.sha256 not in seen]
            found += map(_dataset, rows)
            nearest = list(dict.fromkeys(row.sha256 for row in rows))
            seen |= set(nearest)
        return found

    def list(
        self, *, name: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Dataset]:
        """Versions, newest first: of one name, or of all.

        Raises:
            InvalidInput: the cursor is none of ours.
        """
        query = select(DatasetRow).order_by(DatasetRow.id.desc()).limit(limit + 1)
        if name is not None:
            query = query.where(DatasetRow.name == name)
        if cursor is not None:
            query = query.where(DatasetRow.id < _position(cursor))
        with self._database.reading() as session:
            rows = session.scalars(query).all()
        following = str(rows[limit - 1].id) if len(rows) > limit else None
        return Page(items=[_dataset(row) for row in rows[:limit]], next_cursor=following)

    def _record(self, row: DatasetRow, *, any_schema: bool) -> tuple[Dataset, bool]:
        """The version of this content under this name: the one that is there, or the next.

        Where writers do not queue up, two may go for the same number; the second starts over.
        The number is read before the contents: whoever misses a version that another is adding
        has then also missed its number, and will collide with it.
        """
        values = {key: getattr(row, key) for key in _COLUMNS}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._database.transaction() as session:
                    of_name = select(DatasetRow).where(DatasetRow.name == row.name)
                    newest = session.scalars(
                        of_name.order_by(DatasetRow.version.desc()).limit(1)
                    ).first()
                    known = of_name.where(DatasetRow.sha256 == row.sha256)
                    for other in session.scalars(known.order_by(DatasetRow.version.desc())):
                        if any_schema or other.data_schema == row.data_schema:
                            return _dataset(other), False
                    added = DatasetRow(**values, version=newest.version + 1 if newest else 1)
                    session.add(added)
                    session.flush()
                    return _dataset(added), True
            except IntegrityError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")


_COLUMNS = ("name", "sha256", "rows", "bytes", "data_schema", "source", "parent")


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        seen = images.inspect(value)
        return f"{seen.format}, {seen.height} x {seen.width} pixels, {len(value):,} bytes"
    if isinstance(value, list):
        return value if len(value) <= _SHOWN_ELEMENTS else [*value[:_SHOWN_ELEMENTS], "..."]
    return value.isoformat() if hasattr(value, "isoformat") else value


def _schema(
    ingested: Ingested,
    roles: Mapping[str, Role],
    constraints: Mapping[str, Constraint],
    file: str,
) -> Schema:
    """The columns that were read, with their roles and constraints. Raises `InvalidData`."""
    for key, given in (("roles", roles), ("constraints", constraints)):
        check_columns(given, list(ingested.types), file, key)
    roles = {**ingested.roles, **roles}
    schema = Schema(
        columns=tuple(
            Column(
                name=name,
                type=storage,
                role=roles.get(name, Role.FEATURE),
                constraint=constraints.get(name),
            )
            for name, storage in ingested.types.items()
        )
    )
    for column in schema.columns:
        misfit = column.constraint and column.constraint.misfit(column)
        if misfit:
            where = {"file": file, "column": column.name}
            raise InvalidData(misfit[0], where=where, remedy=misfit[1])
    return schema


def _dataset(row: DatasetRow) -> Dataset:
    return Dataset(
        name=row.name,
        version=row.version,
        sha256=row.sha256,
        rows=row.rows,
        bytes=row.bytes,
        data_schema=Schema.model_validate(row.data_schema),
        source=row.source,
        parent=row.parent,
        created_at=row.created_at,
    )


def _newest_first(reference: str) -> Select[DatasetRow]:
    query = select(DatasetRow)
    if _SHA256.fullmatch(reference):
        query = query.where(DatasetRow.sha256 == reference)
    elif numbered := _NUMBERED.fullmatch(reference):
        query = query.where(
            DatasetRow.name == numbered["name"], DatasetRow.version == int(numbered["version"])
        )
    else:
        query = query.where(DatasetRow.name == reference)
    return query.order_by(DatasetRow.id.desc()).limit(1)


def _not_found(session: Session, reference: str) -> NotFound:
    names = list(session.scalars(select(DatasetRow.name).distinct().order_by(DatasetRow.name)))
    name = reference.partition("@")[0]
    near = [name] if name in names else get_close_matches(name, names) or names[:10]
    newest = dict(
        session.execute(
            select(DatasetRow.name, func.max(DatasetRow.version))
            .where(DatasetRow.name.in_(near))
            .group_by(DatasetRow.name)
        ).all()
    )
    there = ", ".join(f"{name} (newest: {name}@{newest[name]})" for name in near)
    return NotFound(
        f"There is no data set {reference!r}.",
        where={"dataset": reference},
        remedy=f"There are: {there}." if near else "Register one: `pellucid data add FILE`.",
    )


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name) or _SHA256.fullmatch(name):
        raise InvalidData(
            f"{name!r} cannot name a data set.",
            where={"name": name},
            remedy="Use up to 100 letters, digits, '_', '-' and '.'; begin with a letter or digit.",
        )


def _choices(
    given: Mapping[str, Any] | None, kind: type[_Choice], file: str, key: str
) -> dict[str, _Choice]:
    chosen = {}
    for column, value in (given or {}).items():
        try:
            chosen[column] = kind(value)
        except ValueError as error:
            raise InvalidData(
                f"`{key}` gives {value!r} to the column {column!r}.",
                where={"file": file, "column": column},
                remedy=f"Use one of: {', '.join(kind)}.",
            ) from error
    return chosen


def _position(cursor: str) -> int:
    if not re.fullmatch(r"\d{1,18}", cursor):
        raise InvalidInput(
            f"{cursor!r} is not a cursor.", remedy="Take `next_cursor` from the page before."
        )
    return int(cursor)
