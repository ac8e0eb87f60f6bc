"""What every command needs: a client, and output for people or for machines.

Results go to stdout; errors and progress go to stderr. With `--json`, stdout holds one JSON
document and nothing else.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from pellucid.errors import InvalidSettings, PellucidError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pellucid.client import Client

_WIDTH_OF_PIPES = 1000  # a table is as wide as it needs to be

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Cursor = Annotated[str | None, typer.Option(help="Where the page before said to go on.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Most entries.")]


def say(text: str) -> None:
    """Tell a person something that is not the result."""
    console(stderr=True).print(text, soft_wrap=True)


def console(*, stderr: bool = False) -> Console:
    """Where results go, or with `stderr` what only accompanies them."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_OF_PIPES
    return Console(stderr=stderr, markup=False, highlight=False, width=width)


@contextmanager
def connect() -> Iterator["Client"]:
    """A client of the service that the settings name."""
    from pellucid.client import Client
    from pellucid.settings import Settings

    settings = Settings.load()
    with Client(settings.resolved_url, settings.api_key) as client:
        yield client


def show_json(value: "BaseModel | Sequence[BaseModel] | Any") -> None:
    """Print a value as one JSON document."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def show_text(text: str) -> None:
    """Print a text as it is."""
    print(text)


def show_table(headers: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table, or what it means that there is no row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, header in enumerate(headers):
        table.add_column(header, no_wrap=place == 0)  # a name or id is copied: it is never cut
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if table.row_count:
        console().print(table)
    else:
        say(empty)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line."""
    cells = [(name, _cell(value)) for name, value in facts]
    width = max(len(name) for name, _ in cells)
    for name, value in cells:
        show_text(f"{name:<{width}}  {value}".rstrip())


def say_next(cursor: str | None) -> None:
    """Tell how to see the next page."""
    if cursor:
        say(f"There are more: --cursor {cursor}")


def fail(error: PellucidError) -> NoReturn:
    """Print an error with its place and its remedy, and end with code 1."""
    place = ", ".join(f"{key} {value}" for key, value in error.where.items())
    parts = [f"Error: {error.message}", place and f"  where: {place}"]
    parts.append(error.remedy and f"  remedy: {error.remedy}")
    say("\n".join(part for part in parts if part))
    sys.exit(1)


def require_extra(module: str, extra: str) -> None:
    """Refuse a command whose extra is not installed.

    Raises:
        InvalidSettings: it names the extra.
    """
    if find_spec(module) is None:
        raise InvalidSettings(
            f"This command needs {module}, which is not installed.",
            remedy=f"Install the extra: {sys.executable} -m pip install 'pellucid[{extra}]'",
        )


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
