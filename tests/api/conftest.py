"""The service on SQLite and a registry in memory, with small real ONNX models."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.serving import ServiceClient, make_bundle, serving


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", alias_poll_seconds=0.05, device="cpu")


@pytest.fixture
def registry(tmp_path: Path) -> MemoryTracker:
    return MemoryTracker(tmp_path / "registry")


Register = Callable[..., int]


@pytest.fixture
def register(registry: MemoryTracker, tmp_path: Path) -> Register:
    """Registers a new version, and makes it the champion unless told otherwise."""
    made: list[int] = []

    def add(
        name: str = "credit",
        *,
        alias: str | None = CHAMPION,
        make: Callable[..., Any] = make_bundle,
        **bundle: Any,
    ) -> int:
        made.append(1)
        root = tmp_path / "bundles" / str(len(made))
        make(root, **bundle)
        version = registry.register(f"run-{len(made)}", name, root, {"job": "job-1"}).version
        if alias:
            registry.set_alias(name, alias, version)
        return version

    return add


Serve = Callable[..., ServiceClient]


@pytest.fixture
def serve(settings: Settings, registry: MemoryTracker) -> Iterator[Serve]:
    """Starts the service, with changed settings where wanted; stops it at the end."""
    with ExitStack() as stack:

        def start(**changes: Any) -> ServiceClient:
            changed = settings.model_copy(update=changes)
            return stack.enter_context(serving(changed, registry))

        yield start


@pytest.fixture
def client(serve: Serve) -> ServiceClient:
    return serve()


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceClient]:
    """A service with the champion `credit`, shared by a module's tests, which change nothing."""
    root = tmp_path_factory.mktemp("credit")
    registry = MemoryTracker(root / "registry")
    make_bundle(root / "bundle", bias=0.03)
    registry.register("run-1", "credit", root / "bundle", {"job": "job-1"})
    registry.set_alias("credit", CHAMPION, 1)
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with serving(settings, registry) as client:
        yield client
