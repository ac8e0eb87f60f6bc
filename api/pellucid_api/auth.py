"""API keys: as a bearer token or in X-API-Key, compared in constant time."""

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pellucid.errors import Unauthorized
from pellucid.settings import named
from pellucid_api.problems import respond

_OPEN = ("/health/", "/v2/health/")  # orchestrators ask without a key

_OPEN_PATHS = ("/ping", "/health")  # MLflow's names for it


class KeyRing:
    """The keys that are valid, as settings have them; none of them lets everybody in."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [(name, key.encode()) for name, key in map(named, keys)]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def opens(self, headers: Headers) -> bool:
        """Whether a request with these headers may pass."""
        return self.owner(headers) is not None

    def owner(self, headers: Headers) -> str | None:
        """The name of the key that a request has; empty without one, or where none is needed.

        None: it needs a valid key, and has none.
        """
        if not self._keys:
            return ""
        given = _key_of(headers).encode()
        # Every key is compared, so time tells nothing.
        found = [name for name, key in self._keys if hmac.compare_digest(given, key)]
        return found[0] if found else None


class ApiKeys:
    """Lets a request through with one of the keys; the body of any other is never read."""

    def __init__(self, app: ASGIApp, ring: KeyRing) -> None:
        self.app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass on, with the key's name as `scope["key"]`."""
        if scope["type"] == "http":
            scope["key"] = self._ring.owner(Headers(scope=scope))
            open_ = scope["path"].startswith(_OPEN) or scope["path"] in _OPEN_PATHS
            if scope["key"] is None and not open_:
                await self._refuse(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = Unauthorized(
            "This request needs a valid API key.",
            remedy="Send the header `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
        )
        await respond(scope["path"], error)(scope, receive, send)


def _key_of(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
