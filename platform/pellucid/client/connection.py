"""Requests, streams, and the errors they come back with."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from pellucid import errors

Answer = TypeVar("Answer", bound=BaseModel)

_TIMEOUT = httpx.Timeout(60, connect=5)


class Connection:
    """An HTTP connection whose answers are resources and whose errors are ours."""

    def __init__(
        self, url: str, api_key: str | None, transport: httpx.BaseTransport | None
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=_TIMEOUT, transport=transport
        )

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def fetch(self, kind: type[Answer], method: str, path: str, **options: Any) -> Answer:
        """Send a request and read its answer as a resource."""
        return kind.model_validate_json(self.send(method, path, **options).content)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request.

        Raises:
            PellucidError: what the service answered, by its code.
            Unavailable: nothing answers at this address.
        """
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        _raise_problem(response)
        return response

    @contextmanager
    def stream(
        self, path: str, *, silence: float | None = None, **options: Any
    ) -> Iterator[Iterator[str]]:
        """Send a GET request whose answer is read line by line.

        Args:
            path: of the resource.
            silence: seconds without a byte after which the connection counts as lost.
            options: of the request.
        """
        timeout = httpx.Timeout(60, connect=5, read=silence)
        try:
            with self._http.stream("GET", path, timeout=timeout, **options) as response:
                if response.is_error:
                    response.read()
                _raise_problem(response)
                yield response.iter_lines()
        except httpx.TransportError as error:
            raise self._unavailable(error) from error

    def chunks(self, path: str) -> Iterator[bytes]:
        """Send a GET request and read its answer piece by piece."""
        try:
            with self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                _raise_problem(response)
                yield from response.iter_bytes()
        except httpx.TransportError as error:
            raise self._unavailable(error) from error

    def download(self, path: str, to: Path) -> None:
        """Write the answer of a GET request to a file, which is there whole or not at all."""
        partial = to.with_name(f"{to.name}.partial")
        try:
            with partial.open("wb") as file:
                for chunk in self.chunks(path):
                    file.write(chunk)
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

    def _unavailable(self, error: Exception) -> errors.Unavailable:
        return errors.Unavailable(
            f"No answer from the service: {error or type(error).__name__}.",
            where={"url": self.url},
            remedy="Start it with `pellucid up`, or set PELLUCID_URL to where it runs.",
        )


def _raise_problem(response: httpx.Response) -> None:
    if not response.is_error:
        return
    try:
        problem = response.json()
        kind = _error_kinds()[problem["code"]]
    except (ValueError, KeyError, TypeError):
        kind = errors.Unavailable if response.status_code >= 500 else errors.PellucidError
        raise kind(
            f"The service answered {response.status_code} {response.reason_phrase}.",
            where={"url": str(response.url)},
        ) from None
    raise kind(
        problem.get("detail") or problem.get("title", ""),
        where=problem.get("where"),
        remedy=problem.get("remedy", ""),
    )


def _error_kinds() -> dict[str, type[errors.PellucidError]]:
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    return {k.code: k for k in kinds if issubclass(k, errors.PellucidError)}


def given(**params: Any) -> dict[str, Any]:
    """The parameters that are not None."""
    return {key: value for key, value in params.items() if value is not None}


def as_json(value: Any) -> Any:
    """A value of a row as JSON carries it: bytes as base64, arrays as lists, NaN as null."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if hasattr(value, "tolist"):  # NumPy and what is like it
        if value.dtype.kind in "iu":
            return value.tolist()  # pixels, of which there are many
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, float) and value != value:
        return None
    return value.isoformat() if isinstance(value, date | time) else value


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="@")
