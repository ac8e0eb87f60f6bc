"""A version's reference: how its rows were when it was trained, without the rows.

`profile.json` of a bundle holds it. Versions that were made elsewhere have none, as those of before
there was one; `ReferenceProfile.find` then gives None.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pellucid.analysis.watching.profiles import (
    Bins,
    Profile,
    bins_to_json,
    from_json,
    to_json,
)
from pellucid.bundle import PROFILE, Input
from pellucid.errors import InvalidData
from pellucid.monitoring.profiles.readings import classes_of

FORMAT = 1


@dataclass(frozen=True, eq=False)
class ReferenceProfile:
    """What windows are compared to.

    Attributes:
        inputs: of training rows.
        outputs: of held-out rows, by group of each sensitive column as well.
        importance: column -> its share of all mean |SHAP values|, 0 to 1.
        sketches: column -> kind (kll, hll, frequent) -> a sketch of the training rows in base64.
        grouping: sensitive column -> how its values become groups, as in the manifest.
    """

    inputs: Profile
    outputs: Profile
    importance: Mapping[str, float] = field(default_factory=dict)
    sketches: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    grouping: Mapping[str, Input] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Training rows that were counted."""
        return self.inputs.rows

    @cached_property
    def bins(self) -> dict[str, Bins]:
        """Of inputs and outputs: what windows are counted in."""
        return {**self.inputs.bins, **self.outputs.bins}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Those with a probability each, in the manifest's order."""
        return classes_of(self.outputs.bins)

    @cached_property
    def whole(self) -> Profile:
        """Inputs and outputs as one; each tally knows its rows, of training or held out."""
        tallies = {**self.inputs.tallies, **self.outputs.tallies}
        return Profile(self.bins, tallies, self.inputs.rows, self.outputs.groups)

    @cached_property
    def digest(self) -> str:
        """Of the bins: profiles in the same bins add up."""
        bins = {name: bins_to_json(each) for name, each in self.bins.items()}
        content = json.dumps(
            [bins, [each.model_dump(mode="json") for each in self.grouping.values()]]
        )
        return hashlib.sha256(content.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        document = {
            "format": FORMAT,
            "inputs": to_json(self.inputs),
            "outputs": to_json(self.outputs),
            "importance": dict(self.importance),
            "sketches": {name: dict(each) for name, each in self.sketches.items()},
            "grouping": [each.model_dump(mode="json") for each in self.grouping.values()],
        }
        path.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote.

        Raises:
            InvalidData: the file is not there, or holds something else.
        """
        try:
            document = json.loads(path.read_bytes())
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}, not {FORMAT}")
            return cls._of(document)
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidData(
                f"The reference profile cannot be read: {error!r:.200}.",
                where={"file": str(path)},
                remedy="Download the version again, or train it again.",
            ) from error

    @classmethod
    def find(cls, bundle: Path) -> Self | None:
        """That of a bundle's directory; None where it has none, as versions made elsewhere.

        Raises:
            InvalidData: it has one that cannot be read.
        """
        path = bundle / PROFILE
        return cls.load(path) if path.is_file() else None

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            from_json(document["inputs"]),
            from_json(document["outputs"]),
            {name: float(share) for name, share in document["importance"].items()},
            document["sketches"],
            {each.name: each for each in map(Input.model_validate, document["grouping"])},
        )
