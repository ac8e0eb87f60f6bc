"""Loads and unloads a version: `python reloading.py DIRECTORY TIMES`, in a process of its own.

Prints the resident bytes after every twentieth of the times, as JSON.
"""

import asyncio
import gc
import json
import sys
from pathlib import Path

from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from pellucid_api.engine.batcher import Work
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.served import Limits, Served
from pellucid_api.engine.shelf import resident
from support.serving import make_bundle


async def serve(served: Served) -> None:
    """One request, run in the version's own thread."""
    done: asyncio.Future[Work] = asyncio.get_running_loop().create_future()
    served.batcher.cost.learn(1, 10.0)
    feed = served.layout.pack(served.model.examples()).cut(0, 1)
    served.batcher.submit(Work(feed, done.set_result))
    assert (await done).error is None


def main(directory: Path, times: int) -> None:
    registry = MemoryTracker(directory / "registry")
    make_bundle(directory / "bundle")
    for run in ("run-1", "run-2"):
        registry.register(run, "credit", directory / "bundle", {})
    registry.set_alias("credit", CHAMPION, 1)
    pool = ModelPool(
        registry,
        ModelCache(directory / "cache"),
        device="cpu",
        poll_seconds=3600,
        memory=0,
        limits=Limits(batch_rows=64, queue_seconds=60),
    )
    pool.start()
    assert pool.settled.wait(60)
    sizes = []
    for number in range(1, times + 1):
        asyncio.run(serve(pool.version("credit", 2)))
        assert pool.shelf.drop("credit", 2)
        if number % (times // 20) == 0:
            gc.collect()
            sizes.append(resident())
    pool.stop()
    print(json.dumps(sizes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
