"""A run's network and rows, rebuilt, and everything that can be drawn of them."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from pellucid import plan
from pellucid.bundle import WEIGHTS, Bundle
from pellucid.errors import Conflict
from pellucid.jobs.workspace import Request
from pellucid_pipelines import architectures, losses, transfer
from pellucid_pipelines.data import Data
from pellucid_pipelines.diagnostics import probes
from pellucid_pipelines.inspection import captures, figures, landscape, sources
from pellucid_pipelines.rows import Rows

_ROWS = 512
_NUMBERS = 2**19  # that enter a forward pass
Say = Callable[[str], None]


@dataclass(frozen=True)
class Rebuilt:
    """A trained network in evaluation mode, its data, and some validation rows."""

    spec: plan.Plan
    network: nn.Module
    examples: Data
    rows: Rows
    truth: npt.NDArray[Any]  # (N,) class indices or values


def rebuild(request: Request, bundle: Bundle) -> Rebuilt:
    """The network with its weights, and its data, cut and prepared as they were.

    Raises:
        Conflict: the bundle holds no weights, or other ones.
    """
    path = bundle.root / WEIGHTS
    if not path.is_file():
        raise Conflict(
            "The run's bundle holds no weights to look into.",
            where={"job": request.job_id},
            remedy="It was made by an older version: train it again.",
        )
    spec = plan.Plan.parse(request.plan)
    if spec.cross_validation is not None:
        raise Conflict(
            "The run's network is an ensemble of folds; there is no one network to look into.",
            where={"job": request.job_id},
            remedy="Train the plan without cross_validation, and inspect that.",
        )
    examples, spec = sources.prepared(request, spec)
    examples = transfer.with_its_tokens(examples, path)  # of a version that went on from another
    assert spec.model is not None, "a resolved plan has a model"
    features = examples.features(spec.training.seed)
    target = examples.target
    network = architectures.build(spec.model, features, target.outputs, target.link)
    saved = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(saved)
    except RuntimeError as error:
        raise Conflict(
            f"The weights are not of the plan's network: {error}.", where={"job": request.job_id}
        ) from error
    chosen = examples.parts.validation[:_ROWS]
    rows = examples.rows(chosen)
    most = max(16, _NUMBERS // max(1, rows.inputs[:1].numel()))
    chosen = chosen[:most]
    return Rebuilt(spec, network.eval(), examples, examples.rows(chosen), examples.truth(chosen))


def draw(found: Rebuilt, directory: Path, say: Say = lambda _text: None) -> list[Path]:
    """Every figure that fits the network, below a directory; returns them.

    `loss_landscape`, `weights`, `activations`, `gradients`, `embeddings`; of convolutions
    `filters`; of transformers `attention_1`, ...
    """
    directory.mkdir(parents=True, exist_ok=True)
    network, rows = found.network, found.rows
    assert found.spec.loss is not None, "a resolved plan has a loss"
    loss = losses.build(found.spec.loss, found.examples.target)
    say("weights")
    figures.weight_histograms(probes.weights(network), directory)
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    if kernels:
        figures.filters(kernels[0], directory)
    say("activations")
    heat = captures.activations(network, rows.inputs)
    path = directory / "activations.png"
    figures.heat_maps(heat, "", ("unit", "row"), path)
    say("gradients")
    heat = captures.gradients(network, loss, rows)
    figures.heat_maps(heat, "", ("input", "unit"), directory / "gradients.png")
    maps = captures.attention_maps(network, rows.inputs)
    if maps:
        say("attention")
        figures.attention(maps, directory)
    say("embeddings")
    points = captures.embeddings(network, rows.inputs)
    figures.embeddings(points, found.truth, found.examples.target.classes, directory)
    say("loss landscape")
    steps, values = landscape.surface(
        network,
        loss,
        rows,
        found.spec.training.seed,
        progress=lambda done, total: say(f"loss landscape, {done} of {total} points"),
    )
    figures.loss_landscape(steps, values, directory)
    return sorted(directory.glob("*.png"))
