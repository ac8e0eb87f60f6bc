"""`pellucid monitor`, the process, and `pellucid monitoring`, what it found."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.terminal import (
    Cursor,
    Json,
    Limit,
    connect,
    say,
    say_next,
    show_facts,
    show_json,
    show_table,
)
from pellucid.errors import InvalidInput, PellucidError

if TYPE_CHECKING:
    from pellucid.monitoring.watch.resources import WindowResult, WindowSummary
    from pellucid.settings import Settings

app = typer.Typer(help="Look at drift, performance and bias.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The model's name.")]
Version = Annotated[int | None, typer.Option(help="Default: all.")]
Model = Annotated[str, typer.Option(help="With --once: only this one.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="With --once: start of a window to judge, as 2026-11-21T18:00Z."),
]
To = Annotated[str | None, typer.Option("--to", help="Its end; default: now.")]
Since = Annotated[
    str | None, typer.Option("--from", help="Windows that end after, as 2026-11-21T18:00Z.")
]
Until = Annotated[str | None, typer.Option("--to", help="Windows that start before; default: now.")]
Once = Annotated[bool, typer.Option("--once", help="Judge what is due now, and end.")]
Check = Annotated[bool, typer.Option("--check", help="Fail unless a monitor works now.")]
Window = Annotated[
    str | None, typer.Option(help="Its id, from `monitoring show`; default: the newest.")
]
Out = Annotated[Path, typer.Option("--out", help="File to write.")]

_HEADERS = ("model", "window", "rows", "verdict")


def monitor(
    once: Once = False,
    model: Model = "",
    from_: From = None,
    to: To = None,
    check: Check = False,
    as_json: Json = False,
) -> None:
    """Watch what is served: drift, performance, bias, alerts; until Ctrl-C."""
    from pellucid.settings import Settings

    if check:
        _check(Settings.load())
        return
    from pellucid.monitoring.watch.process import connected, run_monitor

    if not once:
        if model or from_ or to:
            raise InvalidInput(
                "--model, --from and --to are of a single pass.", remedy="Add --once."
            )
        run_monitor(Settings.load())
        return
    if to and not from_:
        raise InvalidInput("--to needs --from.")
    with connected(Settings.load()) as watching:
        done = watching.once(model, _time(from_), _time(to))
    if as_json:
        show_json(done.results)
    else:
        show_table(
            _HEADERS,
            ((each.model, each.id, each.rows, each.verdict) for each in done.results),
            "Nothing is due: a window is judged minutes after its end. --from names another.",
        )
    if done.failed:
        failed = "; ".join(f"{name}: {why}" for name, why in done.failed.items())
        raise PellucidError(f"Not every model was watched: {failed}.")


@app.command()
def show(
    name: Name,
    version: Version = None,
    from_: Since = None,
    to: Until = None,
    cursor: Cursor = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Show the newest window's findings, and the windows before."""
    with connect() as client:
        found = client.monitoring.get(
            name, version=version, since=_time(from_), until=_time(to), cursor=cursor, limit=limit
        )
    if as_json:
        show_json(found)
        return
    if found.latest is not None:
        show_result(found.latest)
    show_table(
        ("window", "start", "rows", "status", "alarms"),
        (_summary(each) for each in found.windows),
        f"No window of {name} was judged yet: the monitor does so minutes after its end. "
        f"At once: pellucid monitor --once --model {name} --from TIME",
    )
    say_next(found.next_cursor)


@app.command()
def report(name: Name, out: Out, window: Window = None) -> None:
    """Write a window's report to a file: one HTML page, to open in a browser."""
    with connect() as client:
        page = client.monitoring.report(name, window)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error}.") from error
    say(f"Wrote {out}.")


def show_result(found: "WindowResult") -> None:
    """The verdict of a window, and what alarms."""
    from pellucid.monitoring.checks.verdicts import alarms, said

    show_facts(
        [
            ("model", f"{found.model} version {found.version}"),
            ("window", f"{found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC"),
            ("rows", found.rows),
            ("verdict", found.verdict),
            *(("alarm", said(each)) for each in alarms(found.signals)),
        ]
    )


def _check(settings: "Settings") -> None:
    from pellucid.db.session import Database
    from pellucid.monitoring.watch.passes import Passes

    database = Database(settings.resolved_database_url)
    try:
        Passes(database).require_recent()
    finally:
        database.close()


def _summary(each: "WindowSummary") -> tuple[object, ...]:
    return each.id, f"{each.start:%Y-%m-%d %H:%M}", each.rows, each.status, each.alarms


def _time(text: str | None) -> datetime | None:
    """A time that somebody typed; UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is no time.", remedy="Write it as 2026-11-21T18:00Z."
        ) from error
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
