"""Networks of images: shapes, sizes, formats, export."""

import numpy as np
import onnxruntime
import pytest
import torch

from pellucid import plan
from pellucid_pipelines import architectures
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.convolutions import ResidualBlock
from pellucid_pipelines.layers.pixels import Normalise

SMALL = {"widths": (4, 8), "blocks": 1}
SPECS = [
    plan.Cnn(**SMALL),
    plan.Cnn(**SMALL, residual=True, norm="group"),
    plan.Cnn(**SMALL, norm="none", activation="gelu", kernel=5),
    plan.Cnn(**SMALL, residual=True, norm="layer"),
    plan.Hybrid(channels=4, width=8),
    plan.Hybrid(channels=4, width=8, over="lstm", patch=(5, 6)),
    plan.Hybrid(channels=4, width=8, over="rnn", patch=(99, 99)),
    plan.Hybrid(channels=4, width=6, over="transformer"),
]


def pixels(*shape: int) -> torch.Tensor:
    rng = np.random.default_rng(sum(shape))
    return torch.from_numpy(rng.integers(0, 256, shape, np.uint8))


def network(spec: plan.Model, *shape: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return architectures.build(spec, Features("image", shape, sample=pixels(20, *shape)), 3)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 31), (3, 64, 70), (4, 1, 11, 8), (1, 1, 1)])
def test_every_size_gives_outputs_and_gradients(spec: plan.Model, shape: tuple[int, ...]):
    model = network(spec, *shape).train()
    raw = model(pixels(4, *shape))
    assert raw.shape == (4, 3)
    assert raw.dtype == torch.float32
    raw.square().sum().backward()
    gradients = [each.grad for each in model.parameters()]
    assert all(each is not None and each.isfinite().all() for each in gradients)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_a_row_does_not_depend_on_the_others(spec: plan.Model):
    model = network(spec, 3, 12, 10).eval()
    batch = pixels(5, 3, 12, 10)
    torch.testing.assert_close(model(batch)[2:3], model(batch[2:3]))
    torch.testing.assert_close(model(batch), model(batch.float()))


def test_pixels_are_normalised_by_the_training_sample():
    sample = pixels(50, 3, 6, 6)
    sample[:, 1] = 7
    normal = Normalise(Features("image", (3, 6, 6), sample=sample))(sample)
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    deviation = normal.std((0, 2, 3), correction=0)
    torch.testing.assert_close(deviation, torch.tensor([1.0, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_a_residual_block_starts_as_its_shortcut():
    block = ResidualBlock(4, 4, kernel=3, stride=(1, 1), norm="batch", function="relu")
    positive = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(block(positive), positive)


def test_patches_are_the_image_cut_up():
    model = network(plan.Hybrid(channels=2, width=4, patch=(2, 3)), 1, 4, 6)
    image = torch.arange(24.0).view(1, 1, 1, 4, 6)
    found = model.patches(image)
    assert found.shape == (4, 1, 2, 3)
    assert found[1, 0].tolist() == [[3, 4, 5], [9, 10, 11]]
    assert found[2, 0].tolist() == [[12, 13, 14], [18, 19, 20]]


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("spec", SPECS[::3], ids=repr)
def test_onnx_runtime_agrees_for_any_number_of_rows(spec: plan.Model, tmp_path):
    shape = (3, 10, 9)
    model = network(spec, *shape).train()
    for _ in range(3):
        model(pixels(16, *shape))  # running statistics of their own
    model.eval().requires_grad_(False)
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        model,
        (pixels(2, *shape),),
        path,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        opset_version=20,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for rows in (0, 1, 5):
        given = pixels(rows, *shape)
        (found,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        np.testing.assert_allclose(found, model(given).numpy(), atol=1e-5, rtol=1e-5)
