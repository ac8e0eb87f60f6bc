"""What the parameters of requests, inputs and outputs ask for; those not named here are ignored.

| of | name | means |
|---|---|---|
| a request | timeout | microseconds until the answer is of no use; 0: no limit |
| | priority | 1 is the most urgent; 0: the default level |
| | binary_data_output | outputs as binary data, where they do not say otherwise |
| an input | binary_data_size | bytes of its binary data |
| an output | binary_data | as binary data |
| | classification | only the best so many, as strings |

Sources: https://github.com/triton-inference-server/server, docs/protocol/extension_*.md.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pellucid.bundle import Datatype, Manifest
from pellucid.errors import InvalidRows
from pellucid_api.engine.values import shown

Parameters = Mapping[str, bool | int | float | str | None]
DEFAULT_LEVEL = 10  # of priority


class Wanted(NamedTuple):
    """An output that is asked for."""

    place: int  # among the manifest's outputs
    name: str
    datatype: str  # as the protocol names it; an enum's `value` is slow to ask for
    binary: bool = False
    classes: int = 0  # the best so many as strings; 0: all values as they are


def schedule_of(parameters: Parameters) -> tuple[float | None, int]:
    """Seconds that a request may take (None: any), and its priority as `Question` has it.

    Raises:
        InvalidRows: a value is not a whole number from 0.
    """
    if not parameters:
        return None, 0
    microseconds = whole(parameters, "timeout")
    level = whole(parameters, "priority")
    return microseconds / 1e6 if microseconds else None, level - DEFAULT_LEVEL if level else 0


def wanted_of(
    outputs: Sequence[tuple[str, Parameters]], parameters: Parameters, manifest: Manifest
) -> list[Wanted]:
    """The outputs that a request asks for, in its order; all, where it names none.

    Args:
        outputs: names and parameters.
        parameters: of the request.
        manifest: of the model.

    Raises:
        InvalidRows: the model has no such output, one is asked for twice, or a parameter does not
            fit.
    """
    binary = flag(parameters, "binary_data_output") if parameters else False
    if not outputs:
        return [
            Wanted(place, each.name, each.datatype.value, binary)
            for place, each in enumerate(manifest.outputs)
        ]
    places = {each.name: place for place, each in enumerate(manifest.outputs)}
    found: list[Wanted] = []
    for name, own in outputs:
        if name not in places:
            raise _refused(name, "the model has no such output", f"It has: {', '.join(places)}.")
        if any(name == each.name for each in found):
            raise _refused(name, "it is asked for twice")
        datatype = manifest.outputs[places[name]].datatype
        classes = whole(own, "classification")
        if classes and datatype is Datatype.BYTES:
            raise _refused(name, "it is a string, which has no classification")
        wanted = flag(own, "binary_data") if "binary_data" in own else binary
        found.append(Wanted(places[name], name, datatype.value, wanted, classes))
    return found


def whole(parameters: Parameters, name: str) -> int:
    """A parameter's whole number; 0 where it is not given.

    Raises:
        InvalidRows: it is none, or negative.
    """
    value = parameters.get(name, 0)
    if type(value) is not int or value < 0:
        raise InvalidRows(
            f"The parameter {name!r} is {shown(value)}.",
            where={"parameter": name},
            remedy="Send a whole number from 0.",
        )
    return value


def flag(parameters: Parameters, name: str) -> bool:
    """A parameter's truth; false where it is not given.

    Raises:
        InvalidRows: it is neither true nor false.
    """
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRows(
            f"The parameter {name!r} is {shown(value)}.",
            where={"parameter": name},
            remedy="Send true or false.",
        )
    return value


def _refused(name: str, reason: str, remedy: str = "") -> InvalidRows:
    return InvalidRows(f"Output {name!r}: {reason}.", where={"output": name}, remedy=remedy)
