"""Memory that is locked for the GPU, with CUDA's runtime played by a list."""

import gc

import numpy as np
import pytest

from pellucid_api.engine import pinned

FLOAT = np.dtype(np.float32)


class Runtime:
    def __init__(self, code=0):
        self.code, self.locked = code, {}

    def cudaHostRegister(self, address, size, flags):  # noqa: N802  CUDA's name
        if not self.code:
            self.locked[address.value] = (size.value, flags.value)
        return self.code

    def cudaHostUnregister(self, address):  # noqa: N802
        del self.locked[address.value]


@pytest.fixture
def runtime(monkeypatch):
    made = Runtime()
    monkeypatch.setattr(pinned, "_runtime", lambda: made)
    return made


def test_it_is_locked_for_as_long_as_anything_views_it(runtime):
    array = pinned.empty((4, 3), FLOAT)
    assert (array.shape, array.dtype) == ((4, 3), FLOAT)
    assert runtime.locked == {array.ctypes.data: (48, 1)}
    view = array[1:]
    del array
    gc.collect()
    assert runtime.locked
    del view
    gc.collect()
    assert not runtime.locked


def test_nothing_is_not_locked(runtime):
    assert pinned.empty((0, 3), FLOAT).shape == (0, 3)
    assert not runtime.locked


def test_memory_that_cannot_be_locked_is_used_as_it_is(runtime, caplog):
    runtime.code = 2
    assert pinned.empty((4,), FLOAT).shape == (4,)
    assert "error 2" in caplog.text


def test_without_cudas_runtime(monkeypatch, caplog):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    pinned._runtime.cache_clear()
    monkeypatch.setattr(pinned.ctypes, "CDLL", missing)
    try:
        assert pinned.empty((4,), FLOAT).shape == (4,)
        assert pinned.empty((4,), FLOAT).shape == (4,)
    finally:
        pinned._runtime.cache_clear()
    assert caplog.text.count("memory is not locked") == 1
