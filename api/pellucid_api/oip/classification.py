"""The classification extension: of each row the highest values, as "value:index:label".

Source: docs/protocol/extension_classification.md of
https://github.com/triton-inference-server/server.
"""

from collections.abc import Sequence

import ml_dtypes
import numpy as np

from pellucid_api.engine.values import Values


def classified(output: Values, count: int, labels: Sequence[int | str]) -> Values:
    """The highest values of each row, highest first; equal ones in the order of their index.

    Args:
        output: (rows, ...) numbers.
        count: of values; where there are fewer, all.
        labels: by index; left out where their number is not that of a row's values.

    Returns:
        (rows, count) strings. Floating-point values have six decimals, as Triton writes them.
    """
    table = output.reshape(len(output), -1)
    if table.dtype == ml_dtypes.bfloat16:
        table = table.astype(np.float32)
    size = table.shape[1]
    # The sort is stable and ascending: reversed twice, equal values stay in the order they have.
    order = size - 1 - np.argsort(table[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    endings = [f":{label}" for label in labels] if len(labels) == size else [""] * size
    values = np.take_along_axis(table, order, axis=1)
    form = "{:f}:{}{}" if table.dtype.kind == "f" else "{:d}:{}{}"
    found = np.empty(order.shape, dtype=object)
    found[:] = [
        [form.format(v, i, endings[i]) for v, i in zip(*row, strict=True)]
        for row in zip(values.tolist(), order.tolist(), strict=True)
    ]
    return found
