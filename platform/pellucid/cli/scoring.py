"""`pellucid predict` of many rows: a file, request by request, or a job over a data set.

`pellucid explain` of a data set is such a job, too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

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


def score_as_job(
    model: str,
    source: Path | str,
    out: Path | None,
    ids: tuple[str, ...] | None,
    version: int | None,
    register_as: str | None,
) -> None:
    """Score a data set, or a file that becomes one, as a job; without `out` nobody waits for it.

    Args:
        model: NAME, NAME@ALIAS or NAME/VERSION.
        source: a file, or a reference to a data set version.
        out: gets the predictions, Parquet or CSV by its suffix.
        ids: columns that are kept.
        version: of the model.
        register_as: the data set that the predictions become a version of.

    Raises:
        Conflict: the job does not succeed.
    """
    from pellucid.cli.jobs import ended, require_success

    with connect() as client:
        name, number = _resolve(client, model, version)
        if isinstance(source, Path):
            source = _registered(client, source, name, number)
        job = client.jobs.score(name, source, version=number, keep=ids, register_as=register_as)
        say(f"{name} version {number}: job {job.id} scores {job.plan['dataset']}.")
        if out is None:
            say(f"Watch it: pellucid jobs follow {job.id}")
            say(f"Then: pellucid jobs predictions {job.id} --out FILE")
            return
        require_success(ended(client, job.id))
        download(client.jobs.download_predictions, job.id, out)


@dataclass(frozen=True)
class AsJob:
    """How a data set is explained.

    Args:
        method: auto, graph or permutation.
        rows: of a random sample; None: all.
        keep: columns that are kept; None: all.
        register_as: the data set that the SHAP values become a version of.
    """

    method: str = "auto"
    rows: int | None = None
    keep: tuple[str, ...] | None = None
    register_as: str | None = None


def explain_as_job(
    model: str, dataset: str, out: Path | None, version: int | None, how: AsJob
) -> None:
    """Explain a data set as a job; without `out` nobody waits for it.

    Args:
        model: NAME, NAME@ALIAS or NAME/VERSION.
        dataset: a reference to a data set version.
        out: gets the SHAP values, Parquet or CSV by its suffix.
        version: of the model.
        how: see there.

    Raises:
        InvalidInput: there is no such method.
        Conflict: the job does not succeed.
    """
    from pellucid.cli.jobs import ended, require_success
    from pellucid.resources.jobs import ExplanationMethod

    offered = get_args(ExplanationMethod)
    method: ExplanationMethod | None = next((each for each in offered if each == how.method), None)
    if method is None:
        raise InvalidInput(
            f"A data set is not explained by the method {how.method!r}.",
            remedy=f"There are: {', '.join(offered)}.",
        )
    with connect() as client:
        name, number = _resolve(client, model, version)
        job = client.jobs.explain(
            name,
            dataset,
            version=number,
            method=method,
            rows=how.rows,
            keep=how.keep,
            register_as=how.register_as,
        )
        say(f"{name} version {number}: job {job.id} explains {job.plan['dataset']}.")
        if out is None:
            say(f"Watch it: pellucid jobs follow {job.id}")
            say(f"Then: pellucid jobs explanations {job.id} --out FILE")
            return
        require_success(ended(client, job.id))
        download(client.jobs.download_explanations, job.id, out)


def download(fetch: Callable[[str, Path], None], job_id: str, out: Path) -> None:
    """Write what a job has made, as Parquet or CSV by the suffix.

    Args:
        fetch: writes it as Parquet.
        job_id: of the job.
        out: is written.

    Raises:
        InvalidInput: it is neither.
        Conflict: the job has not made such a thing.
    """
    from pellucid.parts import join, suffix_of

    if suffix_of(out) == ".parquet":
        fetch(job_id, out)
    else:
        partial = out.with_name(f"{out.name}.parquet")
        fetch(job_id, partial)
        join([partial], out)
        partial.unlink()
    say(str(out))


def _registered(client: "Client", file: Path, model: str, version: int) -> str:
    """The file as a data set version; codes stay the strings that the model takes."""
    inputs = client.models.version(model, version).inputs
    strings = [str(each["name"]) for each in inputs if each["kind"] in ("categorical", "text")]
    types = dict.fromkeys(strings, "string")
    dataset = client.datasets.add(file, name=file.name.split(".")[0], types=types)
    return f"{dataset.name}@{dataset.version}"


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
