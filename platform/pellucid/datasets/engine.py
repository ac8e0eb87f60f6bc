"""DuckDB as our reader: bounded memory, and errors of ours."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pellucid.errors import StorageFull, TooLarge

_MEMORY = "1GB"  # beyond it DuckDB spills to the temporary directory
_THREADS = 4  # each holds buffers of its own
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_MESSAGES = re.compile(
    r"no space left|disk quota|file too large|max_temp_directory_size", re.I
)


@contextmanager
def connection(temporary: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own, which spills into the directory `temporary`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": min(_THREADS, os.cpu_count() or 1),
        "temp_directory": str(temporary),
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(config=config) as connected:
        connected.execute("SET TimeZone = 'UTC'")
        # Bounds in Parquet leave NaN out, and DuckDB concludes from them that isnan is false.
        connected.execute("SET disabled_optimizers = 'statistics_propagation'")
        yield connected


@contextmanager
def storage_errors(file: str) -> Iterator[None]:
    """Turn what a full disk or exhausted memory makes of a read or write into our errors.

    Raises:
        StorageFull: no space was left on the device.
        TooLarge: a row does not fit into memory.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if _FULL_MESSAGES.search(str(error)):
            raise _full(file) from error
        raise TooLarge(
            f"Reading takes more than {_MEMORY} of memory.",
            where={"file": file},
            remedy="Use fewer or narrower columns.",
        ) from error
    except (OSError, duckdb.IOException, pa.ArrowException) as error:
        if getattr(error, "errno", None) in _FULL or _FULL_MESSAGES.search(str(error)):
            raise _full(file) from error
        raise


def _full(file: str) -> StorageFull:
    return StorageFull(
        "No space is left to store the data set; nothing was kept.",
        where={"file": file},
        remedy="Free space under PELLUCID_HOME and add it again.",
    )


def first_row(engine: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...] | None:
    """The first row of a query that is run to its end."""
    rows = engine.execute(query).fetchall()
    return rows[0] if rows else None


def literal(text: str) -> str:
    """A text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
