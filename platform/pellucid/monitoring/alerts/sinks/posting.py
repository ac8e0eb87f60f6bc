"""Posting JSON to an address that an operator has chosen."""

from collections.abc import Mapping
from http import HTTPStatus

import httpx

from pellucid.errors import Conflict, Unavailable

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_FOR_NOW = (408, 425, 429)


class Poster:
    """Posts to one address: no redirect leads elsewhere, and the answer's body is not read.

    Args:
        url: http or https. It may hold a secret, and is in no error.
        what: of the sink, for errors.
        transport: for tests: where requests go instead of the network.
    """

    def __init__(self, url: str, what: str, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        self._what = what
        self._http = httpx.Client(timeout=_TIMEOUT, follow_redirects=False, transport=transport)

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a JSON document.

        Raises:
            Unavailable: nobody answers, or asks to try again later (5xx, 408, 425, 429).
            Conflict: any other answer but 2xx.
        """
        sent = {"Content-Type": "application/json", "User-Agent": "Pellucid", **headers}
        try:
            with self._http.stream("POST", self._url, content=body, headers=sent) as response:
                status = response.status_code
        except httpx.HTTPError as error:
            raise Unavailable(
                f"The {self._what} does not answer: {type(error).__name__}.",
                remedy="Check its address, and that it can be reached from here.",
            ) from error
        if 200 <= status < 300:
            return
        told = f"The {self._what} answered {status} {_phrase(status)}."
        if status >= 500 or status in _FOR_NOW:
            raise Unavailable(told)
        raise Conflict(told, remedy="Check its address and its secret; redirects are not followed.")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
