"""What the monitor found in the windows of a model's traffic."""

from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime
from starlette.responses import HTMLResponse

from pellucid.errors import NotFound
from pellucid.monitoring.report import render
from pellucid.monitoring.watch.resources import Monitoring
from pellucid.monitoring.watch.results import Results
from pellucid_api.deps import Cursor, Held, Limit, ModelName

Version = Annotated[int | None, Query(ge=1, description="One version; default: all.")]
From = Annotated[
    AwareDatetime | None, Query(alias="from", description="Windows that end after this time.")
]
To = Annotated[
    AwareDatetime | None, Query(alias="to", description="Windows that start before this time.")
]
Window = Annotated[
    str | None,
    Query(
        description="A version, its window's start and its seconds; default: the newest.",
        examples=["3-2026-11-21T18:00:00Z-3600"],
    ),
]
_HISTORY = 48
# The page holds its style and its figures, and needs nothing else: nothing else may run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


class ReportResponse(HTMLResponse):
    """A self-contained page."""


def show(
    services: Held,
    name: ModelName,
    version: Version = None,
    since: From = None,
    until: To = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Monitoring:
    """Show what the monitor found: the newest window whole, and a page of those before."""
    results = Results(services.database)
    found = results.page(
        name, version=version, since=since, until=until, cursor=cursor, limit=limit
    )
    if not found.windows:
        services.registry.model(name)  # raises if there is none
    return found


def report(services: Held, name: ModelName, window: Window = None) -> ReportResponse:
    """Show a window as a page for people: what changed, since when, how much it matters."""
    results = Results(services.database)
    try:
        result = results.window(name, window)
    except NotFound:
        services.registry.model(name)  # raises if there is none
        raise
    history = results.page(name, version=result.version, until=result.end, limit=_HISTORY)
    run = result.figures.run_id
    url = f"{services.settings.resolved_mlflow_url}/#/runs/{run}" if run else ""
    page = render(result, history.windows, run_url=url)
    return ReportResponse(page, headers={"Content-Security-Policy": _POLICY})
