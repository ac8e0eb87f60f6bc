"""`pellucid alerts`: what fires, who looks after it, and by which rules."""

import getpass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

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
    show_text,
)
from pellucid.errors import InvalidInput, PellucidError, Unavailable

if TYPE_CHECKING:
    from pellucid.monitoring.alerts.resources import Alert, RulesInForce, Silence
    from pellucid.monitoring.alerts.rules import Rule, Rules

app = typer.Typer(help="Look at alerts, acknowledge and silence them.", no_args_is_help=True)

AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="The alert's id.")]
By = Annotated[str | None, typer.Option(help="Who does it. Default: your user name here.")]


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Option(help="Only alerts of this model.")] = None,
    state: Annotated[str | None, typer.Option(help="pending, firing or resolved.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List the alerts, newest first."""
    from pellucid.monitoring.alerts.resources import AlertState

    wanted = next((each for each in get_args(AlertState) if each == state), None)
    if state and wanted is None:
        raise typer.BadParameter(f"{state!r} is none of {', '.join(get_args(AlertState))}")
    with connect() as client:
        page = client.alerts.list(model, wanted, cursor, limit)
    if as_json:
        show_json(page)
        return
    show_table(
        ("alert", "severity", "state", "model", "what", "last seen", "by", "summary"),
        (
            (
                alert.id,
                alert.severity,
                f"{alert.state}{' (silenced)' if alert.silenced else ''}",
                f"{alert.model}/{alert.version}",
                f"{alert.kind} of {alert.subject}",
                f"{alert.last_seen:%Y-%m-%d %H:%M}",
                alert.acknowledged_by,
                alert.summary,
            )
            for alert in page.items
        ),
        "No alerts.",
    )
    say_next(page.next_cursor)


@app.command()
def show(alert_id: AlertId, as_json: Json = False) -> None:
    """Show an alert, and all that happened to it."""
    with connect() as client:
        found = client.alerts.get(alert_id)
    if as_json:
        show_json(found)
        return
    _show(found.alert)
    show_table(
        ("time", "what happened", "by", "details"),
        (
            (
                f"{event.time:%Y-%m-%d %H:%M:%S}",
                event.kind,
                event.by,
                ", ".join(f"{key} {value}" for key, value in event.data.items()),
            )
            for event in found.events
        ),
        "",
    )


@app.command()
def acknowledge(
    alert_id: AlertId,
    by: By = None,
    note: Annotated[str, typer.Option(help="What is being done about it.")] = "",
    as_json: Json = False,
) -> None:
    """Look after an alert: it escalates no more."""
    with connect() as client:
        alert = client.alerts.acknowledge(alert_id, by or getpass.getuser(), note)
    show_json(alert) if as_json else _show(alert)


@app.command()
def silence(
    reason: Annotated[str, typer.Option(help="Why nobody should be told.")],
    hours: Annotated[float, typer.Option(min=0.01, max=366 * 24, help="For how long.")] = 2,
    model: Annotated[str, typer.Option(help="Of which models: `credit-*`.")] = "*",
    kind: Annotated[list[str] | None, typer.Option(help="Of which signals; repeatable.")] = None,
    subject: Annotated[str, typer.Option(help="Of which columns, outputs or metrics.")] = "*",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Tell nobody of some alerts for a while; what still fires then is told then."""
    from pellucid.analysis.watching.signals import SignalKind

    unknown = set(kind or ()) - set(get_args(SignalKind))
    if unknown:
        raise typer.BadParameter(f"{min(unknown)!r} is none of {', '.join(get_args(SignalKind))}")
    kinds = tuple(each for each in get_args(SignalKind) if each in (kind or ()))
    with connect() as client:
        made = client.alerts.silence(
            by or getpass.getuser(),
            reason,
            timedelta(hours=hours),
            model=model,
            kinds=kinds,
            subject=subject,
        )
    show_json(made) if as_json else _show_silences([made])


@app.command()
def silences(
    every: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List the silences in force."""
    with connect() as client:
        page = client.alerts.silences(every=every, cursor=cursor, limit=limit)
    if as_json:
        show_json(page)
        return
    _show_silences(page.items)
    say_next(page.next_cursor)


@app.command()
def lift(
    silence_id: Annotated[str, typer.Argument(metavar="SILENCE", help="The silence's id.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """End a silence before its time."""
    with connect() as client:
        found = client.alerts.lift(silence_id, by or getpass.getuser())
    show_json(found) if as_json else _show_silences([found])


@app.command()
def rules(
    file: Annotated[
        Path | None,
        typer.Argument(
            exists=True, dir_okay=False, help="YAML, or JSON as --json prints it; sets all rules."
        ),
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Show the rules by which signals become alerts, or set them."""
    wanted = _read_rules(file) if file else None
    with connect() as client:
        if wanted is None:
            found = client.alerts.rules()
        else:
            found = client.alerts.set_rules(wanted.rules, by or getpass.getuser())
    show_json(found) if as_json else _show_rules(found)


@app.command("test")
def try_sinks(
    sink: Annotated[
        list[str] | None, typer.Argument(help="log, webhook, slack, email. Default: all.")
    ] = None,
) -> None:
    """Send a test message by the settings of this machine, and say who took it."""
    from pellucid.monitoring.alerts.sinks import configured
    from pellucid.monitoring.alerts.sinks.trial import message
    from pellucid.settings import Settings

    sinks = configured(Settings.load())
    missing = [name for name in sink or () if name not in sinks]
    if missing:
        raise InvalidInput(
            f"There are no settings for {missing[0]!r}.",
            remedy=f"There are for: {', '.join(sinks)}. See PELLUCID_ALERT_* in the settings.",
        )
    failed = False
    for name in sink or sinks:
        try:
            sinks[name].send(message())
            show_text(f"{name}  took it")
        except PellucidError as error:
            failed = True
            show_text(f"{name}  {error}")
    if failed:
        raise Unavailable("Not every sink took the message.")


def _read_rules(file: Path) -> "Rules":
    from pydantic import ValidationError

    from pellucid.monitoring.alerts.rules import Rules
    from pellucid.plan.document import read_yaml

    where = {"file": str(file)}
    try:
        found = read_yaml(file.read_text(encoding="utf-8"), f"file {file}")
        if isinstance(found, dict):  # what --json prints is taken back
            found = {key: value for key, value in found.items() if key not in ("by", "since")}
        return Rules.model_validate(found)
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8.", where=where) from error
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{path}: {first['msg']}.", where=where) from error


def _show(alert: "Alert") -> None:
    show_facts(
        (name, value)
        for name, value in (
            ("alert", alert.id),
            ("model", f"{alert.model}/{alert.version}"),
            ("what", f"{alert.kind} of {alert.subject}"),
            ("severity", f"{alert.severity}, by the rule {alert.rule!r}"),
            ("state", f"{alert.state}{', silenced' if alert.silenced else ''}"),
            ("summary", alert.summary),
            ("first seen", f"{alert.first_seen:%Y-%m-%d %H:%M} UTC"),
            ("last seen", f"{alert.last_seen:%Y-%m-%d %H:%M} UTC"),
            ("acknowledged", alert.acknowledged_by and f"{alert.acknowledged_by}: {alert.note}"),
            ("retraining", alert.job_id),
        )
        if value is not None
    )


def _show_silences(found: "list[Silence]") -> None:
    show_table(
        ("silence", "models", "kinds", "subjects", "until", "by", "reason"),
        (
            (
                each.id,
                each.match.model,
                ", ".join(each.match.kinds) or "all",
                each.match.subject,
                f"{each.lifted_at or each.until:%Y-%m-%d %H:%M}",
                each.by,
                each.reason,
            )
            for each in found
        ),
        "No silences.",
    )


def _conditions(rule: "Rule") -> str:
    """What a rule asks besides its match, before it fires."""
    asked = (
        rule.min_effect is not None and f"effect >= {rule.min_effect:g}",
        rule.min_importance is not None and f"importance >= {rule.min_importance:g}",
        rule.for_windows > 1 and f"{rule.for_windows} windows",
        rule.for_seconds and f"{rule.for_seconds:,} s",
    )
    return ", ".join(each for each in asked if each)


def _show_rules(found: "RulesInForce") -> None:
    show_table(
        ("rule", "models", "kinds", "subjects", "only if", "severity", "told to", "action"),
        (
            (
                rule.name,
                rule.match.model,
                ", ".join(rule.match.kinds) or "all",
                rule.match.subject,
                _conditions(rule),
                rule.severity,
                ", ".join(rule.sinks),
                rule.action,
            )
            for rule in found.rules
        ),
        "No rules: no signal becomes an alert.",
    )
    say(f"Set by {found.by} on {found.since:%Y-%m-%d}." if found.by else "These are the defaults.")
