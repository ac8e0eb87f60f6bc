"""Any text file as UTF-8, read as a stream."""

import codecs
import logging
from collections.abc import Iterator
from pathlib import Path

from charset_normalizer import from_bytes

from pellucid.errors import InvalidData

_CHUNK = 2**20
_SAMPLE = 2**16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_log = logging.getLogger(__name__)


def as_utf8(source: Path, target: Path, file: str) -> Path:
    """The file as UTF-8 without a byte order mark, its lines ended by \\n.

    Returns:
        `source` where it is that already, else `target`, written as a stream.

    Raises:
        InvalidData: the file is not text, or mixes encodings.
    """
    encoding = _detect(source, file)
    if encoding is None:
        return source
    _log.info("%s is read as %s", file, encoding)
    try:
        with (
            source.open(encoding=encoding) as text,
            target.open("w", encoding="utf-8", newline="\n") as out,
        ):
            while chunk := text.read(_CHUNK):
                if "\0" in chunk:
                    raise _not_text(file)
                out.write(chunk)
    except UnicodeError as error:
        raise _not_text(file) from error
    return target


def check_lines(text: Path, limit: int, file: str) -> None:
    """No line may be longer than `limit` bytes, which is at least a chunk of reading.

    DuckDB 2.0 leaves out a last line that is longer than its buffer, and does not say so.

    Raises:
        InvalidData: a line is; the error names the first.
    """
    length, number = 0, 1
    for chunk in _chunks(text):
        end = chunk.find(b"\n")
        length += len(chunk) if end < 0 else end
        if length > limit:
            raise InvalidData(
                f"The line has more than {limit:,} bytes.",
                where={"file": file, "line": number},
                remedy="Shorten its cells.",
            )
        if end >= 0:
            length = len(chunk) - chunk.rfind(b"\n") - 1
            number += chunk.count(b"\n")


def _detect(source: Path, file: str) -> str | None:
    """The encoding to convert from; None for UTF-8 that needs no conversion."""
    with source.open("rb") as stream:
        head = stream.read(_SAMPLE)
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:  # UTF-16 without a mark, or no text at all
        return _guess(head[: len(head) // 4 * 4], file)
    if _is_utf8(source, file):
        return "utf-8" if _has_carriage_returns(source) else None
    return _guess(_sample(source, file), file)


def _is_utf8(source: Path, file: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in _chunks(source):
            if b"\0" in chunk:
                raise _not_text(file)
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _has_carriage_returns(source: Path) -> bool:
    return any(b"\r" in chunk for chunk in _chunks(source))


def _sample(source: Path, file: str) -> bytes:
    """Lines that are not ASCII: they tell encodings apart.

    Raises:
        InvalidData: most of them are UTF-8, so that another encoding would garble them.
    """
    lines: list[bytes] = []
    broken, size = None, 0
    with source.open("rb") as stream:
        number = 1
        while size < _SAMPLE and (line := stream.readline(_SAMPLE)):
            if not line.isascii():
                lines.append(line)
                size += len(line)
                if broken is None and not _decodes(line):
                    broken = number
            number += line.endswith(b"\n")
    if broken is not None and sum(map(_decodes, lines)) > len(lines) / 2:
        raise InvalidData(
            "The text is UTF-8, except for some bytes of this line.",
            where={"file": file, "line": broken},
            remedy="Write the whole file in one encoding, best UTF-8.",
        )
    return b"".join(lines)


def _decodes(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes, file: str) -> str:
    matches = from_bytes(sample)
    best = matches.best()
    if best is None:
        raise _not_text(file)
    # Many single-byte encodings fit a short Western text equally well: take the common one.
    if any("cp1252" in match.could_be_from_charset for match in matches):
        return "cp1252"
    return best.encoding


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _not_text(file: str) -> InvalidData:
    return InvalidData(
        "The file is not text in an encoding that can be told.",
        where={"file": file},
        remedy="Save it as CSV or JSON lines in UTF-8, or as Parquet; unpack compressed files.",
    )
