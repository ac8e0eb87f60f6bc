"""Texts with every token coloured by its SHAP value, as a page of its own."""

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pellucid_pipelines.explain import Explained, Places
from pellucid_pipelines.global_explanation.examples import Shown

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.7 system-ui, sans-serif; color: #1f2937; max-width: 60em; margin: 2em auto; }}
h2 {{ font-size: 1em; margin: 1.6em 0 0.2em; }}
.right {{ color: #059669; }} .wrong {{ color: #dc2626; }}
p {{ margin: 0; white-space: pre-wrap; }} span {{ border-radius: 3px; padding: 1px 0; }}
</style></head><body><h1>{title}</h1>
<p>Red speaks for {output}, blue against it; the value is told where the pointer rests.</p>
{rows}</body></html>
"""
_FOR, _AGAINST = "220, 38, 38", "37, 99, 235"


def write(explained: Explained, shown: Sequence[Shown], path: Path) -> None:
    """Write the page; what users wrote stays text."""
    places = explained.places
    assert places is not None and places.pieces, "there are tokens"  # noqa: PT018
    single = len(explained.outputs) == 1
    output = explained.outputs[0] if single else "the class that is named"
    rows = "\n".join(_row(places, each) for each in shown)
    page = _PAGE.format(title="What the words do", output=html.escape(output), rows=rows)
    path.write_text(page, encoding="utf-8")


def _row(places: Places, shown: Shown) -> str:
    values = places.values[shown.row]
    limit = float(np.abs(values).max(initial=0.0)) or 1.0
    kind = {None: "", True: "right", False: "wrong"}[shown.right]
    pieces = zip(places.pieces[shown.row], values.tolist(), strict=False)
    tokens = "".join(_token(piece, value, limit) for piece, value in pieces)
    return f'<h2 class="{kind}">{html.escape(shown.title)}</h2><p>{tokens}</p>'


def _token(piece: str, value: float, limit: float) -> str:
    colour = _FOR if value > 0 else _AGAINST
    strength = 0.6 * min(1.0, abs(value) / limit)
    style = f"background: rgba({colour}, {strength:.3f})"
    return f'<span style="{style}" title="{value:+.4g}">{html.escape(piece)}</span>'
