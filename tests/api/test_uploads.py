"""The form of an upload, byte by byte: streamed, whole or not at all."""

import os
import socket
import time
import tracemalloc

import pytest

from pellucid_api import uploads

HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}


def leftovers(client):
    return list((client.services.settings.home / "tmp").glob("*"))


def send(client, *parts):
    return client.post("/v1/datasets", content=b"".join(parts), headers=HEADERS)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "cut off"),
        (HEAD + b"a,b\n1,2\n", "cut off"),
        (HEAD + b"a,b\n1,2\n\r\n--x\r\n", "cut off"),
        (b"no form at all", "malformed"),
        (b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nn\r\n--x--\r\n', "no file"),
        (HEAD + b"a\n1\n\r\n" + HEAD + b"a\n1\n\r\n--x--\r\n", "several files"),
    ],
)
def test_a_broken_form_is_refused(credit, body, said):
    response = send(credit, body)
    assert response.status_code == 422
    assert said in response.json()["detail"]
    assert not leftovers(credit)


@pytest.mark.parametrize("kind", ["application/json", "text/csv", "multipart/form-data", ""])
def test_what_is_no_form_is_refused(credit, kind):
    headers = {"Content-Type": kind} if kind else {}
    response = credit.post("/v1/datasets", content=b"a,b\n1,2\n", headers=headers)
    assert response.status_code == 415
    assert "curl -F file=@data.csv" in response.json()["detail"]


def test_a_field_that_is_too_large_is_refused(credit):
    field = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    response = send(credit, field, b"n" * (uploads.FIELD_BYTES + 1), b"\r\n--x--\r\n")
    assert response.status_code == 413


def test_bytes_arrive_as_they_were_sent(client, monkeypatch):
    content = (
        bytes(range(256)) * 5000 + b"\r\n--x\r-\n--"
    )  # what looks like a boundary, and is none
    seen = {}

    def keep(path, **arguments):
        seen.update(arguments, content=path.read_bytes())
        raise OSError("enough")

    monkeypatch.setattr(client.services.datasets, "add", keep)
    assert send(client, HEAD, content, b"\r\n--x--\r\n").status_code == 500
    assert seen["content"] == content
    assert seen["filename"] == "a.csv"
    assert not leftovers(client)


def test_a_large_upload_is_never_in_memory(client, monkeypatch):
    sizes = []

    def weigh(path, **_):
        sizes.append(path.stat().st_size)
        raise OSError("enough")

    monkeypatch.setattr(client.services.datasets, "add", weigh)

    def form():
        yield HEAD
        for _ in range(200):
            yield b"x" * 2**18
        yield b"\r\n--x--\r\n"

    tracemalloc.start()
    try:
        client.post("/v1/datasets", content=form(), headers=HEADERS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sizes == [50 * 2**20]
    assert peak < 15 * 2**20


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_that_is_cut_off_leaves_nothing(client, framing):
    body = HEAD + b"a,b\n" + b"1,2\n" * 2**19
    head = b"POST /v1/datasets HTTP/1.1\r\nHost: x\r\n"
    head += b"Content-Type: multipart/form-data; boundary=x\r\n"
    if framing == "length":
        head += b"Content-Length: 10000000\r\n\r\n"
    else:
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%s\r\n" % (len(body), body)
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall(head + body)
        deadline = time.monotonic() + 60
        while not leftovers(client):
            assert time.monotonic() < deadline, "the upload never began"
            time.sleep(0.01)
    while leftovers(client):
        assert time.monotonic() < deadline, "a part of the upload remains"
        time.sleep(0.01)
    assert client.get("/v1/datasets").json()["items"] == []


def test_a_full_disk_is_told_and_nothing_remains(client, monkeypatch):
    class Full(uploads._Form):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._file.close()
            self._file = open("/dev/full", "wb")  # noqa: SIM115, PTH123  # closed by the form

    monkeypatch.setattr(uploads, "_Form", Full)
    response = send(client, HEAD, b"a,b\n" + b"1,2\n" * 2**20, b"\r\n--x--\r\n")
    assert response.status_code == 507
    assert response.json()["code"] == "storage_full"
    assert not leftovers(client)
    monkeypatch.undo()
    assert send(client, HEAD, b"a,b\n1,2\n2,3\n", b"\r\n--x--\r\n").status_code == 201


def test_what_a_killed_process_left_is_removed_at_the_next_start(serve, settings):
    old, new = settings.home / "tmp" / "upload-old", settings.home / "tmp" / "upload-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"a,b")
    for path in (old / "file", old):
        os.utime(path, (0, 0))
    serve()
    assert not old.exists()
    assert new.exists()
