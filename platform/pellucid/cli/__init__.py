"""The command line. Starting it imports nothing heavy: commands import what they use.

Exit codes: 0 success, 1 an error (printed with its place and remedy), 2 wrong usage, 130
interrupted.
"""

import os
import sys

import typer

from pellucid.cli import (
    alerts,
    data,
    extras,
    jobs,
    models,
    monitor,
    predictions,
    services,
    traffic,
)
from pellucid.cli.counterfactuals import counterfactuals
from pellucid.cli.explanations import explain
from pellucid.cli.feedback import feedback
from pellucid.cli.reproduce import reproduce
from pellucid.cli.terminal import fail
from pellucid.errors import PellucidError

app = typer.Typer(
    name="pellucid",
    help="Train, explain and serve neural networks you can see through.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.command()(jobs.train)
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(traffic.app, name="traffic")
app.command()(models.predict)
app.command()(explain)
app.command()(counterfactuals)
app.command()(feedback)
app.add_typer(predictions.app, name="predictions")
app.command("monitor")(monitor.monitor)
app.add_typer(monitor.app, name="monitoring")
app.add_typer(alerts.app, name="alerts")
app.command()(reproduce)
services.register(app)
extras.register(app)


def main() -> None:
    """Run the command that the arguments name."""
    try:
        app()
    except PellucidError as error:
        fail(error)
    except BrokenPipeError:  # `pellucid ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
