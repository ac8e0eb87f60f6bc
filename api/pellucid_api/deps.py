"""What endpoints ask for."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request

from pellucid_api.services import Services


def services(request: Request) -> Services:
    """The services of the application that the request came to."""
    found: Services = request.app.state.services
    return found


Held = Annotated[Services, Depends(services)]
Limit = Annotated[int, Query(ge=1, le=500, description="Most items of a page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
ModelName = Annotated[str, Path(description="The model's name.", examples=["credit"])]
VersionNumber = Annotated[int, Path(ge=1, description="Counts from 1.", examples=[1])]
JobId = Annotated[str, Path(description="The job's id.")]
Reference = Annotated[
    str,
    Path(
        description="`credit` (the newest), `credit@3`, or a SHA-256.",
        examples=["credit", "credit@3"],
    ),
]
