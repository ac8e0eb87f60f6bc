"""The command that serves the API."""

import gc
from typing import Annotated, Literal

import typer

# A large request makes a million short-lived objects and no cycle: looking for cycles after every
# 700 of them, which is the default, would double its time.
_GARBAGE_THRESHOLD = 50_000
_GRACE_SECONDS = 20  # then streams that are still open are cut off


def api(
    host: Annotated[
        str | None, typer.Option(help="Address to bind to. Default: PELLUCID_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port. Default: PELLUCID_PORT.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="For people or for machines. Default: PELLUCID_LOG_FORMAT."),
    ] = None,
) -> None:
    """Serve the API.

    A public address needs API keys. SIGTERM and Ctrl-C let requests finish first.
    """
    import uvicorn  # imports are paid by the command that runs, not by --help

    from pellucid.logs import configure_logging
    from pellucid.settings import Settings
    from pellucid_api.app import create_app

    given = {"host": host, "port": port, "log_format": log_format}
    settings = Settings.load().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    settings.require_keys_beyond_loopback()
    configure_logging(settings.log_format)
    gc.set_threshold(_GARBAGE_THRESHOLD)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
