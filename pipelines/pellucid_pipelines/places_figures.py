"""SHAP values of pixels, steps and tokens, drawn over what the network was shown.

Red speaks for the output that is named above, blue against it; how strong the colours are can be
compared within one row's picture only.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pellucid_pipelines.drawing import GREEN, INK, RED, drawn, plain
from pellucid_pipelines.explain import Explained, Places
from pellucid_pipelines.global_explanation.examples import Shown, first

Floats = npt.NDArray[np.float64]

_COLOURS = "RdBu_r"
_STRONGEST = 99.5  # percentile of |value| that is drawn at full strength
_PICTURES, _ACROSS, _ROWS = 16, 4, 6
_TEXTS, _LINES, _LINE = 8, 4, 110  # rows, lines of each, characters of a line
_COLUMNS = 12
COUNTS = {"image": _PICTURES, "sequence": _ROWS, "text": _TEXTS}
_TITLES = {None: INK, True: GREEN, False: RED}


def places_figures(
    explained: Explained, directory: Path, shown: Sequence[Shown] | None = None
) -> None:
    """Write shap_images.png, shap_steps.png or shap_texts.png of some explained rows.

    Titles of rows that are predicted right are green, others red. With several columns there is
    also shap_bar.png: how much each of them moves the prediction.

    Args:
        explained: the rows, with their places.
        directory: where to write.
        shown: which of them; by default the first ones.
    """
    places = explained.places
    assert places is not None, "there are values of places"
    draw = {"image": _images, "sequence": _sequences, "text": _texts}[places.modality]
    count = COUNTS[places.modality]
    draw(explained, places, (shown or first(explained, count))[:count], directory)
    if len(explained.columns) > 1:
        _bar(explained, directory)


def _heading(explained: Explained, shown: Sequence[Shown], what: str) -> str:
    numbers = explained.unit.startswith("units of ")
    single = len(explained.outputs) == 1 or numbers
    output = plain(explained.outputs[0], 40) if single else "the output that is named"
    heading = f"Which {what} speak for (red) and against (blue) {output}"
    if all(each.right is None for each in shown):
        return heading
    judged = (
        "are the smallest errors, red the largest" if numbers else "is predicted right, red wrong"
    )
    return f"{heading}\nTitles: green {judged}"


def _images(explained: Explained, places: Places, shown: Sequence[Shown], directory: Path) -> None:
    """Pairs: the image, and the values over it."""
    pairs = min(_ACROSS, len(shown))
    lines = math.ceil(len(shown) / pairs)
    with drawn(directory / "shap_images.png", 3.2 * pairs, 1.9 * lines + 0.6) as figure:
        figure.suptitle(_heading(explained, shown, "pixels"))
        axes = figure.subplots(lines, 2 * pairs, squeeze=False).ravel()
        for each in axes:
            each.set_axis_off()
        for place, each in enumerate(shown):
            picture, values = _frame(places.inputs[each.row], places.values[each.row])
            left, over = axes[2 * place], axes[2 * place + 1]
            left.imshow(picture, cmap="gray", vmin=0, vmax=255)
            left.set_title(each.title, fontsize=9, color=_TITLES[each.right])
            over.imshow(picture.mean(axis=-1), cmap="gray", vmin=0, vmax=255, alpha=0.35)
            limit = _limit(values)
            strength = np.clip(np.abs(values) / limit, 0, 1) ** 0.6  # else the image shows through
            over.imshow(values, cmap=_COLOURS, vmin=-limit, vmax=limit, alpha=strength)


def _frame(pixels: npt.NDArray[np.uint8], values: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
    """(height, width, channels) and (height, width); of frames those with the largest values."""
    if pixels.ndim == 4:
        most = int(np.abs(values).sum(axis=(1, 2)).argmax())
        pixels, values = pixels[most], values[most]
    return np.moveaxis(pixels, 0, -1), values


def _sequences(
    explained: Explained, places: Places, shown: Sequence[Shown], directory: Path
) -> None:
    """For each row a map of steps x columns, the largest columns on top."""
    order = np.argsort(-np.abs(places.values).sum(axis=(0, 1)), kind="stable")[:_COLUMNS]
    height = len(shown) * (0.9 + 0.22 * len(order))
    with drawn(directory / "shap_steps.png", 9, height + 0.8) as figure:
        figure.suptitle(_heading(explained, shown, "steps"))
        for each, axes in zip(
            shown, figure.subplots(len(shown), 1, squeeze=False).ravel(), strict=True
        ):
            real = places.inputs[each.row, :, -1] > 0
            values = places.values[each.row][: max(1, int(real.sum()))].T[order]
            limit = _limit(values)
            image = axes.imshow(
                values, cmap=_COLOURS, vmin=-limit, vmax=limit, aspect="auto", interpolation="none"
            )
            axes.set_yticks(range(len(order)), [plain(explained.columns[i]) for i in order])
            axes.set_title(each.title, fontsize=10, color=_TITLES[each.right])
            axes.grid(visible=False)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            figure.colorbar(image, ax=axes, fraction=0.03)
        axes.set_xlabel(f"step (colour: SHAP value, {explained.unit})")


def _texts(explained: Explained, places: Places, shown: Sequence[Shown], directory: Path) -> None:
    """Each row's tokens, coloured."""
    texts = [_layout(places.pieces[each.row]) for each in shown]
    lines = [max((line for line, *_ in text), default=0) + 1 for text in texts]
    with drawn(
        directory / "shap_texts.png", 11, 0.55 * len(texts) + 0.28 * sum(lines) + 0.6
    ) as figure:
        figure.suptitle(_heading(explained, shown, "words"))
        grid = figure.subplots(len(texts), 1, squeeze=False, height_ratios=lines).ravel()
        for place, (each, axes) in enumerate(zip(shown, grid, strict=True)):
            axes.set_axis_off()
            axes.set_title(each.title, fontsize=10, color=_TITLES[each.right])
            axes.set_xlim(0, _LINE)
            axes.set_ylim(lines[place] - 0.5, -0.5)
            _highlight(axes, texts[place], places.values[each.row])


def _layout(pieces: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """(line, place, text) of each token, in a fixed-width type, as far as the lines reach."""
    found, line, place = [], 0, 0
    for piece in pieces:
        text = plain(piece, _LINE)
        place += piece[:1].isspace() and place > 0
        if place and place + len(text) > _LINE:
            line, place = line + 1, 0
        if line == _LINES:
            break
        found.append((line, place, text))
        place += len(text)
    return found


def _highlight(axes: Axes, tokens: list[tuple[int, int, str]], values: Floats) -> None:
    limit = _limit(values)
    for (line, place, text), value in zip(tokens, values, strict=False):
        colour = mpl.colormaps[_COLOURS](0.5 + 0.25 * float(np.clip(value / limit, -1, 1)))
        axes.add_patch(Rectangle((place, line - 0.42), len(text), 0.84, color=colour, linewidth=0))
        for i, letter in enumerate(text):  # at its place whatever the font's width
            axes.text(place + i + 0.5, line, letter, family="monospace", ha="center", va="center")


def _bar(explained: Explained, directory: Path) -> None:
    """Mean |SHAP| of each column, as `Explained.importance`."""
    largest = list(explained.importance().items())[:_COLUMNS][::-1]
    with drawn(directory / "shap_bar.png", 8, 1.4 + 0.35 * len(largest)) as figure:
        axes = figure.subplots()
        axes.barh([plain(name, 30) for name, _ in largest], [value for _, value in largest])
        axes.set_title("What moves the prediction")
        axes.set_xlabel(f"mean |SHAP value|, {explained.unit}")


def _limit(values: Floats) -> float:
    return float(np.percentile(np.abs(values), _STRONGEST)) or float(np.abs(values).max()) or 1.0
