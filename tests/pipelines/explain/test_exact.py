"""Exact Shapley values: against shap's own, by their axioms, and in ONNX."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
import shap
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid import plan
from pellucid.errors import TooLarge
from pellucid_pipelines.architectures.mlp import Mlp
from pellucid_pipelines.explain.exact import COLUMNS, ExactShapley, exact_values
from pellucid_pipelines.explain.rowwise import TRANSLATIONS
from pellucid_pipelines.explain.tracing import traced
from pellucid_pipelines.features import Features

FEATURES = Features(
    "tabular",
    (6,),
    {"age": slice(0, 1), "colour": slice(1, 4), "city": slice(4, 5), "size": slice(5, 6)},
    (0, 4, 5),
)


def network(features: Features = FEATURES, outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    found = Mlp(plan.Mlp(widths=(8, 8), activation="gelu"), features, outputs, "softmax")
    return found.double().eval().requires_grad_(False)


def compared(count: int, width: int) -> tuple[Tensor, Tensor]:
    """A background and its weights."""
    generator = torch.Generator().manual_seed(1)
    background = torch.randn(count, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(count, generator=generator, dtype=torch.float64)
    return background, weights / weights.sum()


def test_values_are_those_of_shap():
    background, _ = compared(7, 5)
    even = torch.full((7,), 1 / 7, dtype=torch.float64)
    model = network(Features.tabular(5))
    rows = torch.randn(4, 5, dtype=torch.float64)

    def predict(given_: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(given_)).numpy()

    masker = shap.maskers.Independent(background.numpy(), max_samples=7)
    expected = shap.explainers.ExactExplainer(predict, masker)(rows.numpy())
    _, values, base = ExactShapley(model, Features.tabular(5), background, even)(rows)
    np.testing.assert_allclose(values, expected.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(base, expected.base_values[0], rtol=0, atol=1e-12)
    values, base = exact_values(predict, rows.numpy(), background.numpy(), even.numpy())
    np.testing.assert_allclose(values, expected.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(base, expected.base_values[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("beside", [1, 3, 1500])
def test_a_block_of_positions_is_one_column(beside):
    background, weights = compared(beside, 6)
    model, rows = network(), torch.randn(2, 6, dtype=torch.float64)
    raw, values, base = ExactShapley(model, FEATURES, background, weights)(rows)
    starts = [block.start for block in FEATURES.blocks.values()]
    assert values[:, [2, 3]].count_nonzero() == 0
    torch.testing.assert_close(raw, model(rows))
    torch.testing.assert_close(base + values.sum(dim=1), raw)

    def predict(codes: np.ndarray) -> np.ndarray:  # (R, columns): row -1 or a background row
        every = torch.cat([background, rows])
        columns = [every[codes[:, i], block] for i, block in enumerate(FEATURES.blocks.values())]
        return model(torch.cat(columns, dim=1)).numpy()

    names = np.arange(beside + 2)[:, np.newaxis].repeat(4, axis=1)
    expected, _ = exact_values(predict, names[beside:], names[:beside], weights.numpy())
    np.testing.assert_allclose(values[:, starts], expected, rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(columns=st.integers(1, 5), beside=st.integers(1, 4), data=st.data())
def test_axioms(columns, beside, data):
    """Efficiency, symmetry, dummy and linearity (Shapley, 1953)."""
    number = st.floats(-3, 3)

    def drawn(*shape: int) -> np.ndarray:
        count = math.prod(shape)
        values = data.draw(st.lists(number, min_size=count, max_size=count))
        return np.array(values).reshape(shape)

    slopes, rows, background = drawn(columns), drawn(2, columns), drawn(beside, columns)
    weights = np.full(beside, 1 / beside)

    def curved(given_: np.ndarray) -> np.ndarray:
        return np.tanh(given_ @ slopes)

    def straight(given_: np.ndarray) -> np.ndarray:
        return given_ @ slopes

    values, base = exact_values(curved, rows, background, weights)
    np.testing.assert_allclose(base + values.sum(axis=1), curved(rows), atol=1e-12)
    assert np.all(np.abs(values[:, slopes == 0]) < 1e-12), "a column that changes nothing"
    alone, _ = exact_values(straight, rows, background, weights)
    np.testing.assert_allclose(alone, slopes * (rows - background.mean(axis=0)), atol=1e-12)
    both, _ = exact_values(lambda x: curved(x) + straight(x), rows, background, weights)
    np.testing.assert_allclose(both, values + alone, atol=1e-12)
    twice = [np.concatenate([x, x[:, :1]], axis=1) for x in (rows, background)]
    slopes = np.append(slopes, slopes[0])
    same, _ = exact_values(curved, *twice, weights)
    np.testing.assert_allclose(same[:, 0], same[:, -1], atol=1e-12)


def test_too_many_columns_are_refused():
    many = Features.tabular(COLUMNS + 1)
    with pytest.raises(TooLarge, match="13 columns take 8,192 sets"):
        ExactShapley(network(many), many, *compared(2, COLUMNS + 1))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of the exporter
def test_onnx_gives_the_same_for_any_number_of_rows():
    background, weights = (each.float() for each in compared(300, 6))
    module = ExactShapley(network().float(), FEATURES, background, weights).eval()
    assert module.parts > 1, "sets are run some after others"
    rows = torch.randn(5, 6)
    many = {0: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        torch.export.export(traced(module, [rows]), (rows,), dynamic_shapes=(many,), strict=False),
        dynamo=True,
        opset_version=20,
        external_data=False,
        verbose=False,
        custom_translation_table=TRANSLATIONS,
    )
    onnx.checker.check_model(program.model_proto, full_check=True)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    name = session.get_inputs()[0].name
    for count in (0, 1, 5):
        found = session.run(None, {name: rows[:count].numpy()})
        for value, expected in zip(found, module(rows[:count]), strict=True):
            np.testing.assert_allclose(value, expected.numpy(), rtol=1e-5, atol=1e-6)
