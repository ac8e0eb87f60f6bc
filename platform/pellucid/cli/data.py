"""`pellucid data`: register data sets and look at them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.constraints import read_constraints
from pellucid.cli.terminal import (
    Cursor,
    Json,
    Limit,
    connect,
    console,
    say,
    say_next,
    show_facts,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from pellucid.resources.datasets import ColumnProfile, Dataset

app = typer.Typer(help="Register data sets and look at them.", no_args_is_help=True)

Reference = Annotated[str, typer.Argument(help="NAME (the newest), NAME@VERSION or SHA-256.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        column, separator, value = text.rpartition("=")
        if not (separator and column and value):
            raise typer.BadParameter(f"{text!r} is not COLUMN=VALUE")
        pairs[column] = value
    return pairs


@app.command()
def add(
    file: File,
    name: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="COLUMN=TYPE: int64, float64, string, ...")
    ] = None,
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="COLUMN=ROLE: target, sensitive, time, ...")
    ] = None,
    constraints: Annotated[
        list[str] | None,
        typer.Option(
            "--constraint",
            help="COLUMN=CHANGE: never, increase, decrease, free; or COLUMN=LOW..HIGH. Of "
            "counterfactuals.",
        ),
    ] = None,
    parent: Annotated[str | None, typer.Option(help="The version that this one came from.")] = None,
    as_json: Json = False,
) -> None:
    """Register a CSV, Parquet, JSON lines or .npz file, or a zip of images in class folders."""
    name = name or file.name.split(".")[0]
    limits = read_constraints(constraints)
    dataset = _upload(file, name, _pairs(types), _pairs(roles), limits, parent)
    _show(dataset, as_json)


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Option(help="Only versions of this name.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List the versions, newest first."""
    with connect() as client:
        page = client.datasets.list(name=name, cursor=cursor, limit=limit)
    if as_json:
        show_json(page)
        return
    show_table(
        ("name", "version", "rows", "columns", "bytes", "sha256", "created"),
        (
            (
                dataset.name,
                dataset.version,
                dataset.rows,
                len(dataset.data_schema.columns),
                dataset.bytes,
                dataset.sha256[:12],
                f"{dataset.created_at:%Y-%m-%d %H:%M}",
            )
            for dataset in page.items
        ),
        "No data sets yet: `pellucid data add FILE` or `pellucid data demo credit`.",
    )
    say_next(page.next_cursor)


@app.command()
def show(reference: Reference, as_json: Json = False) -> None:
    """Show a version, its columns and where it came from."""
    with connect() as client:
        lineage = client.datasets.lineage(reference)
        profile = client.datasets.profile(reference)
    if as_json:
        plain = lineage.model_dump(mode="json")
        show_json(plain | {"profile": [column.model_dump(mode="json") for column in profile]})
        return
    _show(lineage.dataset, as_json=False)
    for title, names in (
        ("from", [f"{dataset.name}@{dataset.version}" for dataset in lineage.ancestors]),
        ("became", [f"{dataset.name}@{dataset.version}" for dataset in lineage.descendants]),
        ("jobs", lineage.jobs),
        ("models", lineage.models),
    ):
        if names:
            show_facts([(title, ", ".join(names))])
    show_table(
        ("column", "type", "role", "missing", "distinct", "minimum", "mean", "maximum", "remarks"),
        (
            (
                column.name,
                column.type.value,
                column.role.value,
                column.missing,
                column.distinct,
                column.minimum,
                column.mean,
                column.maximum,
                "; ".join(column.warnings) or _remark(column),
            )
            for column in profile
        ),
        "It has no columns.",
    )


def _remark(column: "ColumnProfile") -> str:
    """What the numbers beside it do not tell."""
    if column.images:
        sides = (column.images.height, column.images.width)
        size = " x ".join(f"{side.median:g}" for side in sides)
        return f"{', '.join(column.images.formats)}, {size} pixels"
    if column.lengths and not column.top:
        return f"{column.lengths.minimum} to {column.lengths.maximum} numbers"
    return ", ".join(top.value for top in column.top[:3])


@app.command()
def preview(
    reference: Reference,
    rows: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    as_json: Json = False,
) -> None:
    """Show the first rows."""
    with connect() as client:
        found = client.datasets.preview(reference, rows)
    if as_json:
        show_json(found)
        return
    names = list(found[0]) if found else []
    show_table(names, ([_cell(row[name]) for name in names] for row in found), "It has no rows.")


def _cell(value: object) -> object:
    if not isinstance(value, list):
        return value
    return ", ".join("" if number is None else str(number) for number in value)


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="credit, breast_cancer, wine, digits or diabetes.")],
    rows: Annotated[int, typer.Option(min=10, help="Rows of the synthetic credit data.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic credit data.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write a CSV or Parquet file instead of registering it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register the synthetic credit data, or one of scikit-learn's bundled sets."""
    from pellucid.datasets import bundled, synthetic

    if name not in ("credit", *bundled.NAMES):
        raise typer.BadParameter(f"{name!r} is none of credit, {', '.join(bundled.NAMES)}")
    table, roles = synthetic.credit(rows, seed=seed) if name == "credit" else bundled.load(name)
    if out:
        _write(table, out)
        say(f"Wrote {table.num_rows:,} rows to {out}.")
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.parquet")
        _write(table, file)
        named = {column: role.value for column, role in roles.items()}
        dataset = _upload(file, name, {}, named, {})
    _show(dataset, as_json)


def _write(table: "object", path: Path) -> None:
    if path.suffix == ".csv":
        from pyarrow import csv

        csv.write_csv(table, path)
    else:
        from pyarrow import parquet

        parquet.write_table(table, path)


def _upload(
    file: Path,
    name: str,
    types: Mapping[str, str],
    roles: Mapping[str, str],
    constraints: Mapping[str, Mapping[str, Any]],
    parent: str | None = None,
) -> "Dataset":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with (
        connect() as client,
        Progress(
            *columns,
            TransferSpeedColumn(),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        ) as progress,
    ):
        task = progress.add_task(f"Uploading {file.name}", total=file.stat().st_size)
        return client.datasets.add(
            file,
            name=name,
            types=types,
            roles=roles,
            constraints=constraints,
            parent=parent,
            progress=lambda sent, total: progress.update(task, completed=sent, total=total),
        )


def _show(dataset: "Dataset", as_json: bool) -> None:
    if as_json:
        show_json(dataset)
        return
    show_facts(
        [
            ("data set", f"{dataset.name}@{dataset.version}"),
            ("sha256", dataset.sha256),
            ("rows", dataset.rows),
            ("columns", len(dataset.data_schema.columns)),
            ("source", dataset.source),
            ("created", f"{dataset.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ]
    )
