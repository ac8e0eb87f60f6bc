"""Loops over steps: an operator of PyTorch, and a Scan in ONNX."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pellucid_pipelines.explain.scan import STEPS, TRANSLATIONS, scan

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of the exporter


class Discounted(nn.Module):
    """(steps, N, width) -> discounted sums, from the first step on and from the last."""

    def __init__(self, wanted: int = 1) -> None:
        super().__init__()
        self.wanted = wanted

    def forward(self, inputs: Tensor) -> list[Tensor]:
        discount = torch.full((1, inputs.shape[2]), 0.5)
        start = torch.ones_like(inputs[0])
        return [
            each
            for reverse in (False, True)
            for each in scan("discounted", [start], [inputs], [discount], reverse, self.wanted)
        ]


@pytest.fixture(autouse=True)
def _steps(monkeypatch):
    def discounted(total, given, discount):
        total = total * discount + given
        return [total], [total, given - total]

    monkeypatch.setitem(STEPS, "discounted", discounted)
    monkeypatch.setitem(STEPS, "odd", lambda state, given: ([state.erf()], [given.clone()]))


def exported(module: nn.Module, example: Tensor) -> onnx.ModelProto:
    rows = {1: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        torch.export.export(module, (example,), dynamic_shapes=(rows,), strict=False),
        dynamo=True,
        opset_version=20,
        external_data=False,
        verbose=False,
        custom_translation_table=TRANSLATIONS,
    )
    onnx.checker.check_model(program.model_proto, full_check=True)
    return program.model_proto


def test_outputs_lie_where_their_step_does_in_both_directions():
    forth, back = Discounted()(torch.tensor([8.0, 4.0, 2.0]).view(3, 1, 1))
    assert forth.flatten().tolist() == [8.5, 8.25, 6.125]
    assert back.flatten().tolist() == [10.625, 5.25, 2.5]


@pytest.mark.parametrize("wanted", [1, 2])
def test_onnx_gives_the_same_and_computes_only_what_is_wanted(wanted):
    module = Discounted(wanted).eval()
    model = exported(module, torch.randn(4, 3, 2))
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    bodies = [each.g for node in scans for each in node.attribute if each.name == "body"]
    subtractions = [node.op_type for body in bodies for node in body.node].count("Sub")
    assert (len(scans), subtractions) == (2, 2 * (wanted - 1))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for count in (0, 1, 5):
        inputs = torch.randn(4, count, 2)
        found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        for value, expected in zip(found, module(inputs), strict=True):
            np.testing.assert_allclose(value, expected.numpy(), rtol=1e-6, atol=1e-6)


def test_it_is_a_well_formed_operator():
    arguments = ("discounted", [torch.zeros(2, 4)], [torch.randn(3, 2, 4)], [torch.ones(1, 4)])
    checks = ("test_schema", "test_faketensor")
    for wanted in (1, 2):
        given = (*arguments, True, wanted)
        torch.library.opcheck(torch.ops.pellucid.scan.default, given, test_utils=checks)


def test_a_step_may_only_hold_operators_that_are_known_in_onnx():
    class Odd(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return scan("odd", [inputs[0]], [inputs], [], False, 1)[0]

    with pytest.raises(Exception, match=r"No ONNX operator is known for aten.erf"):
        exported(Odd().eval(), torch.randn(4, 3, 2))
