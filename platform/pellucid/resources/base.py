"""What all resources have in common, and the pages that lists of them come in."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class Resource(BaseModel):
    """A resource; keys that a newer server adds are ignored by an older client."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Page(Resource, Generic[Item]):
    """One page of a list. `next_cursor` asks for the next; None is the end."""

    items: list[Item]
    next_cursor: str | None = None
