"""Bodies that are compressed: what they may become, to the byte."""

import gzip
import zlib

import pytest

from pellucid.errors import InvalidRows, TooLarge
from pellucid_api.plane.encodings import plain

MOST = 2**21


@pytest.mark.parametrize(
    ("name", "compress"),
    [(b"gzip", gzip.compress), (b"x-gzip", gzip.compress), (b"deflate", zlib.compress)],
)
@pytest.mark.parametrize("size", [0, 1, 2**20, MOST - 1, MOST])
def test_a_body_may_be_as_large_as_the_limit(name, compress, size):
    body = compress(bytes(size), 9 if size <= 2**20 else 0)
    assert plain({b"content-encoding": name}, body, MOST) == bytes(size)


@pytest.mark.parametrize("size", [MOST + 1, 2 * MOST, 10**8])
def test_a_body_may_not_be_larger(size):
    for body in (gzip.compress(bytes(size)), gzip.compress(bytes(size), 1)):
        with pytest.raises(TooLarge):
            plain({b"content-encoding": b"gzip"}, body, MOST)


def test_a_body_that_is_cut_is_refused():
    body = gzip.compress(b"a body")
    for end in range(len(body)):
        with pytest.raises(InvalidRows):
            plain({b"content-encoding": b"gzip"}, body[:end], MOST)
