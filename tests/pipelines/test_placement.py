"""Rows in memory, or streamed: what `auto` comes to."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan, resolve
from pellucid.schema import Role
from pellucid_pipelines import data, placement
from pellucid_pipelines.distributed import World
from pellucid_pipelines.mapped import Mapped
from support.training import schema_of

COUNT = 1000


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    random = np.random.default_rng(0)
    x = random.normal(size=COUNT)
    table = pa.table({"x": x, "y": np.where(x > 0, "up", "down"), "w": random.random(COUNT)})
    pq.write_table(table, tmp_path / "data.parquet")
    schema = schema_of(table, {"y": Role.TARGET, "w": Role.WEIGHT})
    return Request(
        job_id="j",
        attempt=1,
        plan={},
        data_schema=schema,
        data_version="0" * 64,
        data_path=str(tmp_path / "data.parquet"),
    )


def a_plan(request: Request, place: str = "auto", **parts: object) -> Plan:
    given = {"name": "n", "data": {"dataset": "d"}, "training": {"data_in": place}, **parts}
    return resolve(Plan.parse(given), request.data_schema, classes=2)[0]


def settled(request: Request, spec: Plan, root: Path) -> str:
    return placement.settle(request, spec, Workspace(root), World()).training.data_in


def test_a_table_is_streamed_if_half_of_the_memory_is_too_little(tmp_path, request_, monkeypatch):
    spec = a_plan(request_)
    need = placement.needed(request_, spec)
    assert 16 * COUNT < need < 40 * COUNT
    monkeypatch.setattr(placement, "available", lambda: 2 * need)
    assert settled(request_, spec, tmp_path / "enough") == "auto"
    monkeypatch.setattr(placement, "available", lambda: 2 * need - 2)
    assert settled(request_, spec, tmp_path / "little") == "stream"
    assert settled(request_, a_plan(request_, "host"), tmp_path / "asked") == "host"
    folds = a_plan(request_, cross_validation={})
    assert settled(request_, folds, tmp_path / "folds") == "auto"


def test_the_first_attempt_decides_for_all(tmp_path, request_, monkeypatch):
    spec = a_plan(request_)
    monkeypatch.setattr(placement, "available", lambda: 0)
    assert settled(request_, spec, tmp_path) == "stream"
    monkeypatch.setattr(placement, "available", lambda: 2**40)
    assert settled(request_, spec, tmp_path) == "stream"


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "_CGROUP", tmp_path)
    free = placement.available()
    assert free > 2**20
    (tmp_path / "memory.max").write_text(f"{2**20}\n")
    (tmp_path / "memory.current").write_text(f"{2**19}\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    assert placement.available() == 2**19 + 100
    (tmp_path / "memory.max").write_text("max\n")
    assert placement.available() > 2**20


def test_what_is_held_out_is_held_in_memory(tmp_path, request_, monkeypatch):
    monkeypatch.setattr(data, "_HELD_OUT", 50)
    monkeypatch.setattr(data, "_FITTED", 100)
    spec = a_plan(request_, "stream")
    table = data.read(request_, spec, tmp_path / "scratch")
    assert isinstance(table, Mapped)
    parts = data.split(table, spec)
    examples = data.prepare(table, parts, request_.data_schema, spec)
    assert [len(rows) for rows in examples.parts] == [600, 50, 50]
    assert set(examples.parts.test) <= set(parts.test)
    source = examples.source(parts.train, "balanced")
    whole = data.prepare(data.read(request_, a_plan(request_)), parts, request_.data_schema, spec)
    expected = whole.rows(parts.train, "balanced")
    assert source.targets.equal(expected.targets)
    assert source.weights.equal(expected.weights)
    assert source.take(torch.tensor([5, 2])).inputs.shape == (2, 1)
    again = data.prepare(table, parts, request_.data_schema, spec)
    for mine, its in zip(again.parts, examples.parts, strict=True):
        assert np.array_equal(mine, its)
