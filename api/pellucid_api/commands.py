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
    processes: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes; 0 is one for each core. Default: PELLUCID_API_PROCESSES."
        ),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="For people or for machines. Default: PELLUCID_LOG_FORMAT."),
    ] = None,
) -> None:
    """Serve the API.

    A public address needs API keys. SIGTERM and Ctrl-C let requests finish first.
    """
    from pellucid.cores import available_cores
    from pellucid.logs import configure_logging  # imports are paid by the command that runs
    from pellucid.settings import Settings
    from pellucid.supervisor.services import require_free

    given = {
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "api_processes": processes,
        "log_format": log_format,
    }
    settings = Settings.load().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    settings.require_keys_beyond_loopback()
    configure_logging(settings.log_format)
    count = settings.api_processes or available_cores()
    if count > 1:
        from pellucid_api.processes.parent import serve_with

        serve_with(settings, count)
        return
    from pellucid_api.server import serve

    if settings.grpc_port:
        require_free(settings.host, settings.grpc_port, "grpc_port")
    serve(settings)
