"""Importance by several methods, the second opinion, and SHAP values by group."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pellucid.analysis.intervals import Interval
from pellucid.analysis.leaning import Leaning
from pellucid.analysis.scores import SCORES
from pellucid_pipelines.drawing import (
    BLUE,
    INK,
    ORANGE,
    PALETTE,
    QUIET,
    RULE,
    drawn,
    file_name,
    label_of,
    note,
    plain,
)
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.global_explanation.importance import SecondOpinion

_SHOWN = 12  # columns
_GROUPS = 6


def importance_figure(
    explained: Explained, worth: Mapping[str, Interval], metric: str, path: Path
) -> None:
    """Mean |SHAP| beside the permutation importance with its limits, column by column."""
    shap = explained.importance()
    names = [name for name in shap if name in worth][:_SHOWN]
    with drawn(path, 10.5, 1.5 + 0.36 * len(names)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(names))
        left.barh(places, [shap[name] for name in names], color=BLUE, height=0.62)
        left.set_title("What moves the prediction", fontsize=11)
        left.set_xlabel(f"mean |SHAP value|, {explained.unit}")
        found = [worth[name] for name in names]
        right.axvline(0, color=QUIET, linewidth=1)
        right.hlines(
            places, [e.low for e in found], [e.high for e in found], color=ORANGE, alpha=0.5
        )
        right.plot([each.value for each in found], places, "o", color=ORANGE, markersize=6)
        right.set_title("What the score rests on", fontsize=11)
        worse = "lost" if SCORES[metric].direction == "higher" else "added"
        right.set_xlabel(f"{label_of(metric)} {worse} when the column is shuffled")
        _list_columns(left, names)
        _side_by_side(left, right)


def second_opinion_figure(explained: Explained, found: SecondOpinion, path: Path) -> None:
    """LIME against SHAP: mean size by column, and how alike the two rank the columns of a row."""
    sizes = [np.abs(each).mean(axis=0) for each in (found.shap, found.effects)]
    order = np.argsort(-sizes[0], kind="stable")[:_SHOWN]
    with drawn(path, 10.5, 1.7 + 0.36 * len(order)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        places = np.arange(len(order))
        for size, shift, colour, label in zip(
            sizes, (-0.2, 0.2), (BLUE, ORANGE), ("SHAP", "LIME"), strict=True
        ):
            left.barh(places + shift, size[order], height=0.36, color=colour, label=label)
        _list_columns(left, [explained.columns[i] for i in order])
        left.grid(axis="y", visible=False)
        left.legend(loc="lower right")
        left.set_title(f"A second opinion on {len(found.rows)} rows", fontsize=11)
        left.set_xlabel(f"mean size, {explained.unit}")
        _agreement(right, found)


def groups_figure(
    explained: Explained, sensitive: str, groups: Sequence[Leaning], output: int, directory: Path
) -> None:
    """shap_groups_<column>.png: mean SHAP with its limits, and mean |SHAP|, of each group.

    The columns are those whose means differ most between the groups, a group of many rows
    counting more; beyond six groups the largest are drawn.
    """
    largest = sorted(groups, key=lambda each: -len(each.group.rows))[:_GROUPS]
    shown = [each for each in groups if each in largest]
    order = _most_unlike(shown, output)
    places = np.arange(len(order))
    with drawn(
        directory / f"shap_groups_{file_name(sensitive)}.png", 10.5, 2.1 + 0.42 * len(order)
    ) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        left.axvline(0, color=QUIET, linewidth=1)
        for axes in (left, right):
            _rule_between(axes, places)
        for g, each in enumerate(shown):
            at = places + (g - (len(shown) - 1) / 2) * 0.66 / len(shown)
            colour = PALETTE[g]
            left.hlines(
                at, each.low[order, output], each.high[order, output], color=colour, alpha=0.5
            )
            left.plot(each.mean[order, output], at, "o", color=colour, markersize=5)
            name = f"{plain(each.group.name)} (n = {len(each.group.rows):,})"
            right.plot(each.size[order, output], at, "o", color=colour, markersize=5, label=name)
        _list_columns(left, [explained.columns[i] for i in order])
        left.set_xlabel(f"mean SHAP value, {explained.unit}")
        right.set_xlabel(f"mean |SHAP value|, {explained.unit}")
        right.set_xlim(left=0)
        _side_by_side(left, right)
        figure.suptitle(_gap(explained, sensitive, shown, output), x=0.01, ha="left", fontsize=11)
        figure.legend(loc="outside lower left", ncols=4, fontsize=9)


def _most_unlike(groups: Sequence[Leaning], output: int) -> np.ndarray:
    """The columns whose means differ most between the groups, the most different first."""
    means = np.array([each.mean[:-1, output] for each in groups])
    rows = np.array([len(each.group.rows) for each in groups])
    about = means - np.average(means, axis=0, weights=rows)
    return np.argsort(-(rows @ about**2), kind="stable")[:_SHOWN]


def _rule_between(axes: Axes, places: np.ndarray) -> None:
    """A thin line between each column and the next."""
    across = axes.get_yaxis_transform()
    axes.hlines(places[:-1] + 0.5, 0, 1, color=RULE, linewidth=0.6, transform=across)


def _list_columns(axes: Axes, columns: Sequence[str]) -> None:
    """A line for each column, from the top down."""
    axes.set_yticks(np.arange(len(columns)), [plain(name, 30) for name in columns])
    axes.set_ylim(len(columns) - 0.5, -0.5)


def _side_by_side(left: Axes, right: Axes) -> None:
    """Two panels over the same columns, which are named once, at the left."""
    right.tick_params(axis="y", left=False)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))


def _agreement(axes: Axes, found: SecondOpinion) -> None:
    known = found.agreement[np.isfinite(found.agreement)]
    axes.set_title("Do the two agree?", fontsize=11)
    if not len(known):
        note(axes, "not defined")
        return
    axes.hist(known, bins=np.linspace(-1, 1, 21).tolist(), color=BLUE, rwidth=0.9)
    axes.axvline(known.mean(), color=INK, linewidth=1.2, linestyle="--")
    axes.set_xlabel("rank correlation within a row")
    axes.set_ylabel("rows")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    fidelity = found.fidelity[np.isfinite(found.fidelity)]
    told = [f"mean {known.mean():.2f}"]
    told += [f"LIME's R² {fidelity.mean():.2f}"] if len(fidelity) else []
    axes.text(0.04, 0.95, "\n".join(told), transform=axes.transAxes, va="top")


def _gap(explained: Explained, sensitive: str, groups: Sequence[Leaning], output: int) -> str:
    """The clearest gap between a group's mean prediction and the others', and its main carrier."""
    title = f"SHAP values by {plain(sensitive, 40)}"
    gaps = np.array([each.gap[-1, output] for each in groups])
    reach = np.array([each.gap_high[-1, output] for each in groups]) - gaps
    clear = np.where(reach > 0, np.abs(gaps) / np.where(reach > 0, reach, 1), 0)
    if not clear.any():
        return title
    group = groups[int(clear.argmax())]
    name, gap = plain(group.group.name), float(gaps[clear.argmax()])
    if clear.max() < 1:
        return f"{title}: no group's mean prediction is shown to differ from the others'"
    carried = group.gap[:-1, output] * np.sign(gap)
    most = int(carried.argmax())
    return (
        f"{title}. Clearest gap to the others: {name} {gap:+.2g} ({group.gap_low[-1, output]:.2g} "
        f"to {group.gap_high[-1, output]:.2g}),\nof which {np.sign(gap) * carried[most]:+.2g} by "
        f"{plain(explained.columns[most])}"
    )
