"""`pellucid up`, `api`, `worker`, `db`, `settings` and `demo`: the processes themselves."""

import signal
import threading
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.terminal import (
    Json,
    console,
    require_extra,
    say,
    show_facts,
    show_json,
    show_text,
)
from pellucid.errors import PellucidError

if TYPE_CHECKING:
    from pellucid.settings import Settings

_SECRET = (
    "API_KEYS",
    "MLFLOW_PASSWORD",
    "DATABASE_URL",
    "ALERT_WEBHOOK_URL",
    "ALERT_WEBHOOK_SECRET",
    "ALERT_SLACK_URL",
    "ALERT_SMTP_URL",
)

database = typer.Typer(help="Upgrade and check the database.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(up)
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=passed_on, add_help_option=False)(api)
    app.command()(worker)
    app.add_typer(database, name="db")
    app.command()(demo)
    app.command("settings")(settings_)


def up() -> None:
    """Start MLflow, the API, a worker and the monitor, until Ctrl-C."""
    from pellucid.supervisor.services import api_url, running

    settings = _settings()
    require_extra("fastapi", "api")
    require_extra("torch", "pipelines")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with running(settings, say):
            say(f"API     {api_url(settings)}  (documentation: /docs)")
            say(f"MLflow  {settings.resolved_mlflow_url}")
            say(f"Logs    {settings.home / 'logs'}")
            say("Ctrl-C stops all of them.")
            threading.Event().wait()
    except KeyboardInterrupt:
        say("Everything has stopped.")


def api(context: typer.Context) -> None:
    """Serve the API (needs the extra `api`)."""
    require_extra("fastapi", "api")
    require_extra("onnxruntime", "api")
    (entry,) = entry_points(group="pellucid.commands", name="api")
    command = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    command.command()(entry.load())
    command(args=context.args, prog_name="pellucid api")


def worker() -> None:
    """Run training jobs (needs the extra `pipelines`)."""
    require_extra("torch", "pipelines")
    from pellucid.jobs.worker import run_worker

    run_worker(_settings())


@database.command("upgrade")
def upgrade_() -> None:
    """Create the database's tables, or bring them up to date."""
    from pellucid.db.upgrade import current, upgrade

    url = _settings().resolved_database_url
    upgrade(url)
    say(f"The database is at revision {current(url)}.")


@database.command("current")
def current_(as_json: Json = False) -> None:
    """Show the database's revision; fails where it is not the newest."""
    from pellucid.db.upgrade import current, head

    found, newest = current(_settings().resolved_database_url), head()
    if as_json:
        show_json({"current": found, "head": newest})
    else:
        show_facts([("current", found or "none"), ("head", newest)])
    if found != newest:
        raise PellucidError("The database is not up to date.", remedy="Run `pellucid db upgrade`.")


def demo() -> None:
    """Run the main job end to end: data, training, explanation, serving."""
    require_extra("fastapi", "api")
    require_extra("torch", "pipelines")
    from pellucid.demo import run

    run(_settings(), console())


def settings_(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page of Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Show every setting and its value here."""
    from pellucid.settings import reference

    if markdown:
        show_text(reference())
        return
    values = {
        name: "(set)" if value and name.endswith(_SECRET) else value
        for name, value in _settings().environment().items()
    }
    show_json(values) if as_json else show_facts(values.items())


def _settings() -> "Settings":
    from pellucid.settings import Settings

    return Settings.load()
