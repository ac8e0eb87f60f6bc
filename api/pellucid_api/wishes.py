"""What a request for counterfactuals asks: which decision, by changes of which columns."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from pellucid.analysis.counterfactuals import ClassGoal, Goal, RangeGoal, tightened
from pellucid.bundle import ColumnReference, Manifest
from pellucid.errors import Conflict, InvalidInput
from pellucid.schema import Change, Constraint, Kind
from pellucid_api.engine.counterfactuals import Arrays
from pellucid_api.engine.rows import listed
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values, shown


class Desired(BaseModel):
    """A decision: a class, a probability of it, or a range of values."""

    model_config = ConfigDict(extra="forbid")

    class_: int | str | None = Field(
        default=None, alias="class", description="Default: any but the predicted one."
    )
    probability: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="That the class must reach. Default: it is the predicted one.",
    )
    at_least: FiniteFloat | None = Field(default=None, description="Of a regression's value.")
    at_most: FiniteFloat | None = Field(default=None, description="Of a regression's value.")


def goals(
    manifest: Manifest, desired: Desired, predicted: Arrays, thresholds: Values | None = None
) -> list[Goal]:
    """The goal for each row, given what is predicted for it as it is.

    Args:
        manifest: of the version.
        desired: what was asked for.
        predicted: the version's outputs for the rows.
        thresholds: (rows,) from which the positive class is taken; None: the likeliest class is.

    Raises:
        Conflict: the model decides nothing.
        InvalidInput: it has no such class, or decides something else.
    """
    bounded = desired.at_least is not None or desired.at_most is not None
    named = desired.class_ is not None or desired.probability is not None
    rows = len(next(iter(predicted.values())))
    if manifest.task == "classification":
        if bounded:
            raise _misplaced("at_least and at_most are of values, and this model predicts classes.")
        if thresholds is not None:
            return _decided(manifest, desired, predicted, thresholds)
        best = predicted["probabilities"].argmax(axis=1).tolist()
        return [ClassGoal(_wanted(manifest, desired, each), desired.probability) for each in best]
    if manifest.task != "regression" or manifest.outputs[0].shape != (-1,):
        raise Conflict(
            f"{manifest.name!r} predicts neither classes nor one value for each row.",
            where={"model": manifest.name},
            remedy="Counterfactuals are for such models.",
        )
    if named or not bounded:
        raise _misplaced(f"This model predicts a value: of {manifest.target!r}.")
    low = -np.inf if desired.at_least is None else desired.at_least
    high = np.inf if desired.at_most is None else desired.at_most
    if low > high:
        raise InvalidInput(
            f"at_least {low:g} is above at_most {high:g}.", where={"field": "desired"}
        )
    return [RangeGoal(low, high)] * rows


def _decided(
    manifest: Manifest, desired: Desired, predicted: Arrays, thresholds: Values
) -> list[Goal]:
    """Of two classes, each row's goal is a probability: that from which it is decided so."""
    positive = manifest.classes.index(manifest.positive_class)
    found: list[Goal] = []
    yes = predicted["probabilities"][:, positive] >= thresholds
    for decided, threshold in zip(yes.tolist(), thresholds.tolist(), strict=True):
        wanted = _wanted(manifest, desired, positive if decided else 1 - positive)
        # What is not positive must be likelier than this, and not only as likely.
        needed = threshold if wanted == [positive] else np.nextafter(1 - threshold, 2)
        found.append(ClassGoal(wanted, desired.probability or float(needed)))
    return found


def _wanted(manifest: Manifest, desired: Desired, predicted: int) -> list[int]:
    names = [str(each) for each in manifest.classes]
    if desired.class_ is None:
        return [i for i in range(len(names)) if i != predicted]
    if str(desired.class_) not in names:
        raise InvalidInput(
            f"There is no class {shown(desired.class_)}.",
            where={"field": "desired"},
            remedy=f"The classes are: {listed(names)}.",
        )
    return [names.index(str(desired.class_))]


def _misplaced(why: str) -> InvalidInput:
    return InvalidInput(
        why,
        where={"field": "desired"},
        remedy='Send a class, {"class": ..., "probability": ...}, or of values {"at_least": ...}, '
        '{"at_most": ...} or both.',
    )


def changeable(
    served: Served, frozen: Sequence[str], constraints: Mapping[str, Constraint]
) -> dict[str, ColumnReference]:
    """What the columns of a version's rows may become.

    Args:
        served: its bundle tells what its plan allows.
        frozen: columns that must stay besides.
        constraints: more of them.

    Raises:
        Conflict: the version cannot tell.
        InvalidInput: the request names a column that is no input, or limits it as it cannot be.
    """
    manifest = served.model.manifest
    told = manifest.explanation.reference if manifest.explanation else {}
    if not told:
        raise Conflict(
            f"Version {served.version} of {served.name!r} does not know what its columns may be: "
            "its bundle has no reference for counterfactuals.",
            where={"model": served.name, "version": served.version},
            remedy="Train it again. Models that were made elsewhere, or that take images, "
            "sequences or texts alone, have none.",
        )
    inputs = {each.name: each for each in manifest.inputs}
    for field, names in (("frozen", frozen), ("constraints", constraints)):
        for name in names:
            if name not in inputs:
                raise InvalidInput(
                    f"{field}: there is no column {name!r}.",
                    where={"field": field, "column": name},
                    remedy=f"The model takes these columns: {listed([*inputs])}.",
                )
    for name, constraint in constraints.items():
        if constraint.ordered and inputs[name].kind is Kind.CATEGORICAL:
            raise InvalidInput(
                f"The column {name!r} holds strings, which have no order.",
                where={"field": "constraints", "column": name},
                remedy="Use change: never, or put it under `frozen`.",
            )
    limits = {**constraints, **dict.fromkeys(frozen, Constraint(change=Change.NEVER))}
    return {n: tightened(each, limits[n]) if n in limits else each for n, each in told.items()}
