"""Bundles on the disk, which several processes may share."""

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pellucid_api.engine import cache as cache_module
from pellucid_api.engine.cache import ModelCache


def failing(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_of_two_processes_one_downloads_a_version(register, registry, tmp_path, monkeypatch):
    register()
    download, calls, both = registry.download, [], threading.Barrier(2)

    def slow(name, version, to):
        calls.append(version)
        time.sleep(0.2)  # for the other one to come
        download(name, version, to)

    def fetch():
        both.wait()
        return ModelCache(tmp_path / "cache").fetch(registry, "credit", 1).root

    monkeypatch.setattr(registry, "download", slow)
    with ThreadPoolExecutor(2) as executor:
        futures = [executor.submit(fetch) for _ in range(2)]
    path = tmp_path / "cache" / "credit" / "1"
    assert [future.result() for future in futures] == [path, path]
    assert calls == [1]
    (path / "model.onnx").write_bytes(b"damaged")
    assert ModelCache(tmp_path / "cache").fetch(registry, "credit", 1).root == path
    assert calls == [1, 1]
    assert [each.name for each in path.parent.iterdir()] == ["1"]


def test_downloads_cut_off_with_their_process_are_removed(register, registry, tmp_path):
    register()
    for name, hours in ((".7.old", 25), (".8.new", 1)):
        (tmp_path / "cache" / "credit" / name).mkdir(parents=True)
        then = time.time() - 3600 * hours
        os.utime(tmp_path / "cache" / "credit" / name, (then, then))
    cache = ModelCache(tmp_path / "cache")
    cache.fetch(registry, "credit", 1)
    left = {path.name for path in (tmp_path / "cache" / "credit").iterdir()}
    assert left == {".8.new", "1"}


def test_champions_that_cannot_be_noted_are_noted_later(tmp_path, monkeypatch):
    cache = ModelCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "write_atomically", failing)
        cache.remember({"credit": 2})
    assert cache.recall() == {}
    cache.remember({"credit": 2})
    assert cache.recall() == {"credit": 2}
    (tmp_path / "champions.json").write_text("[1]")
    assert cache.recall() == {}
