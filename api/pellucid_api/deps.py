"""What endpoints ask for."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Depends, Path, Query, Request

from pellucid_api.plane.explanations import Options
from pellucid_api.services import Services


def services(request: Request) -> Services:
    """The services of the application that the request came to."""
    found: Services = request.app.state.services
    return found


def signature(request: Request) -> Callable[[str], str]:
    """Signs for a person: with the name of the key that the request came with, if it is another."""
    key = request.scope.get("key") or ""
    return lambda person: f"{person} (key of {key})" if key not in ("", person) else person


Signed = Annotated[Callable[[str], str], Depends(signature)]
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


def explain_options(
    output: Annotated[
        str | None,
        Query(
            alias="class",
            description="The class, or the output of a regression, that is explained. Default: of "
            "two classes the positive one, of more the predicted one, of a forecast the first.",
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        Query(description="A class: explain the predicted one, or `class`, less this one."),
    ] = None,
    top_k: Annotated[
        int | None,
        Query(ge=1, description="So many columns one by one, and the rest as `others`."),
    ] = None,
    method: Annotated[
        Literal["deep", "gradients", "exact", "amortized"] | None,
        Query(
            description="Default: the version's own. amortized: by a network that learnt the "
            "values, where the version has one."
        ),
    ] = None,
    places: Annotated[
        bool, Query(description="Tell the values of pixels, steps and tokens, too.")
    ] = True,
    superpixels: Annotated[
        int, Query(ge=0, le=1024, description="Parts of an image to sum up, about. 0: none.")
    ] = 0,
) -> Options:
    """How a request wants its rows explained."""
    return Options(output, contrast, top_k, method or "", places, superpixels)


ExplainOptions = Annotated[Options, Depends(explain_options)]
