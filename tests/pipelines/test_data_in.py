"""Rows that stay in main memory train as rows on the device do."""

import pytest
import torch

from pellucid_pipelines.loop import fits
from pellucid_pipelines.rows import Rows
from support.training import a_fit, a_plan, toy_rows


def test_the_weights_are_the_same():
    found = []
    for place in ("device", "host"):
        fit = a_fit(a_plan(training={"data_in": place}))
        fit.run()
        found.append(torch.cat([p.detach().flatten() for p in fit.network.parameters()]))
    assert torch.equal(*found)


@pytest.mark.parametrize(("asked", "resident"), [("auto", True), ("device", True), ("host", False)])
def test_on_the_cpu_only_host_leaves_them_where_they_are(asked, resident):
    assert fits(10**15, asked, torch.device("cpu")) == resident


def test_batches_are_sent_in_the_same_order():
    rows = toy_rows(100)
    rows = Rows(rows.inputs, rows.targets, torch.rand(100))
    here = list(rows.batches(7, seed=0, epoch=1))
    sent = list(rows.batches(7, seed=0, epoch=1, device=torch.device("meta")))
    assert [len(batch) for batch in sent] == [len(batch) for batch in here]
    assert {batch.inputs.device.type for batch in sent} == {"meta"}
    assert sorted(torch.cat([batch.targets for batch in here]).tolist()) == sorted(
        rows.targets.tolist()
    )


def test_their_size_counts_every_tensor():
    rows = toy_rows(10)
    assert rows.bytes == rows.inputs.nbytes + rows.targets.nbytes
