"""`pellucid predict --file`: a whole file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.cli.terminal import connect, console, say
from pellucid.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from pellucid.client import Client


def score_file(
    model: str,
    file: Path,
    out: Path,
    ids: tuple[str, ...] | None,
    batch_rows: int,
    version: int | None,
) -> None:
    """Score a file, its progress told on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from pellucid.client.scoring import Scoring, rows_in, score

    with connect() as client:
        name, number = _resolve(client, model, version)
        job = Scoring(file.absolute(), out.absolute(), name, number, ids, batch_rows)
        say(f"{name} version {number}")
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        began = time.monotonic()
        with Progress(*columns, console=console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=rows_in(job.source))
            rows = score(client, job, lambda done: bar.advance(task, done))
    say(f"{rows:,} rows in {time.monotonic() - began:.1f} s: {out}")


def _resolve(client: "Client", text: str, version: int | None) -> tuple[str, int]:
    """NAME, NAME@ALIAS or NAME/VERSION to one version, which then scores all rows.

    Raises:
        InvalidInput: it is none of them.
        NotFound: there is no such model or alias.
    """
    name, slash, number = text.partition("/")
    if slash and number.isdecimal():
        return name, int(number)
    name, _, alias = text.partition("@")
    if slash or (version and alias):
        raise InvalidInput(f"{text!r} is no model.", remedy="Write NAME, NAME@ALIAS or NAME/3.")
    if version:
        return name, version
    aliases = client.models.get(name).aliases
    if (alias or "champion") not in aliases:
        raise NotFound(
            f"The model {name!r} has no {alias or 'champion'}.",
            where={"model": name},
            remedy=f"Promote a version, or name one: {name}/1.",
        )
    return name, aliases[alias or "champion"]
