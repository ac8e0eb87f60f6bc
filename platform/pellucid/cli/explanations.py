"""`pellucid explain`: what each column adds to a prediction."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.rows import Images, RowsFile, Texts, given_rows, read_rows
from pellucid.cli.scoring import AsJob, explain_as_job
from pellucid.cli.terminal import Json, connect, say, show_json, show_table
from pellucid.errors import InvalidRows

if TYPE_CHECKING:
    from pellucid.resources.explanations import ExplainedPrediction


def explain(
    name: Annotated[
        str, typer.Argument(help="The model's name; of a data set also NAME@ALIAS, NAME/3.")
    ],
    rows: RowsFile = None,
    image: Images = None,
    text: Texts = None,
    version: Annotated[int | None, typer.Option(min=1, help="Default: the champion.")] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="A file with one row, that the others are compared to."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--class", help="The class, or the output, to explain.")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="A class: explain the predicted one less this one.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Most columns of each row.")] = 10,
    method: Annotated[
        str | None,
        typer.Option(
            help="amortized, where the version has it. Of a --dataset: auto, graph or permutation."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Explain a data set, NAME or NAME@VERSION, as a job.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .parquet or .csv for the data set's SHAP values.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the data set's rows, at random.")
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="A column of the data set to keep. Repeatable; default: all."),
    ] = None,
    register_as: Annotated[
        str | None, typer.Option(help="The data set that its SHAP values are a version of.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain predictions: what each column adds, from the base to what is predicted.

    A data set is explained as a job; without --out the command does not wait for it.
    """
    if dataset is not None:
        how = AsJob(method or "auto", sample, tuple(ids) if ids else None, register_as)
        explain_as_job(name, dataset, out, version, how)
        return
    with connect() as client:
        answer = client.explain(
            name,
            given_rows(client, name, version, rows, image, text),
            version,
            reference=None if reference is None else _only_row(reference),
            output=output,
            contrast=contrast,
            top_k=None if as_json else top,
            method=method,
        )
    if as_json:
        show_json(answer)
        return
    say(f"{answer.model} version {answer.version}, {answer.method}, in {answer.unit}")
    for number, row in enumerate(answer.predictions, 1):
        _show(number, row)
    if answer.hint:
        say(answer.hint)


def _show(number: int, row: "ExplainedPrediction") -> None:
    explained = row.explained
    against = f" less {explained.contrast}" if explained.contrast else ""
    outcome = row.label if row.label is not None else row.value
    say(f"row {number}: {outcome}; {explained.output}{against}: {explained.value:.6g}")
    lines: list[tuple[object, ...]] = [("(base)", None, row.base)]
    lines += [(each.column, _shown(each.value), each.shap) for each in row.contributions]
    if row.others is not None:
        lines.append((f"({row.others.columns} others)", None, row.others.shap))
    show_table(("column", "value", "adds"), lines, "It has no columns.")
    if not row.within_tolerance:
        say(f"Its values do not add up: {row.gap:.3g} is missing.")


def _shown(value: object) -> object:
    text = str(value)
    return value if isinstance(value, float) or len(text) <= 40 else f"{text[:37]}..."


def _only_row(path: Path) -> dict[str, object]:
    found = read_rows(path)
    if len(found) != 1:
        raise InvalidRows(
            f"The reference is one row, and the file has {len(found):,}.",
            where={"file": str(path)},
        )
    return found[0]
