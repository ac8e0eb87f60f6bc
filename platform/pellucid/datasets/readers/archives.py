"""Zip archives: opened without trust in what they say of themselves.

Nothing is ever extracted under a name that the archive gives.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pellucid.errors import InvalidData

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_BLOCK = 2**20
_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


@contextmanager
def opened(path: Path, file: str) -> Iterator[zipfile.ZipFile]:
    """The archive.

    Raises:
        InvalidData: it is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise InvalidData(
            f"The file is not a whole zip archive: {error}",
            where={"file": file},
            remedy="Pack it again, or send it again: it may have been cut off.",
        ) from error
    with archive:
        yield archive


def members(archive: zipfile.ZipFile, file: str) -> dict[str, zipfile.ZipInfo]:
    """The files in the archive by their path, as packed.

    Raises:
        InvalidData: a path leads out of the archive or comes twice, or a file is encrypted.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # as some packers on Windows write it
        if name.endswith("/"):
            continue
        path = PurePosixPath(name)
        name = str(path)
        if path.is_absolute() or ".." in path.parts or path.parts[0].endswith(":"):
            raise _refused(file, name, "Its path leads out of the archive.", "Pack the folder.")
        if name in found:
            raise _refused(file, name, "It is in the archive twice.", "Pack the folder again.")
        if info.flag_bits & _ENCRYPTED:
            raise _refused(file, name, "It is encrypted.", "Pack it without a password.")
        found[name] = info
    return found


def blocks(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: str, limit: int
) -> Iterator[bytes]:
    """The content of a file in the archive, which must not have more than `limit` bytes.

    Raises:
        InvalidData: it is damaged, or larger.
    """
    left = limit
    try:
        with archive.open(info) as stream:
            while block := stream.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise _refused(
                        file,
                        info.filename,
                        f"Unpacked, it has more than {limit:,} bytes.",
                        "Take it out, or make it smaller.",
                    )
                yield block
    except _DAMAGED as error:
        raise _refused(
            file, info.filename, f"It cannot be unpacked: {error}", "Pack the archive again."
        ) from error


def _refused(file: str, member: str, message: str, remedy: str) -> InvalidData:
    return InvalidData(message, where={"file": file, "member": member}, remedy=remedy)
