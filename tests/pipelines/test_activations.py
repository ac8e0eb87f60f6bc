"""Every activation against its definition in NumPy, and its gradient against differences."""

import numpy as np
import pytest
import torch
from scipy.special import erf, expit

from pellucid_pipelines.layers.activations import ACTIVATIONS, activation

REFERENCES = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "silu": lambda x: x * expit(x),
    "tanh": np.tanh,
    "sigmoid": expit,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_what_its_definition_says(name):
    inputs = torch.linspace(-5, 5, 40, dtype=torch.float64)  # an even count: not at the kink
    np.testing.assert_allclose(activation(name)(inputs), REFERENCES[name](inputs.numpy()), 1e-12)
    assert torch.autograd.gradcheck(activation(name), inputs.requires_grad_())
