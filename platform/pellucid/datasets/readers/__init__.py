"""Files as relations: what each format has to say about its columns, before any typing."""

from dataclasses import replace
from pathlib import Path

import duckdb

from pellucid.datasets.readers import (
    archives,
    arrays,
    class_folders,
    delimited,
    json_lines,
    parquet,
)
from pellucid.datasets.readers.source import Objects, Source
from pellucid.errors import InvalidData

_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}


def open_source(
    engine: duckdb.DuckDBPyConnection,
    path: Path,
    file: str,
    *,
    scratch: Path,
    max_cell_bytes: int,
) -> Source:
    """Find out a file's format, and its columns.

    Args:
        engine: where the relation will be read.
        path: where the bytes are.
        file: what the user calls it; its suffix and its first bytes tell the format.
        scratch: a directory for a converted copy, where one is needed.
        max_cell_bytes: the largest cell that is taken.

    Raises:
        InvalidData: the file is empty, not text, or its header or structure is wrong.
        StorageFull: no space was left to unpack an archive.
    """
    with path.open("rb") as stream:
        head = stream.read(2**16)
    if not head.strip():
        raise InvalidData(
            "The file is empty.",
            where={"file": file},
            remedy="Send a header and at least one row.",
        )
    if head.startswith(archives.MAGICS):
        return _open_archive(path, file, scratch)
    suffix = Path(file).suffix.lower()
    if head.startswith(parquet.MAGIC) or suffix in (".parquet", ".pq"):
        return parquet.open_parquet(path, file)
    if suffix in _JSON_SUFFIXES or head.lstrip().startswith(b"{"):
        return json_lines.open_json_lines(engine, path, file, scratch, max_cell_bytes)
    return delimited.open_delimited(engine, path, file, scratch, max_cell_bytes)


def _open_archive(path: Path, file: str, scratch: Path) -> Source:
    """NumPy's archive, or one of images, by way of a Parquet file."""
    target = scratch / "unpacked.parquet"
    with archives.opened(path, file) as archive:
        names = archive.namelist()
        if names and all(name.endswith(arrays.SUFFIX) for name in names):
            arrays.write_arrays(archive, file, scratch, target)
            return parquet.open_parquet(target, file)
        class_folders.write_images(archive, path, file, target)
    source = parquet.open_parquet(target, file)
    roles = {c.name: class_folders.ROLES[c.name] for c in source.columns if not c.is_object}
    return replace(source, objects=Objects(target, class_folders.NAMED_BY), roles=roles)
