"""Some rows of a window, and of the reference, as arrays for what looks at columns together."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pellucid.errors import InvalidData
from pellucid.monitoring.profiles.readings import inputs_of

Rows = dict[str, NDArray[Any]]
ROWS = 2_000  # of a window, about


def window_rows(parts: Iterable[pa.RecordBatch], total: int, seed: int) -> Rows:
    """The inputs of about `ROWS` rows, each as likely as any other; memory holds one batch more.

    Args:
        parts: of the log, with `inputs`.
        total: rows of all parts.
        seed: of the draw.
    """
    generator, share = np.random.default_rng(seed), min(1.0, ROWS / max(total, 1))
    taken = []
    for part in parts:
        chosen = np.flatnonzero(generator.random(len(part)) < share)
        if len(chosen) and "inputs" in part.schema.names:
            taken.append(_arrays(part.column("inputs").take(pa.array(chosen))))
    names = dict.fromkeys(name for each in taken for name in each)
    return {name: _joined([each.get(name) for each in taken], taken) for name in names}


def reference_rows(sample: Path) -> Rows:
    """The inputs of the held-out rows that a bundle carries.

    Raises:
        InvalidData: the file cannot be read.
    """
    try:
        table = pq.read_table(sample, columns=["inputs"]).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise InvalidData(
            f"The sample of held-out rows cannot be read: {error}.",
            where={"file": str(sample)},
            remedy="Train the version again.",
        ) from error
    column = table.column("inputs")
    return _arrays(column.combine_chunks()) if len(column) else {}


def _arrays(structs: pa.Array) -> Rows:
    if isinstance(structs, pa.ChunkedArray):
        structs = structs.combine_chunks()
    found: Rows = {}
    for name, values in inputs_of(structs).items():
        if isinstance(values, np.ndarray):
            found[name] = values
        elif not pa.types.is_nested(values.type) and not pa.types.is_binary(values.type):
            found[name] = values.to_numpy(zero_copy_only=False)
    return found


def _joined(arrays: list[NDArray[Any] | None], parts: list[Rows]) -> NDArray[Any]:
    """A column of all parts; None where a part has none."""
    sizes = [len(next(iter(each.values()), ())) for each in parts]
    filled = [
        np.full(size, None, object) if each is None else each
        for each, size in zip(arrays, sizes, strict=True)
    ]
    if len({each.dtype.kind for each in filled}) > 1:
        filled = [each.astype(object) for each in filled]
    return np.concatenate(filled)
