"""Rows of every kind of input, streamed from the disk, are those in memory."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pellucid.datasets.splits import Parts
from pellucid.schema import Schema
from pellucid_pipelines import mapped
from pellucid_pipelines.data import Data
from pellucid_pipelines.mapped import Mapped, rewrite
from support.inputs import ROWS, example

PLACES = np.arange(1, ROWS, 2)


@pytest.mark.parametrize("modality", ["tabular", "image", "sequence", "text"])
def test_batches_hold_the_same_rows(tmp_path, monkeypatch, modality):
    monkeypatch.setattr(mapped, "_BLOCK", 600)
    given = example(modality, "multiclass")
    pq.write_table(given.table, tmp_path / "t.parquet")
    rewrite(tmp_path / "t.parquet", tmp_path / "rows.arrow", given.table.column_names)
    table = Mapped(tmp_path / "rows.arrow", tmp_path / "t.parquet")
    assert 2 <= table.block < ROWS / 2
    parts = Parts(PLACES, PLACES[:0], PLACES[:0])
    schema = Schema(columns=())
    both = [
        Data(each, parts, schema, given.preprocessing, given.target, None)
        for each in (given.table, table)
    ]
    expected, streamed = (each.source(PLACES, "balanced") for each in both)
    everything = streamed.take(torch.arange(len(PLACES)))
    assert everything.inputs.dtype == expected.inputs.dtype
    assert torch.equal(everything.inputs, expected.inputs)
    batches = list(streamed.batches(5, seed=0, epoch=0))
    inputs = torch.cat([batch.inputs for batch in batches]).flatten(1).double()
    targets = torch.cat([batch.targets for batch in batches])
    weights = torch.cat([batch.weights for batch in batches])
    whole = torch.cat([inputs, targets[:, None], weights[:, None]], 1)
    rows = [expected.inputs.flatten(1), expected.targets[:, None], expected.weights[:, None]]
    assert sorted(whole.tolist()) == sorted(torch.cat([r.double() for r in rows], 1).tolist())
    assert torch.equal(*(each.features(0).sample for each in both))
