"""The figures of `pellucid inspect`, one function for each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pellucid_pipelines.drawing import BLUE, PALETTE, drawn, plain

_MOST = 12  # layers, heads or filters in one figure
Floats = npt.NDArray[np.float64]


def loss_landscape(steps: Floats, losses: Floats, directory: Path) -> None:
    """The plane, as contours of the logarithm, and a line through its middle."""
    middle = len(steps) // 2
    with drawn(directory / "loss_landscape.png", 11, 4.6) as figure:
        left, right = figure.subplots(1, 2)
        levels = np.log10(np.maximum(np.nan_to_num(losses, posinf=1e30), 1e-12))
        shown = left.contourf(steps, steps, levels.T, levels=24, cmap="viridis")
        figure.colorbar(shown, ax=left, label="log10 of the validation loss")
        left.plot(0, 0, marker="o", color="white", markeredgecolor="black")
        left.set(title="Loss around the network", xlabel="direction 1", ylabel="direction 2")
        right.plot(steps, losses[:, middle], label="direction 1")
        right.plot(steps, losses[middle, :], label="direction 2")
        right.set(title="Through its middle", xlabel="step, in lengths of the weights")
        right.set(ylabel="validation loss", yscale="log")
        right.legend()


def heat_maps(values: Mapping[str, Tensor], title: str, axes: tuple[str, str], path: Path) -> None:
    """One picture for each layer; a layer of many units is cut to the first 128."""
    named = _some(list(values.items()))
    if not named:
        return
    with drawn(path, 11, 0.8 + 2.6 * -(-len(named) // 3)) as figure:
        for part, (name, table) in zip(_grid(figure, len(named), 3), named, strict=True):
            shown = part.imshow(
                table[:128, :128].float().numpy(), aspect="auto", cmap="magma", interpolation="none"
            )
            figure.colorbar(shown, ax=part)
            part.set(title=plain(f"{title} {name}", 34), xlabel=axes[0], ylabel=axes[1])
            part.grid(visible=False)


def weight_histograms(weights: Mapping[str, Any], directory: Path) -> None:
    """How the weights of each layer lie."""
    named = _some(list(weights.items()))
    if not named:
        return
    with drawn(directory / "weights.png", 11, 0.8 + 2.2 * -(-len(named) // 3)) as figure:
        for part, (name, weight) in zip(_grid(figure, len(named), 3), named, strict=True):
            part.hist(weight.detach().flatten().numpy(), bins=60, color=BLUE)
            part.set(title=plain(name, 34), yticks=[])


def filters(weight: Tensor, directory: Path) -> None:
    """The first convolution's kernels (filters, channels, height, width), channels averaged."""
    kernels = weight.detach().float().mean(dim=1).numpy()[:64]
    columns = min(8, len(kernels))
    limit = float(np.abs(kernels).max()) or 1.0
    with drawn(directory / "filters.png", 8, 0.8 + -(-len(kernels) // columns)) as figure:
        for part, kernel in zip(_grid(figure, len(kernels), columns), kernels, strict=True):
            part.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
            part.set_axis_off()


def attention(maps: Sequence[Tensor], directory: Path) -> None:
    """For each attention layer, the heads' weights, averaged over rows."""
    for layer, weights in enumerate(maps, start=1):
        heads = weights.float().mean(dim=0)[:_MOST]  # (heads, steps, steps)
        columns = min(4, len(heads))
        path = directory / f"attention_{layer}.png"
        with drawn(path, 3 * columns + 1, 0.6 + 2.8 * -(-len(heads) // columns)) as figure:
            for i, part in enumerate(_grid(figure, len(heads), columns)):
                part.imshow(heads[i].numpy(), cmap="magma", vmin=0)
                part.set(title=f"Layer {layer}, head {i + 1}", xlabel="from", ylabel="to")
                part.grid(visible=False)


def embeddings(
    points: Tensor, truth: npt.NDArray[Any], classes: Sequence[object], directory: Path
) -> None:
    """The last hidden layer, on its two principal components."""
    centred = (points - points.mean(dim=0)).double().numpy()
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[:2].T
    if flat.shape[1] < 2:
        flat = np.column_stack([flat, np.zeros(len(flat))])
    share = singular[:2] ** 2 / max(float((singular**2).sum()), 1e-300)
    with drawn(directory / "embeddings.png", 7, 5.5) as figure:
        part = figure.subplots()
        if classes:
            for i, label in enumerate(classes[:20]):
                chosen = truth == i
                colour = PALETTE[i % len(PALETTE)]
                part.scatter(flat[chosen, 0], flat[chosen, 1], 12, color=colour, label=plain(label))
            part.legend()
        else:
            shown = part.scatter(flat[:, 0], flat[:, 1], 12, truth, cmap="viridis")
            figure.colorbar(shown, ax=part, label="target")
        part.set(title="Rows as the last layer gets them")
        part.set(xlabel=f"component 1 ({share[0]:.0%} of the variance)")
        part.set(ylabel=f"component 2 ({share[1] if len(share) > 1 else 0:.0%})")


def lr_range(rates: Floats, losses: Floats, suggested: float, path: Path) -> None:
    """The smoothed loss against the learning rate, and the suggestion."""
    with drawn(path, 8, 4.5) as figure:
        part = figure.subplots()
        part.plot(rates, losses)
        part.axvline(
            suggested, color=PALETTE[1], linestyle="--", label=f"suggested {suggested:.2g}"
        )
        part.set(title="Learning rate range test", xlabel="learning rate", ylabel="training loss")
        part.set_xscale("log")
        part.legend()


def _some(items: list[Any]) -> list[Any]:
    if len(items) <= _MOST:
        return items
    return [items[round(i * (len(items) - 1) / (_MOST - 1))] for i in range(_MOST)]


def _grid(figure: Figure, count: int, columns: int) -> list[Axes]:
    parts: list[Axes] = list(
        np.atleast_1d(figure.subplots(-(-count // columns), columns, squeeze=False)).flat
    )
    for empty in parts[count:]:
        empty.set_axis_off()
    return parts[:count]
