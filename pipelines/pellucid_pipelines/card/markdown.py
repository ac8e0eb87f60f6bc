"""Markdown that holds a user's texts."""

import re
from collections.abc import Iterable, Sequence
from typing import Any


def plain(part: Any) -> str:
    """A part of the plan in words: "sgd (lr 0.01, momentum 0.9)"."""
    if not part:
        return "not recorded"
    options = ", ".join(f"{k} {v}" for k, v in part.items() if k != "kind" and v is not None)
    return f"{part.get('kind', 'unnamed')} ({options})" if options else str(part.get("kind"))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells, each taken literally."""
    lines = [[text(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(value: object) -> str:
    """A user's text, on one line, that Markdown takes literally."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", line)
