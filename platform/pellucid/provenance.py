"""What decided the outcome of a run, in the order in which it took effect, and the outcome.

Two runs of the same inputs end in the same weights, bit by bit, on the same processor. Where they
do not, the first input that differs is where to look; all that follow may be its consequences.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from pellucid.errors import InvalidData


class Provenance(BaseModel):
    """Names and values, or digests of values, in order.

    Attributes:
        inputs: what decided the outcome.
        outcome: what came of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: dict[str, str]
    outcome: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The provenance in a file.

        Raises:
            InvalidData: there is none, or it is not one.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InvalidData(
                "The run has no record of what decided its outcome.",
                where={"file": path.name},
                remedy="It was trained by an older version: train it again to get one.",
            ) from error

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class Difference(NamedTuple):
    """An input or outcome of one run that the other does not have, or has otherwise."""

    name: str
    before: str | None
    after: str | None


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    """What differs, in the order of the first run; then what only the second has."""
    for name in [*before, *(name for name in after if name not in before)]:
        pair = before.get(name), after.get(name)
        if pair[0] != pair[1]:
            yield Difference(name, *pair)


def digest(value: Any) -> str:
    """SHA-256 of bytes, or of a value as canonical JSON."""
    content = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()
