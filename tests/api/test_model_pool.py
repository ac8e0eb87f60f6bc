"""Following aliases: swap, drain, verification, outages, restarts."""

import errno
import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from pellucid.bundle import MODEL
from pellucid.errors import ModelNotReady, NotFound, TrackerUnavailable
from pellucid.tracking.contract import CHAMPION
from pellucid_api.engine import cache as cache_module
from pellucid_api.engine import leaders, loader
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.served import Limits
from support.serving import parity_feed, probabilities


@pytest.fixture
def make_pool(registry, tmp_path):
    pools = []

    def make(device="cpu", memory=0):
        cache = ModelCache(tmp_path / "cache")
        pool = ModelPool(
            registry,
            cache,
            device=device,
            poll_seconds=0.02,
            memory=memory,
            limits=Limits(batch_rows=1024, queue_seconds=1),
        )
        pools.append(pool)
        pool.start()
        assert pool.settled.wait(60)
        return pool

    yield make
    for pool in pools:
        pool.stop()


@pytest.fixture
def pool(registry, tmp_path):
    """One that does not follow by itself."""
    pool = ModelPool(
        registry,
        ModelCache(tmp_path / "cache"),
        device="cpu",
        poll_seconds=60,
        memory=0,
        limits=Limits(batch_rows=1024, queue_seconds=1),
    )
    pool._loader.choose("cpu")
    yield pool
    pool.stop()


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def counted_downloads(registry, monkeypatch):
    downloads, download = [], registry.download

    def count(*arguments):
        downloads.append(arguments)
        download(*arguments)

    monkeypatch.setattr(registry, "download", count)
    return downloads


def test_the_champion_is_served_and_followed(make_pool, register):
    register(bias=0.0)
    pool = make_pool()
    assert pool.champion("credit").version == 1
    register(bias=1.0)
    until(lambda: pool.champion("credit").version == 2)
    feed = parity_feed()
    found = pool.champion("credit").model.run(feed)["probabilities"]
    assert found == pytest.approx(probabilities(feed, 1.0), abs=1e-6)
    until(lambda: pool.loaded("credit") == [2])


def test_a_request_finishes_on_the_version_it_began_with_which_is_then_freed(make_pool, register):
    register(bias=0.0)
    pool = make_pool()
    began_with = pool.champion("credit")
    alive = weakref.ref(began_with.model)
    register(bias=1.0)
    until(lambda: pool.champion("credit").version == 2)
    feed = parity_feed()
    found = began_with.model.run(feed)["probabilities"]
    assert found == pytest.approx(probabilities(feed, 0.0), abs=1e-6)
    del began_with, found
    until(lambda: gc.collect() >= 0 and alive() is None)


def test_a_version_that_fails_verification_leaves_the_old_one_serving(make_pool, register):
    register()
    pool = make_pool()
    register(claimed_bias=3.0)
    until(lambda: "credit" in pool.failures)
    assert pool.champion("credit").version == 1
    assert pool.failures["credit"].version == 2
    assert "differs from PyTorch" in pool.failures["credit"].reason
    assert not pool.obstacle()


def test_a_failure_is_forgotten_when_the_alias_moves_back(make_pool, register, registry):
    register()
    pool = make_pool()
    register(claimed_bias=3.0)
    until(lambda: "credit" in pool.failures)
    registry.set_alias("credit", CHAMPION, 1)
    until(lambda: "credit" not in pool.failures)
    assert pool.champion("credit").version == 1


def test_a_failed_version_is_not_tried_at_every_poll(make_pool, register, registry, monkeypatch):
    monkeypatch.setattr(leaders, "_FIRST_WAIT", 300.0)
    downloads = counted_downloads(registry, monkeypatch)
    register(claimed_bias=3.0)
    pool = make_pool()
    first = pool.failures["credit"]
    time.sleep(0.2)
    assert pool.failures["credit"] is first
    assert len(downloads) == 1
    assert pool.obstacle() == "No champion could be loaded."
    with pytest.raises(ModelNotReady, match="differs from PyTorch"):
        pool.champion("credit")


def test_a_failed_version_is_tried_again_later(make_pool, register, registry, monkeypatch):
    monkeypatch.setattr(leaders, "_FIRST_WAIT", 0.05)
    version = register(alias=None)
    stored = registry._path("credit", version)
    good = (stored / MODEL).read_bytes()
    (stored / MODEL).write_bytes(b"damaged")
    registry.set_alias("credit", CHAMPION, version)
    pool = make_pool()
    assert "differs from its hash" in pool.failures["credit"].reason
    (stored / MODEL).write_bytes(good)
    until(lambda: not pool.failures)
    assert pool.champion("credit").version == version


def test_with_the_registry_down_what_is_in_memory_is_served(make_pool, register, registry):
    register()
    pool = make_pool()
    registry.down = True
    until(lambda: pool.registry_error)
    assert pool.champion("credit").version == 1
    assert not pool.obstacle()
    registry.down = False
    register()
    until(lambda: pool.champion("credit").version == 2)
    assert pool.registry_error is None


def test_a_restart_with_the_registry_down_serves_from_the_disk(make_pool, register, registry):
    register()
    make_pool().stop()
    registry.down = True
    pool = make_pool()
    assert pool.champion("credit").version == 1
    assert pool.version("credit", 1).version == 1
    with pytest.raises(TrackerUnavailable):
        pool.version("credit", 2)
    with pytest.raises(ModelNotReady, match="registry has not answered"):
        pool.champion("other")


def test_a_damaged_cache_is_downloaded_again(make_pool, register, tmp_path):
    register()
    make_pool().stop()
    (tmp_path / "cache" / "credit" / "1" / MODEL).write_bytes(b"damaged")
    assert make_pool().champion("credit").version == 1


def test_a_champion_that_loses_its_alias_is_no_longer_served(make_pool, register, registry):
    register()
    pool = make_pool()
    registry.delete_alias("credit", CHAMPION)
    until(lambda: not pool.champions())
    with pytest.raises(ModelNotReady, match="no champion"):
        pool.champion("credit")


def test_an_unknown_model_is_named_with_near_ones(make_pool, register):
    register()
    with pytest.raises(NotFound) as caught:
        make_pool().champion("credot")
    assert caught.value.remedy == "Did you mean credit?"


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden"])
def test_a_name_cannot_leave_the_cache(make_pool, name):
    with pytest.raises(NotFound):
        make_pool().version(name, 1)


@pytest.fixture
def of_one_size(monkeypatch):
    """Every version takes 10 bytes."""
    monkeypatch.setattr(loader, "size_on_disk", lambda bundle: 8)
    monkeypatch.setattr(loader, "size_in_memory", lambda files, growth: 10)


def test_other_versions_are_loaded_on_demand_and_the_least_recent_makes_room(
    make_pool, register, of_one_size
):
    for _ in range(6):
        register()
    pool = make_pool(memory=59)  # 5 of 6
    for version in (1, 2, 3, 4, 1):
        assert pool.version("credit", version).version == version
    assert pool.shelf.size == 50
    pool.version("credit", 5)
    assert pool.loaded("credit") == [1, 3, 4, 5, 6]
    assert pool.shelf.evictions == 1


def test_what_does_not_fit_says_so_and_evicts_nothing(make_pool, register, of_one_size):
    for name in ("credit", "churn"):
        register(name)
        register(name)
    pool = make_pool(memory=25)  # the champions, not one more
    with pytest.raises(ModelNotReady, match=r"needs 0\.0 MiB of memory") as raised:
        pool.version("credit", 1)
    assert "PELLUCID_MODEL_MEMORY_BYTES" in raised.value.remedy
    assert (pool.loaded("credit"), pool.loaded("churn")) == ([2], [2])
    assert pool.shelf.evictions == 0


def test_a_champion_takes_the_room_of_the_one_that_it_replaces(make_pool, register, of_one_size):
    register()
    pool = make_pool(memory=10)
    assert register() == 2
    until(lambda: pool.champion("credit").version == 2)
    until(lambda: pool.loaded("credit") == [2])
    assert not pool.failures


def test_a_champion_without_room_is_told_and_others_serve_on(make_pool, register, of_one_size):
    register()
    pool = make_pool(memory=15)
    register("other")
    until(lambda: "other" in pool.failures)
    assert "PELLUCID_MODEL_MEMORY_BYTES" in pool.failures["other"].reason
    assert pool.champion("credit").version == 1


def test_a_version_that_is_let_go_is_freed_at_once(make_pool, register):
    register(alias=None)
    register()
    pool = make_pool()
    alive = weakref.ref(pool.version("credit", 1))
    gc.disable()
    try:
        assert pool.shelf.drop("credit", 1)
        assert alive() is None
    finally:
        gc.enable()
    assert not pool.shelf.drop("credit", 1)
    assert not pool.shelf.drop("credit", 2)  # the champion is held


def test_an_unknown_version_is_not_found(make_pool, register):
    register()
    with pytest.raises(NotFound):
        make_pool().version("credit", 7)


def test_a_version_that_cannot_be_verified_is_not_ready(make_pool, register):
    register()
    register(alias=None, claimed_bias=3.0)
    with pytest.raises(ModelNotReady, match="differs"):
        make_pool().version("credit", 2)


def test_many_requests_for_a_version_load_it_once(make_pool, register, registry, monkeypatch):
    register()
    register(alias=None)
    pool = make_pool()
    downloads = counted_downloads(registry, monkeypatch)
    threads = [threading.Thread(target=pool.version, args=("credit", 2)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(downloads) == 1


def test_old_bundles_leave_the_disk_but_never_the_champions(make_pool, register, tmp_path):
    register()
    pool = make_pool()
    for version in range(2, cache_module.KEPT + 4):
        register(alias=None)
        pool.bundle("credit", version)
    left = sorted(int(path.name) for path in (tmp_path / "cache" / "credit").iterdir())
    assert left[0] == 1
    assert len(left) == cache_module.KEPT + 1


def test_a_cut_off_download_leaves_nothing(make_pool, register, registry, tmp_path, monkeypatch):
    def half(name, version, to):
        shutil.copytree(registry._path(name, version), to)
        (to / MODEL).unlink()
        raise TrackerUnavailable("The connection broke.")

    whole = registry.download
    monkeypatch.setattr(registry, "download", half)
    register()
    pool = make_pool()
    assert not list((tmp_path / "cache" / "credit").iterdir())
    monkeypatch.setattr(registry, "download", whole)
    until(lambda: pool.champions())


def test_what_goes_wrong_with_one_model_does_not_stop_the_others(
    make_pool, register, registry, monkeypatch
):
    def download(name, version, to):
        if name == "credit":
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(name, version, to)

    whole = registry.download
    monkeypatch.setattr(registry, "download", download)
    register("credit")
    register("other")
    pool = make_pool()
    assert pool.champion("other").version == 1
    for ask in (
        pool.champion,
        lambda name: pool.version(name, 1),
        lambda name: pool.bundle(name, 1),
    ):
        with pytest.raises(ModelNotReady, match="No space left"):
            ask("credit")


def test_an_older_answer_is_not_followed_after_a_newer_one(register, registry, monkeypatch, pool):
    register()
    listed, go_on = threading.Event(), threading.Event()
    models = registry.models

    def slow():
        found = models()
        listed.set()
        assert go_on.wait(60)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(registry, "models", slow)
        older = threading.Thread(target=pool.refresh)
        older.start()
        assert listed.wait(60)
    register()
    newer = threading.Thread(target=pool.load, args=("credit",))
    newer.start()
    go_on.set()
    older.join()
    newer.join()
    assert pool.champion("credit").version == 2


def test_without_the_device_nothing_is_served_and_the_reason_is_known(make_pool, register):
    register()
    pool = make_pool("cuda")
    if pool.device == "cuda:0":
        pytest.skip("this machine has CUDA")
    assert "cuda:0 was asked for" in pool.obstacle()
    with pytest.raises(ModelNotReady, match="CUDA"):
        pool.champion("credit")


def deleted(registry, name):
    """As if the model had been deleted in MLflow."""
    registry._versions.pop(name)
    registry._aliases.pop(name)
    shutil.rmtree(registry._directory / name)
    time.sleep(0.002)  # creation is counted in milliseconds


def test_another_model_of_a_deleted_ones_name_is_another_model(make_pool, registry, register):
    register(bias=0.0)
    before = make_pool().champion("credit")
    after_restart = make_pool()
    deleted(registry, "credit")
    register(bias=1.0)
    for pool in (after_restart, make_pool()):  # one that served it, one that finds it on the disk
        # They share a cache: for a moment, one may find the files gone that another renews.
        until(lambda pool=pool: (now := serving(pool)) and answer(now) != answer(before))
        assert pool.champion("credit").version == before.version == 1


def test_what_is_deleted_is_told_from_its_successor_without_having_been_gone(
    pool, registry, register
):
    register(bias=0.0)
    pool.refresh()
    before = pool.champion("credit")
    pool.refresh()
    assert pool.champion("credit") is before
    deleted(registry, "credit")
    register(bias=1.0)
    pool.refresh()
    assert answer(pool.champion("credit")) != answer(before)


def serving(pool):
    try:
        return pool.champion("credit")
    except ModelNotReady:
        return None


def answer(served):
    return served.model.run(parity_feed())["probabilities"].tolist()
