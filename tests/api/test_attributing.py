"""A job's SHAP values for every kind of input, of linear networks, whose values are known."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import BACKGROUND, Bundle
from pellucid.jobs.workspace import BatchRequest, Workspace
from pellucid.plan.batch import ExplanationPlan
from pellucid_api import explaining
from pellucid_api.attributing import Attributions
from pellucid_api.engine.devices import CPU
from pellucid_api.engine.model import Model
from support import explained_others
from support.explained_others import explained_other

ROWS = 12
KINDS = ["tabular", "image", "sequence", "text"]


def a_bundle(root: Path, modality: Any, **options: Any) -> tuple[Bundle, pa.Table]:
    """With a background, and what the manifest says of each output."""
    bundle, rows = explained_other(root, modality, **options)
    some = rows.slice(0, explained_others.BACKGROUND)
    weights = pa.array([1 / len(some)] * len(some))
    pq.write_table(some.append_column("weight_", weights), root / BACKGROUND)
    told = bundle.manifest.explanation
    assert told is not None
    if horizon := options.get("horizon"):
        names = tuple(f"next, step {i + 1}" for i in range(horizon))
        told = told.model_copy(update={"outputs": names, "scale": (1.0,) * horizon})
    base = told.base
    if modality == "sequence":  # in units of the target
        graph = Attributions(Model(bundle, "cpu"), told, a_plan("graph"), CPU)
        feed, _ = Model(bundle, "cpu").parity()
        base = tuple(graph.explain({n: v[:1] for n, v in feed.items()}, range(1)).base[0].tolist())
    told = told.model_copy(update={"base": base})
    return Bundle.seal(root, bundle.manifest.model_copy(update={"explanation": told})), rows


Bundles = Callable[[str], tuple[Bundle, pa.Table]]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Each kind is made once."""
    return cache(lambda modality: a_bundle(tmp_path_factory.mktemp(modality) / "made", modality))


def a_plan(method: Any, **how: Any) -> ExplanationPlan:
    given = {"model": "m", "version": 1, "dataset": "d@1", "keep": (), "permutations": 1}
    return ExplanationPlan.model_validate(given | {"method": method} | how)


def explain(bundle: Bundle, directory: Path, rows: pa.Table, method: Any, **how: Any) -> pa.Table:
    """What the job's process makes, here."""
    workspace = Workspace(directory)
    directory.mkdir()
    workspace.initial.symlink_to(bundle.root)
    pq.write_table(rows, directory / "rows.parquet")
    plan = a_plan(method, **how)
    workspace.write_request(
        BatchRequest(plan=plan, data_path=str(directory / "rows.parquet"), device="cpu")
    )
    explaining.run(workspace)
    return pq.read_table(workspace.answers(plan))


def values(found: pa.Table, bundle: Bundle) -> Any:
    told = bundle.manifest.explanation
    assert told is not None
    return np.stack([found[f"shap_{name}"].to_numpy() for name in told.columns], axis=1)


@pytest.mark.parametrize("modality", KINDS)
def test_graph_and_permutations_agree(bundles: Bundles, tmp_path: Path, modality: str) -> None:
    """Of a linear network; both add up, and the places in a column add up to the column."""
    bundle, rows = bundles(modality)
    rows = rows.slice(3, ROWS)
    graph = explain(bundle, tmp_path / "graph", rows, "graph")
    other = explain(bundle, tmp_path / "other", rows, "permutation")
    width = 3 if modality == "tabular" else 1
    assert graph.num_rows == other.num_rows == width * ROWS
    np.testing.assert_allclose(graph["prediction"], other["prediction"], rtol=0, atol=1e-5)
    assert max(np.max(graph["gap"]), np.max(other["gap"])) < 1e-4
    if modality != "sequence":  # where how long a row is belongs to all columns
        np.testing.assert_allclose(values(graph, bundle), values(other, bundle), rtol=0, atol=1e-4)
    several = modality in ("tabular", "image")
    assert ("class" in graph.column_names) == several
    if several:
        assert graph["class"].equals(other["class"])
    for name in rows.column_names if modality != "tabular" else ():
        places = np.array(graph[f"places_{name}"].to_pylist())
        np.testing.assert_allclose(places.sum(axis=1), graph[f"shap_{name}"], rtol=0, atol=1e-4)
        assert f"places_{name}" not in other.column_names


def test_the_predicted_class_of_an_image_is_explained(bundles: Bundles, tmp_path: Path) -> None:
    bundle, rows = bundles("image")
    found = explain(bundle, tmp_path / "job", rows, "graph", keep=("photo",))
    model = Model(bundle, "cpu")
    feed = explaining.decode_table(rows, model.manifest.inputs, len(rows))
    assert found["class"].to_pylist() == model.run(feed)["label"].tolist()
    assert len(set(found["class"].to_pylist())) > 1
    assert found["photo"].to_pylist() == rows["photo"].to_pylist()


def test_every_step_of_a_forecast_is_explained(tmp_path: Path) -> None:
    bundle, rows = a_bundle(tmp_path / "bundle", "sequence", horizon=3)
    rows = rows.slice(3, ROWS)
    found = explain(bundle, tmp_path / "job", rows, "graph")
    assert found["class"].to_pylist()[:4] == [f"next, step {i}" for i in (1, 2, 3, 1)]
    assert found["row"].to_pylist() == np.repeat(np.arange(ROWS) + 1, 3).tolist()
    model = Model(bundle, "cpu")
    feed = explaining.decode_table(rows, model.manifest.inputs, ROWS)
    predicted = model.run(feed)["value"].ravel()
    np.testing.assert_allclose(found["prediction"], predicted, rtol=1e-5)
    other = explain(bundle, tmp_path / "other", rows, "permutation")
    np.testing.assert_allclose(found["prediction"], other["prediction"], rtol=1e-5)
    assert np.max(other["gap"]) < 1e-4
    both = values(found, bundle).ravel(), values(other, bundle).ravel()
    assert np.corrcoef(*both)[0, 1] > 0.9


@pytest.mark.parametrize("modality", ["image", "sequence"])
def test_rows_that_fall_back_have_no_places(
    bundles: Bundles, tmp_path: Path, modality: str
) -> None:
    """With a tolerance that nothing meets, every row does."""
    made, rows = bundles(modality)
    shutil.copytree(made.root, tmp_path / "bundle")
    told = made.manifest.explanation
    assert told is not None
    strict = told.model_copy(update={"tolerance": -1.0})
    changed = made.manifest.model_copy(update={"explanation": strict})
    bundle = Bundle.seal(tmp_path / "bundle", changed)
    found = explain(bundle, tmp_path / "job", rows.slice(3, ROWS), "auto")
    assert set(found["method"].to_pylist()) == {"permutation"}
    places = np.array(found[f"places_{rows.column_names[0]}"].to_pylist())
    assert np.isnan(places).all()
    assert np.max(found["gap"]) < 1e-4
