"""Raw columns to what networks take: one class for each kind of input.

One torch implementation serves training and export, so that the two agree by construction. What
torch cannot do (look up a category, decode an image, cut a text into tokens) is done by `encode`
here and by ONNX-ML's LabelEncoder or `pellucid.raw` in serving.
"""

from collections.abc import Sequence

import pyarrow as pa

from pellucid import plan
from pellucid.errors import InvalidPlan
from pellucid.schema import Column
from pellucid_pipelines.preprocessing.contract import Feed, Preprocessing
from pellucid_pipelines.preprocessing.images import Images
from pellucid_pipelines.preprocessing.sequences import Sequences
from pellucid_pipelines.preprocessing.tabular import Tabular
from pellucid_pipelines.preprocessing.texts import Texts

__all__ = ["FITTERS", "Feed", "Images", "Preprocessing", "Sequences", "Tabular", "Texts", "fit"]

FITTERS: dict[plan.Modality, type[Preprocessing]] = {
    "tabular": Tabular,
    "image": Images,
    "sequence": Sequences,
    "text": Texts,
}


def fit(
    table: pa.Table,
    columns: Sequence[Column],
    spec: plan.Preprocessing,
    modality: plan.Modality = "tabular",
) -> Preprocessing:
    """Learn from the training rows; rows outside `table` are never seen.

    Args:
        table: the training rows, at least one.
        columns: the feature columns, at least one.
        spec: the plan's choices.
        modality: what the columns are, together.
    """
    if modality not in FITTERS:
        raise InvalidPlan(f"There is no preprocessing of {modality} yet.")
    return FITTERS[modality].fit(table, columns, spec)
