"""The loop on a CUDA device."""

import pytest
import torch

from pellucid_pipelines import architectures, environment, losses
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.features import Features
from pellucid_pipelines.loop import Fit
from support.training import WIDTH, a_plan, toy_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_it_learns_and_resumes(tmp_path, precision):
    spec = a_plan(
        training={"epochs": 30, "precision": precision}, optimizer={"kind": "adamw", "lr": 0.01}
    )

    def attempt():
        torch.manual_seed(0)
        return Fit(
            architectures.build(spec.model, Features.tabular(WIDTH), 1),
            losses.binary_cross_entropy,
            toy_rows(),
            toy_rows(60, seed=1),
            spec,
            device=environment.choose_device("cuda"),
            callbacks=[EarlyStopping(30, 0.0), Checkpointing(Checkpoints(tmp_path, "print"), 0)],
        )

    first = attempt()
    first.run()
    assert first.state.best_loss < 0.45
    again = attempt()
    again.run()
    assert again.state.losses == first.state.losses


def test_tags_name_the_card_and_its_driver():
    tags = environment.tags(torch.device("cuda"), seed=0)
    assert tags["device"] == torch.cuda.get_device_name(0)
    assert tags["cuda"]
    assert tags["cuda_driver"]
