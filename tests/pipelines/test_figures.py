"""Every figure is drawn for every kind of result, without a warning, and shows what it should."""

from pathlib import Path
from typing import Any

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from pellucid import plan
from pellucid.jobs.workspace import Metric
from pellucid_pipelines.drawing import drawn, file_name, label_of, plain
from pellucid_pipelines.evaluate import evaluate
from pellucid_pipelines.figures import evaluation_figures, learning_curves

SPEC = plan.Evaluation(resamples=100)
CLASSIFICATION = {"confusion_matrix.png", "roc.png", "precision_recall.png", "calibration.png"}


def draw(
    truth: np.ndarray,
    prediction: np.ndarray,
    directory: Path,
    classes: tuple[int | str, ...] | None = None,
    positive: int | None = None,
    sensitive: dict[str, Any] | None = None,
    weight: np.ndarray | None = None,
) -> set[str]:
    found = evaluate(
        truth, prediction, classes=classes, positive=positive, sensitive=sensitive or {},
        weight=weight, spec=SPEC, seed=0,
    )  # fmt: skip
    evaluation_figures(
        truth, prediction, found, classes=classes, positive=positive, directory=directory,
        weight=weight,
    )  # fmt: skip
    return {path.name for path in directory.iterdir()}


def probabilities(rows: int, classes: int) -> np.ndarray:
    raw = np.random.default_rng(0).gamma(1, size=(rows, classes))
    return (raw / raw.sum(1, keepdims=True)).astype(np.float32)


def ink(path: Path) -> float:
    """The share of pixels that are not white."""
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[1] > 500, "too narrow for MLflow's page"
    return float((pixels[..., :3] < 0.99).any(-1).mean())


def test_binary_with_awkward_names(tmp_path: Path) -> None:
    prediction = probabilities(120, 2)
    truth = np.random.default_rng(1).integers(0, 2, 120)
    sensitive = {
        "price in $ or $$": np.array(["$5", "$$6_{x}", None] * 40, dtype=object),
        "年/../age": np.arange(120.0),
    }
    names = draw(truth, prediction, tmp_path, ("no $x$", "yes " * 30), 1, sensitive, np.ones(120))
    assert names == CLASSIFICATION | {
        "groups_price_in_or_.png",
        "groups_年_.._age.png",
    }
    assert all(ink(tmp_path / name) > 0.01 for name in names)


@pytest.mark.parametrize("classes", [10, 35])
def test_many_classes(tmp_path: Path, classes: int) -> None:
    truth = np.random.default_rng(1).integers(0, classes, 300)
    names = draw(truth, probabilities(300, classes), tmp_path, tuple(range(classes)))
    assert names == CLASSIFICATION


def test_one_class_in_the_test_rows(tmp_path: Path) -> None:
    sensitive = {"sex": np.array(["f", "m"] * 20, dtype=object)}
    truth = np.zeros(40, dtype=int)
    names = draw(truth, probabilities(40, 2), tmp_path, ("a", "b"), 1, sensitive)
    assert names == CLASSIFICATION | {"groups_sex.png"}


def test_a_single_row(tmp_path: Path) -> None:
    assert draw(np.array([1]), probabilities(1, 3), tmp_path, (1, 2, 3)) == CLASSIFICATION


@pytest.mark.parametrize("rows", [1, 300, 4000])
def test_regression(tmp_path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    truth = random.gamma(2, 50, size=rows)
    names = draw(
        truth,
        (truth + random.normal(size=rows)).astype(np.float32),
        tmp_path,
        sensitive={"site": np.array(["north", "south"] * rows, dtype=object)[:rows]},
    )
    assert names == {"predicted_vs_actual.png", "residuals.png", "groups_site.png"}


def test_constant_predictions(tmp_path: Path) -> None:
    assert "residuals.png" in draw(np.full(50, 3.0), np.full(50, 3.0), tmp_path)


def test_learning_curves(tmp_path: Path) -> None:
    points = []
    for epoch in range(1, 12):
        values = {"train/loss": 90.0 / epoch**3, "validation/loss": 100.0 / epoch**3, "lr": 1e-3}
        values |= {"validation/accuracy": 0.5 + epoch / 50, "gradient_norm": np.inf}
        points += [Metric(key, float(value), epoch, 0) for key, value in values.items()]
    points.append(Metric("test/accuracy", 0.8, 0, 0))
    learning_curves(iter(points), tmp_path / "full")
    learning_curves(points[:5], tmp_path / "single")
    learning_curves([], tmp_path / "empty")
    full, single, empty = (
        np.ptp(matplotlib.image.imread(tmp_path / n / "learning_curves.png")[..., :3], -1) > 0.5
        for n in ("full", "single", "empty")
    )
    assert full.sum() > 2 * single.sum() > 2 * empty.sum() == 0  # coloured pixels


def test_figures_leave_no_global_state(tmp_path: Path) -> None:
    before = dict(plt.rcParams)
    with drawn(tmp_path / "a.png", 5, 5) as figure:
        figure.subplots()
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == []


def test_a_figure_that_fails_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half"), drawn(tmp_path / "a.png", 5, 5):
        raise RuntimeError("half drawn")
    assert list(tmp_path.iterdir()) == []


def test_words() -> None:
    assert plain("two\n lines") == "two lines"
    assert plain("x" * 30, 10) == "x" * 9 + "…"
    assert file_name("a/b: c") == "a_b_c"
    assert [label_of(n) for n in ("roc_auc", "mae", "log_loss")] == ["ROC-AUC", "MAE", "log loss"]
