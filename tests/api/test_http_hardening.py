"""What comes over a raw connection is one request, or none; and a client cannot wear us out."""

import json
import socket
import time

import pytest

from support.serving import ROW, serving
from support.wire import GET, request, wire

PREDICT = "/v1/models/credit/predict"
BODY = json.dumps([ROW]).encode()


@pytest.fixture
def raw(credit):
    with wire(credit) as connection:
        yield connection


CHUNKED = "Transfer-Encoding: chunked"
SMUGGLED = {
    "length and chunked": request(PREDICT, b"0\r\n\r\n" + GET, CHUNKED),
    "chunked and length": request(
        PREDICT, b"0\r\n\r\n" + GET, CHUNKED, "Content-Length: 3", length=False
    ),
    "two lengths": request(PREDICT, BODY, "Content-Length: 0"),
    "the same length twice": request(PREDICT, BODY, f"Content-Length: {len(BODY)}"),
    "a list of lengths": request(PREDICT, BODY, "Content-Length: 3, 3", length=False),
    "a plus sign": request(PREDICT, BODY, "Content-Length: +3", length=False),
    "a minus sign": request(PREDICT, BODY, "Content-Length: -3", length=False),
    "a hexadecimal length": request(PREDICT, BODY, "Content-Length: 0x3", length=False),
    "an empty length": request(PREDICT, BODY, "Content-Length:", length=False),
    "a length over 64 bits": request(PREDICT, BODY, f"Content-Length: {2**64 + 3}", length=False),
    "a space before the colon": request(PREDICT, BODY, "Content-Length : 3", length=False),
    "a bare LF": request(PREDICT, BODY, "A: b\nContent-Length: 3", length=False),
    "a bare CR": request(PREDICT, BODY, "A: b\rContent-Length: 3", length=False),
    "LF only": b"GET /health/live HTTP/1.1\nHost: localhost\n\n" + GET,
    "a folded line": request(PREDICT, BODY, "A: b\r\n Content-Length: 3"),
    "a NUL": request(PREDICT, BODY, "A: b\x00c"),
    "an unknown coding": request(PREDICT, GET, "Transfer-Encoding: xchunked", length=False),
    "two codings": request(
        PREDICT, b"0\r\n\r\n" + GET, "Transfer-Encoding: gzip, chunked", length=False
    ),
    "a negative chunk": request(PREDICT, b"-3\r\nabc\r\n0\r\n\r\n", CHUNKED, length=False),
    "a chunk that lies": request(PREDICT, b"3\r\nabcd\r\n0\r\n\r\n" + GET, CHUNKED, length=False),
    "a chunk ended by LF": request(PREDICT, b"3\nabc\n0\n\n" + GET, CHUNKED, length=False),
    "no host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two hosts": request("/health/live", b"", "Host: other", method="GET"),
    "HTTP/2.0": request("/health/live", b"", method="GET", version="2.0"),
    "HTTP/0.9": b"GET /health/live\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": request("localhost:80", b"", method="CONNECT", length=False),
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("case", SMUGGLED)
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "apart"])
def test_what_could_be_two_requests_is_none(credit, raw, case, apart):
    before = credit.services.pool.champion("credit").statistics.requests
    data = SMUGGLED[case]
    head = data.find(b"\r\n\r\n") + 4
    raw.send(*((data[:head], data[head:]) if apart else (data,)), pause=0.02 if apart else 0)
    found = raw.rest()
    assert [status for status, _, _ in found] == [400]
    assert json.loads(found[0][2])["status"] == 400
    assert found[0][1]["connection"] == "close"
    assert credit.services.pool.champion("credit").statistics.requests == before


@pytest.mark.parametrize("path", [PREDICT, "/v1/jobs"])
def test_nothing_is_taken_after_close(raw, path):
    method, body = ("POST", b"[") if path == PREDICT else ("GET", b"")
    first = request(path, body, "Connection: close", method=method)
    raw.send(first + GET + GET)
    assert len(raw.rest()) == 1


@pytest.mark.parametrize("pause", [0.0, 0.03])
@pytest.mark.parametrize("path", [PREDICT, PREDICT + "?x=1"])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_body_behind_an_upgrade_is_its_own(raw, pause, path, protocol):
    """Clients that offer HTTP/2 send such requests; a proxy sees one request, and so do we."""
    data = request(path, BODY, "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}")
    head = len(data) - len(BODY)
    raw.send(data[:head], data[head:], pause=pause)
    raw.send(GET)
    status, _, body = raw.response()
    assert status == 200
    assert json.loads(body)["model"] == "credit"
    assert raw.response()[0] == 200


def test_many_upgrades_at_once_are_many_requests(raw):
    one = request("/health/live", b"", "Connection: upgrade", "Upgrade: x", method="GET")
    raw.send(one * 50)
    assert [raw.response()[0] for _ in range(50)] == [200] * 50


def test_trailers_are_no_headers(serve, register):
    register()
    client = serve(api_keys=("a" * 32,))
    chunks = b"%x\r\n%s\r\n0\r\nX-Api-Key: %s\r\n\r\n" % (len(BODY), BODY, b"a" * 32)
    with wire(client) as raw:
        raw.send(request(PREDICT, chunks, CHUNKED, length=False))
        assert raw.response()[0] == 401


def test_chunked_bodies_are_read(raw):
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    raw.send(request(PREDICT, chunks, CHUNKED, length=False), GET)
    assert [raw.response()[0] for _ in range(2)] == [200, 200]


def test_a_head_without_end_is_refused(raw):
    raw.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n")
    assert sent_until_closed(raw, b"A: " + b"b" * 1000 + b"\r\n", 1000) < 1000
    assert [found[0] for found in raw.rest()] in ([431], [])  # a reset may overtake the answer


def test_trailers_without_end_are_refused(raw):
    raw.send(request(PREDICT, b"1\r\n[\r\n0\r\n", CHUNKED, length=False))
    assert sent_until_closed(raw, b"A: " + b"b" * 1000 + b"\r\n", 1000) < 1000


def test_pipelined_requests_are_answered_in_order(raw):
    paths = [PREDICT, "/health/live", PREDICT, PREDICT + "?x=1", "/v2", PREDICT, PREDICT] * 5
    for number, path in enumerate(paths):
        body = BODY if "predict" in path else b""
        method = "POST" if body else "GET"
        raw.send(request(path, body, f"X-Request-ID: r{number}", method=method))
    found = [raw.response() for _ in paths]
    assert [status for status, _, _ in found] == [200] * len(paths)
    assert [headers["x-request-id"] for _, headers, _ in found] == [
        f"r{number}" for number in range(len(paths))
    ]


def test_a_broken_request_waits_for_the_answers_before_it(raw):
    raw.send(request(PREDICT, BODY) + request("/v2", b"", method="GET") + b"BROKEN\r\n\r\n")
    assert [status for status, _, _ in raw.rest()] == [200, 200]


def test_an_error_has_the_form_of_its_own_path(raw):
    raw.send(request(PREDICT, b"[]") + request("/v2/models/none/infer", b"{}"))
    assert "detail" in json.loads(raw.response()[2])
    assert "error" in json.loads(raw.response()[2])


def test_the_oldest_http_is_answered_once(raw):
    raw.send(request(PREDICT, BODY, version="1.0") + GET)
    found = raw.rest()
    assert [status for status, _, _ in found] == [200]
    assert found[0][1]["connection"] == "close"


def test_a_client_that_expects_100_is_told_to_continue(raw):
    head = request(PREDICT, BODY, "Expect: 100-continue")[: -len(BODY)]
    raw.send(head)
    assert raw.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert raw.file.readline() == b"\r\n"
    raw.send(BODY)
    assert raw.response()[0] == 200


@pytest.mark.parametrize("expects", [True, False])
def test_a_body_over_the_limit_is_refused_unread(serve, register, expects):
    register()
    client = serve(max_body_bytes=100)
    headers = ["Expect: 100-continue"] if expects else []
    with wire(client) as raw:
        raw.send(request(PREDICT, b"", "Content-Length: 101", *headers, length=False))
        assert raw.response()[0] == 413


def test_a_client_that_trickles_is_let_go(serve, register):
    register()
    client = serve(request_timeout=0.4)
    trickles = {
        "nothing": b"",
        "line ends": b"\r\n",
        "head": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n",
        "body": request(PREDICT, b"", "Content-Length: 1000", length=False),
        "body for the routes": request(PREDICT + "?x=1", b"", "Content-Length: 1000", length=False),
        "chunks": request(PREDICT, b"1\r\n[\r\n", CHUNKED, length=False),
    }
    ended = {}
    for case, data in trickles.items():
        with wire(client) as raw:
            raw.send(data)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    raw.socket.settimeout(0.05)
                    if not (answer := raw.socket.recv(1000)):
                        ended.setdefault(case, "closed")
                        break
                    ended[case] = answer[9:12]
                except TimeoutError:
                    raw.send(b"\r\n" if case == "line ends" else b" " if "body" in case else b"")
                except OSError:
                    ended.setdefault(case, "closed")
                    break
    assert ended == {
        "nothing": "closed",
        "line ends": "closed",
        "head": b"408",
        "body": b"408",
        "body for the routes": b"408",
        "chunks": b"408",
    }
    assert client.post(PREDICT, json=[ROW]).status_code == 200


def test_a_slow_body_that_goes_on_is_waited_for(serve, register, monkeypatch):
    register()
    client = serve(request_timeout=0.3)
    data = request(PREDICT, BODY)
    with wire(client) as raw:
        for piece in (data[:50], data[50:90], data[90:]):  # the head takes a part of it
            raw.send(piece, pause=0.05)
        assert raw.response()[0] == 200


def test_a_client_that_does_not_read_is_let_go(serve, register):
    register()
    client = serve(request_timeout=0.4)
    with wire(client) as raw:
        raw.socket.settimeout(0.5)
        count, data = 0, request(PREDICT, json.dumps([ROW] * 50).encode())
        try:
            while count < 100_000:
                raw.socket.sendall(data)
                count += 1
        except OSError:  # the server stops reading, and then closes
            pass
        assert count < 20_000
        raw.socket.settimeout(0.01)
        assert sent_until_closed(raw, b"x", 500) < 500


def test_an_idle_connection_is_closed_and_a_busy_one_kept(settings, registry, register):
    register()
    with serving(settings, registry, timeout_keep_alive=3) as client, wire(client) as raw:
        for _ in range(8):
            raw.send(request(PREDICT, BODY))
            assert raw.response()[0] == 200
            time.sleep(0.45)
        assert raw.response() is None


def test_ten_thousand_requests_leave_nothing_behind(credit, raw):
    import gc

    def once(times):
        for _ in range(times):
            raw.send(request(PREDICT, BODY) * 10)
            assert all(raw.response()[0] == 200 for _ in range(10))
        gc.collect()
        return len(gc.get_objects())

    before = once(50)
    assert once(1000) < before + 500


def test_a_client_that_leaves_takes_its_request_along(credit, monkeypatch):
    served = credit.services.pool.champion("credit")
    statistics, batcher = served.statistics, served.batcher
    dropped, runs = statistics.dropped, statistics.executions
    monkeypatch.setattr(batcher, "_busy", True)  # as if a long run were under way
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    kinds = [request(PREDICT, BODY), request(PREDICT, chunks, CHUNKED, length=False)]
    for data in kinds:
        with wire(credit) as raw:
            waiting = batcher.waiting
            raw.send(data)
            wait_until(lambda waiting=waiting: batcher.waiting > waiting)
    wait_until(lambda: sum(work.cancelled for _, _, work in batcher._queue) == len(kinds))
    monkeypatch.undo()
    assert credit.post(PREDICT, json=[ROW]).status_code == 200
    assert statistics.dropped == dropped + len(kinds)
    assert statistics.executions == runs + 1
    assert batcher.waiting == 0


def test_a_half_closed_connection_is_a_client_that_left(raw):
    raw.send(GET)
    assert raw.response()[0] == 200
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.response() is None


def sent_until_closed(raw, part, most):
    """How many parts go out before the server closes the connection."""
    for count in range(most):
        try:
            raw.socket.sendall(part)
        except TimeoutError:
            continue
        except OSError:
            return count
        time.sleep(1e-3)
    return most


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
