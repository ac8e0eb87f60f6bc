"""A multipart upload, streamed to a file on the data's own disk; a part of it never stays."""

import errno
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, NoReturn

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from pellucid.errors import InvalidInput, StorageFull, TooLarge

FIELD_BYTES = 2**20  # of all text fields together
_PREFIX = "upload-"
_ABANDONED_SECONDS = 3600.0  # without a byte
_BLOCK = 2**20  # bytes gathered before a thread writes them
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Upload:
    """A form: one file, on the disk until the request ends, and text fields."""

    path: Path
    filename: str = ""  # the last part of what the client called it; "" as long as no file came
    fields: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def receive_upload(
    request: Request, directory: Path, file_field: str
) -> AsyncIterator[Upload]:
    """The request's form; its file is deleted at the end of the block, whatever happens.

    Raises:
        HTTPException: 415, the body is no multipart form.
        InvalidInput: the form is cut off, malformed, or has no file.
        StorageFull: the disk is full.
    """
    boundary = _boundary(request)
    with tempfile.TemporaryDirectory(dir=_made(directory), prefix=_PREFIX) as folder:
        form = _Form(Path(folder) / "file", boundary, file_field)
        try:
            await _feed(form, request)
        except OSError as error:
            raise_if_full(error)
            raise
        finally:
            form.close()
        if not form.upload.filename:
            raise InvalidInput(
                f"The form has no file field {file_field!r}.",
                where={"field": file_field},
                remedy=f"curl -F {file_field}=@data.csv ...",
            )
        yield form.upload


def sweep(directory: Path) -> None:
    """Remove what uploads left behind in a process that was killed."""
    for folder in directory.glob(f"{_PREFIX}*"):
        newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        if time.time() - newest > _ABANDONED_SECONDS:  # another process may be at work on it
            shutil.rmtree(folder, ignore_errors=True)


def raise_if_full(error: OSError) -> None:
    """Raise `StorageFull` if that is what the error says."""
    if error.errno in _NO_SPACE:
        raise StorageFull(
            "The disk is full; nothing of the upload remains.",
            remedy="Free some space under PELLUCID_HOME and upload again.",
        ) from error


async def _feed(form: "_Form", request: Request) -> None:
    gathered = bytearray()
    async for chunk in request.stream():
        gathered += chunk
        if len(gathered) >= _BLOCK:
            await run_in_threadpool(form.write, bytes(gathered))
            gathered.clear()
    await run_in_threadpool(form.write, bytes(gathered))
    form.finish()


class _Form:
    """Callbacks of the multipart parser: the file's bytes to the disk, the fields' to memory."""

    def __init__(self, path: Path, boundary: bytes, file_field: str) -> None:
        self.upload = Upload(path)
        self._file_field = file_field
        self._file: IO[bytes] = path.open("wb")
        self._header: list[bytes] = [b"", b""]
        self._disposition: Mapping[bytes, bytes] = {}
        self._name = ""
        self._is_file = False
        self._text = bytearray()
        self._text_bytes = 0
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_bytes(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._header_bytes(1, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._data(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finished,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, data: bytes) -> None:
        """Take in more of the body."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            _malformed(f"The form is malformed: {error}")

    def finish(self) -> None:
        """Check that the last boundary came, and flush the file."""
        if not self._ended:
            _malformed("The form is cut off: its last boundary is missing.")
        self._file.close()

    def close(self) -> None:
        """Close the file; errors of its last flush no longer matter."""
        try:
            self._file.close()
        except OSError as error:
            raise_if_full(error)

    def _begin(self) -> None:
        self._disposition, self._text = {}, bytearray()

    def _header_bytes(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            _, self._disposition = parse_options_header(value)
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        self._name = _decoded(self._disposition.get(b"name", b""))
        filename = self._disposition.get(b"filename")
        self._is_file = self._name == self._file_field
        if self._is_file and self.upload.filename:
            _malformed("The form has several files; upload one at a time.")
        if self._is_file:
            self.upload.filename = _last_part(_decoded(filename or b"")) or "upload"

    def _data(self, data: bytes) -> None:
        if self._is_file:
            self._file.write(data)
            return
        self._text += data
        self._text_bytes += len(data)
        if self._text_bytes > FIELD_BYTES:
            raise TooLarge(f"The form's text fields are larger than {FIELD_BYTES:,} bytes.")

    def _end(self) -> None:
        if not self._is_file:
            self.upload.fields[self._name] = _decoded(bytes(self._text))

    def _finished(self) -> None:
        self._ended = True


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise HTTPException(415, "The body is no multipart form. Send one: curl -F file=@data.csv")
    return options[b"boundary"]


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise_if_full(error)
        raise
    return directory


def _malformed(text: str) -> NoReturn:
    raise InvalidInput(text, remedy="Send the whole form again; nothing was kept.")


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"A field of the form is not UTF-8: {error}.") from error


def _last_part(filename: str) -> str:
    return PurePosixPath(PureWindowsPath(filename).as_posix()).name
