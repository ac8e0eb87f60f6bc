"""What a front and the data plane hand to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

from pellucid.errors import Overloaded, PellucidError, UnsupportedType
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values
from pellucid_api.problems import respond, unexpected

Encoded = TypeVar("Encoded", covariant=True)
RequestHeaders = Mapping[bytes, bytes]  # names in lower case


class Reply(NamedTuple):
    """An HTTP response, whole; its length is not among the headers."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


@dataclass(slots=True)
class Question:
    """A request's rows, decoded."""

    feed: Feed
    context: Any = None  # what the codec needs again for the answer
    timeout: float | None = None  # seconds
    priority: int = 0  # lower runs first
    sensitive: Feed | None = None  # columns that are recorded, and not for the model


class Codec(Protocol[Encoded]):
    """One format of requests and answers, read and written without waiting for anything."""

    def decode(self, served: Served, headers: RequestHeaders, body: bytes) -> Question:
        """Read a request.

        Raises:
            PellucidError: what is wrong with it, where, and what to do.
        """
        ...

    def encode(
        self, served: Served, question: Question, outputs: Sequence[Values], first: int
    ) -> Encoded:
        """Write the answer; `first` is the number of the first row's prediction id."""
        ...


def refusal(path: str, error: Exception) -> Reply:
    """The reply for an error, in the form that the path's protocol has for it."""
    if isinstance(error, Overloaded):  # when there are many, they must cost little
        return _overloaded(path, error.message, error.remedy)
    return _refusal(path, error)


@lru_cache(256)
def _overloaded(path: str, message: str, remedy: str) -> Reply:
    return _refusal(path, Overloaded(message, remedy=remedy))


def _refusal(path: str, error: Exception) -> Reply:
    response = respond(path, error) if isinstance(error, PellucidError) else unexpected(path)
    headers = [pair for pair in response.raw_headers if pair[0] != b"content-length"]
    return Reply(response.status_code, headers, bytes(response.body))


def request_headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The first header of each name."""
    return dict(reversed(pairs))


def require_json(headers: RequestHeaders) -> None:
    """Refuse a body that says it is something else; `curl -d` says it is a form.

    Raises:
        UnsupportedType: it does.
    """
    given = headers.get(b"content-type", b"")
    if given in _JSON:
        return
    name = given.decode("latin-1").partition(";")[0].strip().lower()
    plain = name.encode("latin-1") in _JSON
    if not plain and not (name.startswith("application/") and name.endswith("+json")):
        raise UnsupportedType(f"The body is {name}; send application/json.")


_JSON = frozenset({b"application/json", b"application/x-www-form-urlencoded", b""})
