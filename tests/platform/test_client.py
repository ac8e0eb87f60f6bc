"""The client against scripted answers: resources, errors, uploads and event streams."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pellucid import errors
from pellucid.client import Client

NOW = datetime(2026, 1, 2, tzinfo=UTC).isoformat()
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, **options: Any) -> Client:
    return Client("http://service", transport=httpx.MockTransport(handler), **options)


def dataset(**changes: Any) -> dict[str, Any]:
    column = {"name": "age", "type": "int64", "role": "feature"}
    return {
        "name": "credit",
        "version": 1,
        "sha256": "a" * 64,
        "rows": 2,
        "bytes": 100,
        "data_schema": {"columns": [column]},
        "source": "credit.csv",
        "created_at": NOW,
        **changes,
    }


def job(**changes: Any) -> dict[str, Any]:
    return {
        "id": "j1",
        "name": "credit",
        "status": "running",
        "reason": "An attempt runs.",
        "plan": {},
        "data_version": "a" * 64,
        "attempt": 1,
        "max_attempts": 5,
        "cancel_requested": False,
        "created_at": NOW,
        **changes,
    }


def sse(*events: dict[str, Any]) -> bytes:
    blocks = [f"event: {e['kind']}\nid: {e['seq']}\ndata: {json.dumps(e)}\n\n" for e in events]
    return (": heartbeat\n\n" + "".join(blocks)).encode()


def event(seq: int, kind: str = "progress", **data: Any) -> dict[str, Any]:
    return {"seq": seq, "time": NOW, "kind": kind, "data": data}


def every_error() -> Iterator[type[errors.PellucidError]]:
    pending = [errors.PellucidError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__ == errors.__name__:
            yield kind


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_a_problem_becomes_the_error_that_the_service_raised(
    kind: type[errors.PellucidError],
) -> None:
    problem = {"code": kind.code, "detail": "It is so.", "where": {"row": 3}, "remedy": "Do this."}
    with pytest.raises(errors.PellucidError) as raised:
        client(lambda _: httpx.Response(422, json=problem)).jobs.get("j1")
    assert type(raised.value) is kind
    assert raised.value.message == "It is so."
    assert raised.value.where == {"row": 3}
    assert raised.value.remedy == "Do this."


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"code": "unheard_of"}', b'"text"'])
def test_an_error_of_a_proxy_is_told_by_its_status(body: bytes) -> None:
    with pytest.raises(errors.Unavailable, match="502 Bad Gateway"):
        client(lambda _: httpx.Response(502, content=body)).jobs.get("j1")


def test_nothing_listening_says_how_to_start() -> None:
    with pytest.raises(errors.Unavailable) as raised:
        Client("http://127.0.0.1:9").info()
    assert raised.value.where == {"url": "http://127.0.0.1:9"}
    assert "pellucid up" in raised.value.remedy


def test_the_key_is_sent_as_a_bearer_token() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"key": request.headers.get("authorization")})

    assert client(answer, api_key="k").info() == {"key": "Bearer k"}
    assert client(answer).info() == {"key": None}


class _Uploads(httpx.BaseTransport):
    """Takes a body chunk by chunk, as a network does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        self.chunks = list(request.stream)
        self.length = int(request.headers["content-length"])
        return httpx.Response(201, json=dataset())


def test_an_upload_is_streamed_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "credit.csv"
    file.write_bytes(b"age\n" + b"41\n" * 100_000)
    transport = _Uploads()
    steps: list[tuple[int, int]] = []
    added = Client("http://service", transport=transport).datasets.add(
        file,
        name="credit",
        roles={"age": "ignore"},
        progress=lambda sent, total: steps.append((sent, total)),
    )
    assert added.sha256 == "a" * 64
    size = file.stat().st_size
    assert max(map(len, transport.chunks)) < size / 2, "the file was read into memory"
    body = b"".join(transport.chunks)
    assert transport.length == len(body)
    assert file.read_bytes() in body
    assert b'filename="credit.csv"' in body
    assert b'{"age": "ignore"}' in body
    assert steps[-1] == (size, size)
    assert steps == sorted(steps)


def test_names_are_escaped_in_paths() -> None:
    paths: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json=dataset())

    api = client(answer)
    api.datasets.get("credit@3")
    api.datasets.get("../secret?x")
    assert paths == [b"/v1/datasets/credit@3", b"/v1/datasets/..%2Fsecret%3Fx"]


def test_lists_send_only_what_was_asked_for() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"status": "failed", "limit": "5"}
        return httpx.Response(200, json={"items": [job()], "next_cursor": "c"})

    page = client(answer).jobs.list(status="failed", limit=5)  # type: ignore[arg-type]
    assert page.items[0].id == "j1"
    assert page.next_cursor == "c"


def test_every_submission_has_a_key_of_its_own() -> None:
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        return httpx.Response(202, json=job())

    api = client(answer)
    api.jobs.submit({"name": "credit"})
    api.jobs.submit({"name": "credit"})
    api.jobs.submit({"name": "credit"}, idempotency_key="mine")
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


class _Broken(httpx.SyncByteStream):
    """A stream whose connection is lost after some bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("connection reset")


def test_a_lost_stream_goes_on_behind_its_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    asked: list[str] = []
    answers: list[Callable[[], httpx.Response]] = [
        lambda: httpx.Response(200, stream=_Broken(sse(event(1), event(2)) + b"id: 3\ndata: {")),
        lambda: httpx.Response(503, json={"code": "unavailable", "detail": "Restarting."}),
        lambda: httpx.Response(200, content=sse(event(3, "state", status="succeeded"))),
        lambda: httpx.Response(200, content=sse()),
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=job(status="succeeded"))
        asked.append(request.headers["last-event-id"])
        return answers[len(asked) - 1]()

    assert [e.seq for e in client(answer).jobs.events("j1")] == [1, 2, 3]
    assert asked == ["0", "2", "2", "3"]


def test_a_service_that_stays_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(errors.Unavailable, match="No answer"):
        list(Client("http://127.0.0.1:9").jobs.events("j1"))


def test_waiting_ends_with_the_job() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, content=sse())
        return httpx.Response(200, json=job(status="failed", reason="No luck."))

    assert client(answer).jobs.wait("j1").reason == "No luck."


def test_logs_come_line_by_line() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["follow"] == "true"
        return httpx.Response(200, content=b"one\ntwo\n")

    assert list(client(answer).jobs.logs("j1", follow=True)) == ["one", "two"]


def test_predictions_are_typed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/models/credit/versions/2/predict"
        assert json.loads(request.content) == [{"age": 41}]
        one = {"id": "p", "label": "good", "probabilities": {"good": 0.75, "bad": 0.25}}
        return httpx.Response(200, json={"model": "credit", "version": 2, "predictions": [one]})

    (prediction,) = client(answer).predict("credit", [{"age": 41}], version=2).predictions
    assert prediction.probabilities == {"good": 0.75, "bad": 0.25}


def test_images_and_arrays_are_sent_as_json() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == [
            {"photo": "iVBO", "load": [1.5, None], "pixels": [[0, 255]], "since": "2024-05-31"}
        ]
        one = {"id": "p", "value": [1.0, 2.0]}
        return httpx.Response(200, json={"model": "m", "version": 1, "predictions": [one]})

    row = {
        "photo": b"\x89PN",
        "load": np.array([1.5, np.nan]),
        "pixels": np.array([[0, 255]], np.uint8),
        "since": date(2024, 5, 31),
    }
    (prediction,) = client(answer).predict("m", [row]).predictions
    assert prediction.value == [1.0, 2.0]
