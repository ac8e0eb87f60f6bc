"""`pellucid counterfactuals`: what would have led to another decision."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.constraints import read_constraints
from pellucid.cli.terminal import Json, connect, say, show_json, show_table
from pellucid.errors import InvalidRows

if TYPE_CHECKING:
    from pellucid.resources.counterfactuals import Counterfactual, CounterfactualRow, Decision


def counterfactuals(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    row: Annotated[list[str], typer.Option(help="A row as a JSON object. Repeatable.")],
    desired: Annotated[
        str | None, typer.Option(help="The class that is wanted. Default: any other.")
    ] = None,
    probability: Annotated[
        float | None, typer.Option(help="That the class must reach. Default: it is predicted.")
    ] = None,
    at_least: Annotated[float | None, typer.Option(help="Of a regression's value.")] = None,
    at_most: Annotated[float | None, typer.Option(help="Of a regression's value.")] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="A column that stays as it is. Repeatable.")
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=never, increase or decrease, or COLUMN=LOW..HIGH. Repeatable."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10, help="Most answers for a row.")] = 1,
    version: Annotated[int | None, typer.Option(min=1, help="Default: the champion.")] = None,
    as_json: Json = False,
) -> None:
    """Find the smallest change of a row that changes the decision."""
    asked = {"class": desired, "probability": probability, "at_least": at_least}
    given = {
        key: value for key, value in (asked | {"at_most": at_most}).items() if value is not None
    }
    with connect() as client:
        found = client.counterfactuals(
            name,
            [_row(text) for text in row],
            version,
            desired=given or None,
            frozen=freeze or (),
            constraints=read_constraints(constraint),
            count=count,
        )
    if as_json:
        show_json(found)
        return
    say(f"{found.model} version {found.version}")
    for number, each in enumerate(found.rows, 1):
        _show(number, each)


def _row(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidRows(f"--row is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidRows("--row is no JSON object.", remedy='One row is {"column": value, ...}.')
    return value


def _show(number: int, row: "CounterfactualRow") -> None:
    say(f"row {number}: {_decision(row.prediction)}")
    cells = (
        (_changes(each), _decision(each.prediction), each.distance) for each in row.counterfactuals
    )
    show_table(("change", "decision", "distance"), cells, row.reason)


def _changes(found: "Counterfactual") -> str:
    return ", ".join(f"{each.column}: {each.before} -> {each.after}" for each in found.changes)


def _decision(found: "Decision") -> str:
    if found.label is None:
        return f"{found.value:.6g}"
    return f"{found.label} ({(found.probabilities or {}).get(str(found.label), 0):.3f})"
