"""What was found for rows, as the service sends it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pellucid.analysis.counterfactuals import Counterfactual
from pellucid.bundle import Input, Manifest
from pellucid.resources.counterfactuals import Alteration, CounterfactualRow, Decision
from pellucid.resources.counterfactuals import Counterfactual as Told
from pellucid.schema import Kind
from pellucid_api.engine.answers import answers
from pellucid_api.engine.counterfactuals import Answer, Arrays, Wish
from pellucid_api.engine.rows import listed


def answered(
    manifest: Manifest,
    arrays: Arrays,
    predicted: Arrays,
    wishes: Sequence[Wish],
    found: Sequence[Answer],
) -> list[CounterfactualRow]:
    """Every row's answer.

    Args:
        manifest: of the version.
        arrays: the rows, one array (rows, ...) for each input.
        predicted: what the version says of them, one array (rows, ...) for each output.
        wishes: what was asked, for each row.
        found: what came of it.
    """
    return [
        CounterfactualRow(
            prediction=before,
            counterfactuals=_told(manifest, arrays, row, answer),
            reason=_reason(wish, answer),
            binding=list(answer.found.binding),
            model_rows=answer.found.rows,
        )
        for row, (before, wish, answer) in enumerate(
            zip(_decisions(manifest, predicted), wishes, found, strict=True)
        )
    ]


def _decisions(manifest: Manifest, outputs: Arrays) -> list[Decision]:
    rows = len(next(iter(outputs.values())))
    return [Decision.model_validate(each) for each in answers(manifest, outputs, [""] * rows)]


def _told(manifest: Manifest, arrays: Arrays, row: int, answer: Answer) -> list[Told]:
    if not answer.verified:
        return []
    return [
        Told(
            changes=[
                _alteration(each, arrays[each.name][row], counterfactual)
                for each in manifest.inputs
                if each.name in counterfactual.changes
            ],
            prediction=decision,
            verified=True,
            distance=counterfactual.size,
        )
        for counterfactual, decision in zip(
            answer.verified, _decisions(manifest, answer.outputs), strict=True
        )
    ]


def _alteration(each: Input, original: Any, counterfactual: Counterfactual) -> Alteration:
    before, after = (_plain(each, v) for v in (original, counterfactual.changes[each.name]))
    return Alteration(column=each.name, before=before, after=after)


def _plain(each: Input, value: Any) -> Any:
    """A value as rows have it in JSON; whole numbers without a point."""
    if isinstance(value, str):
        return value or None
    number = float(value)
    if number != number:
        return None
    if each.kind is Kind.BOOLEAN:
        return bool(number)
    if each.kind is Kind.DATETIME:
        return datetime.fromtimestamp(number, UTC).isoformat()
    return int(number) if number.is_integer() else number


def _reason(wish: Wish, answer: Answer) -> str:
    """Why there is no counterfactual; empty if there is one."""
    found = answer.found
    if answer.verified:
        return ""
    if found.met:
        return "The row is decided as desired already."
    if found.counterfactuals:
        return "What the search found, the served model did not confirm: the decision is too close."
    free = [name for name, each in wish.columns.items() if each.change != "never"]
    if not free:
        return "No column may change."
    if found.exhausted:
        return (
            f"None was found before the search had to end, after {found.rows:,} rows of the model. "
            "Allow a larger budget or more time."
        )
    most = min(wish.most_columns, len(free))
    text = f"None was found among the changes of up to {most} columns that are allowed."
    if found.binding:
        text += (
            f" With the best of them, one of these would have sufficed: {listed(found.binding)}."
        )
    return text
