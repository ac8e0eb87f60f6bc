"""How long a request may take, as its headers say."""

import math

from pellucid.errors import InvalidRows
from pellucid_api.plane.exchange import RequestHeaders

TIMEOUT = b"x-request-timeout-ms"


def timeout_of(headers: RequestHeaders) -> float | None:
    """Seconds that the header X-Request-Timeout-Ms allows; None without one.

    Raises:
        InvalidRows: it is no positive number.
    """
    given = headers.get(TIMEOUT, b"")
    if not given:
        return None
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise InvalidRows(
            f"X-Request-Timeout-Ms is {given.decode('latin-1')!r}.",
            where={"header": "X-Request-Timeout-Ms"},
            remedy="Send milliseconds: a positive number.",
        )
    return milliseconds / 1000
