"""The versions in memory, within a budget.

A version's size is what resident memory grew by while it was loaded and warmed, but at least the
size of its files, whose weights the session holds, and at most four times that and 64 MiB: other
requests grow the memory at the same time, and memory freed before is used again.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pellucid.bundle import AMORTIZED, EXPLAINER, Bundle
from pellucid.errors import ModelNotReady
from pellucid_api.engine.served import Served

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_MOST_TIMES, _MOST_BESIDES = 4, 64 * 2**20

Key = tuple[str, int]  # name, version


@dataclass(frozen=True)
class _Entry:
    served: Served
    size: int  # bytes


class Shelf:
    """Versions in memory. Those that nobody holds leave, the least recently used first.

    A version that leaves is freed when the last request that uses it has ended.

    Args:
        budget: bytes of all versions together; 0 is half of what this process may use.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget or usable_memory() // 2
        self.evictions = 0
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()  # the most recently used last
        self._held: frozenset[Key] = frozenset()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of all versions, as estimated."""
        with self._lock:
            return self._size()

    def served(self) -> list[Served]:
        """Every version, by name and number."""
        with self._lock:
            return [self._entries[key].served for key in sorted(self._entries)]

    def versions(self, name: str) -> list[int]:
        """The versions of a model, ascending."""
        with self._lock:
            return sorted(version for model, version in self._entries if model == name)

    def get(self, name: str, version: int) -> Served | None:
        """A version, which is then the most recently used."""
        with self._lock:
            entry = self._entries.get((name, version))
            if entry is None:
                return None
            self._entries.move_to_end((name, version))
            return entry.served

    def make_room(self, name: str, version: int, size: int, leaving: Collection[Key] = ()) -> None:
        """Evict until so many bytes fit.

        Args:
            name: of the model whose version needs the room.
            version: which is not evicted itself.
            size: bytes.
            leaving: versions that it replaces, and that leave anyway.

        Raises:
            ModelNotReady: all versions that may leave would not be enough; none has left.
        """
        with self._lock:
            kept = self._held | {(name, version)}
            staying = sum(
                entry.size
                for key, entry in self._entries.items()
                if key in kept and key not in leaving and key != (name, version)
            )
            if staying + size > self.budget:
                raise ModelNotReady(
                    f"The model needs {_shown(size)} of memory. Of {_shown(self.budget)} for "
                    f"models, {_shown(staying)} are taken by versions that must stay.",
                    where={"model": name, "version": version},
                    remedy="Raise PELLUCID_MODEL_MEMORY_BYTES, or remove aliases of other models.",
                )
            others = [key for key in self._entries if key not in kept and key not in leaving]
            gone = sum(self._entries[k].size for k in leaving if k in self._entries)
            own = self._entries.get((name, version))
            needed = size - (own.size if own else 0) - gone
            while others and self._size() + needed > self.budget:
                del self._entries[others.pop(0)]
                self.evictions += 1

    def put(self, served: Served, size: int) -> None:
        """Take in a version that room was made for."""
        with self._lock:
            self._entries[served.name, served.version] = _Entry(served, size)

    def drop(self, name: str, version: int) -> bool:
        """Let a version go, unless it is held; whether it was there and went."""
        with self._lock:
            key = name, version
            return key not in self._held and self._entries.pop(key, None) is not None

    def retain(self, name: str, version: int) -> None:
        """Hold a version too, until the next `hold`."""
        with self._lock:
            self._held |= {(name, version)}

    def hold(self, keys: Collection[Key]) -> None:
        """Keep these for as long as they are held; those held until now go."""
        with self._lock:
            before, self._held = self._held, frozenset(keys)
            for key in before - self._held:
                self._entries.pop(key, None)

    def _size(self) -> int:
        return sum(entry.size for entry in self._entries.values())


def usable_memory() -> int:
    """Bytes that this process may use: the machine's memory, or its control group's limit."""
    limits = [psutil.virtual_memory().total]
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # no such group, or "max"
            limits.append(int(Path(path).read_text()))
    return min(limits)


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def size_on_disk(bundle: Bundle) -> int:
    """Bytes of the network's files, and of those that explain it."""
    files = [*bundle.root.glob(f"{bundle.model_path.name}*")]
    files += [bundle.root / name for name in (EXPLAINER, AMORTIZED)]
    return sum(file.stat().st_size for file in files if file.is_file())


def size_in_memory(files: int, growth: int) -> int:
    """Bytes that a version takes, from the size of its files and how much memory grew."""
    return min(max(files, growth), _MOST_TIMES * files + _MOST_BESIDES)


def _shown(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
