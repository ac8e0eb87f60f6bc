"""API keys: as a bearer token or in X-API-Key, compared in constant time."""

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pellucid.errors import Unauthorized
from pellucid_api.problems import respond

_OPEN = ("/health/", "/v2/health/")  # orchestrators ask without a key

_OPEN_PATHS = ("/ping", "/health")  # MLflow's names for it


class KeyRing:
    """The keys that are valid; none of them lets everybody in."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def opens(self, headers: Headers) -> bool:
        """Whether a request with these headers may pass."""
        if not self._keys:
            return True
        given = _key_of(headers).encode()
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        return any(matches)  # every key is compared, so time tells nothing


class ApiKeys:
    """Lets a request through with one of the keys; the body of any other is never read."""

    def __init__(self, app: ASGIApp, ring: KeyRing) -> None:
        self.app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass on."""
        if (
            scope["type"] != "http"
            or scope["path"].startswith(_OPEN)
            or scope["path"] in _OPEN_PATHS
            or self._ring.opens(Headers(scope=scope))
        ):
            await self.app(scope, receive, send)
            return
        error = Unauthorized(
            "This request needs a valid API key.",
            remedy="Send the header `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
        )
        await respond(scope["path"], error)(scope, receive, send)


def _key_of(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
