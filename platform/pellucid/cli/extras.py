"""Commands that an extra brings along: they are known here by name, and run there."""

from importlib.metadata import entry_points

import typer

from pellucid.cli.terminal import require_extra

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(context_settings=_PASSED_ON, add_help_option=False)(inspect)
    app.command("lr-range", context_settings=_PASSED_ON, add_help_option=False)(lr_range)


def inspect(context: typer.Context) -> None:
    """Look into a run's network (needs the extra `pipelines`)."""
    require_extra("torch", "pipelines")
    run("inspect", context.args)


def lr_range(context: typer.Context) -> None:
    """Suggest a learning rate for a plan (needs the extra `pipelines`)."""
    require_extra("torch", "pipelines")
    run("lr-range", context.args)


def run(name: str, arguments: list[str]) -> None:
    """Run the command of that name with its own arguments; its errors are raised as they are."""
    (entry,) = entry_points(group="pellucid.commands", name=name)
    command = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    command.command()(entry.load())
    command(args=arguments, prog_name=f"pellucid {name}")
