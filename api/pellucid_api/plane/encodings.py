"""Bodies that are compressed on their way."""

import zlib

from pellucid.errors import InvalidRows, TooLarge, UnsupportedType
from pellucid_api.plane.exchange import RequestHeaders

_FORMATS = {
    b"gzip": 16 + zlib.MAX_WBITS,
    b"x-gzip": 16 + zlib.MAX_WBITS,
    b"deflate": zlib.MAX_WBITS,
}
_MOST_TIMES, _LEAST_ROOM = 32, 2**20  # a few kilobytes may stand for gigabytes of zeros


def plain(headers: RequestHeaders, body: bytes, most: int) -> bytes:
    """The body as it was before its `Content-Encoding`.

    Args:
        headers: names in lower case.
        body: whole.
        most: bytes that a body may have.

    Raises:
        InvalidRows: the body is damaged or cut off.
        TooLarge: it would be larger than `most`, or than 1 MiB and 32 times what was sent.
        UnsupportedType: the encoding is neither gzip nor deflate.
    """
    encoding = headers.get(b"content-encoding", b"")
    if not encoding:
        return body
    encoding = encoding.strip().lower()
    if encoding in (b"", b"identity"):
        return body
    form = _FORMATS.get(encoding)
    if form is None:
        raise UnsupportedType(
            f"The body's encoding is {encoding.decode('latin-1')!r}; send gzip, deflate or none."
        )
    most = min(most, max(_LEAST_ROOM, _MOST_TIMES * len(body)))
    inflator = zlib.decompressobj(form)
    try:
        found = inflator.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidRows(f"The body is not {encoding.decode()}: {error}.") from error
    if len(found) > most:
        raise TooLarge(
            f"The body of {len(body):,} bytes is more than {most:,} once it is decompressed.",
            remedy="Send it without compression, or in several requests.",
        )
    if not inflator.eof or inflator.unused_data:
        raise InvalidRows(f"The body ends before or after its {encoding.decode()} data do.")
    return found
