"""The command that serves the API."""

from typing import Annotated, Literal

import typer


def api(
    host: Annotated[
        str | None, typer.Option(help="Address to bind to. Default: PELLUCID_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port. Default: PELLUCID_PORT.")
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port for gRPC. Default: PELLUCID_GRPC_PORT."),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="For people or for machines. Default: PELLUCID_LOG_FORMAT."),
    ] = None,
) -> None:
    """Serve the API.

    A public address needs API keys. SIGTERM and Ctrl-C let requests finish first.
    """
    from pellucid.logs import configure_logging  # imports are paid by the command that runs
    from pellucid.settings import Settings
    from pellucid.supervisor.services import require_free
    from pellucid_api.server import serve

    given = {"host": host, "port": port, "grpc_port": grpc_port, "log_format": log_format}
    settings = Settings.load().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    settings.require_keys_beyond_loopback()
    if settings.grpc_port:
        require_free(settings.host, settings.grpc_port, "grpc_port")
    configure_logging(settings.log_format)
    serve(settings)
