"""What a plan wants of serving: which predictions are recorded, and what of them."""

from typing import Annotated

from pydantic import Field

from pellucid.plan.base import Part


class Log(Part):
    """What the prediction log keeps of this model."""

    sample: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the rows that are recorded, chosen by their ids."),
    ] = 1.0
    redact: Annotated[
        tuple[str, ...],
        Field(description="Columns that are never recorded: personal data, large images."),
    ] = ()


class Serving(Part):
    """How the model is served. It changes nothing in the network."""

    log: Log = Log()
