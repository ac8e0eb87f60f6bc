"""The parts of the benchmark, each a module with `measure`, `promises` and `page`."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol, cast

from inference.acceptance import Promise

from watching.scale import Scale

NAMES = (
    "false_alarms",
    "detectors",
    "power",
    "speed",
    "bias",
    "disparities",
    "mitigation",
    "estimates",
    "feedback",
    "storm",
    "bike",
)


class Part(Protocol):
    """What a part's module holds. `found` is what `measure` gave, as JSON keeps it."""

    TITLE: str

    @staticmethod
    def measure(scale: Scale) -> dict[str, Any]: ...

    @staticmethod
    def promises(found: dict[str, Any]) -> Iterator[Promise]: ...

    @staticmethod
    def page(found: dict[str, Any]) -> Iterator[str]: ...


def part(name: str) -> Part:
    """The module; what it needs is imported only then."""
    return cast("Part", import_module(f"watching.{name}"))
