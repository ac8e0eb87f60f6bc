"""A served model without a service: its versions, their traffic, and a monitor over them."""

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import count
from pellucid.bundle import PROFILE, Bundle, Manifest
from pellucid.db.base import Base
from pellucid.db.session import Database
from pellucid.monitoring import ids
from pellucid.monitoring.feedback.intake import Feedback
from pellucid.monitoring.feedback.labels import DIRECTORY, LabelWriter
from pellucid.monitoring.feedback.taking import Given
from pellucid.monitoring.feedback.truths import Truth
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.watch import monitor
from pellucid.monitoring.watch.inspector import Inspector
from pellucid.monitoring.watch.monitor import Monitor
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.bundles import make_bundle
from support.predictions import OUTPUTS, a_writer, batch, number_at, write

HOUR = timedelta(hours=1)


def rows(count_: int, seed: int, shift: float = 0.0) -> dict[str, Any]:
    """Amounts and purposes, as the log's arrays."""
    random = np.random.default_rng(seed)
    return {
        "amount": random.normal(shift, 1, count_),
        "purpose": random.choice(np.array(["car", "boat", "radio"], object), count_),
    }


def reference(training: dict[str, Any]) -> ReferenceProfile:
    """The profile of training rows; values count up from 0, as `predictions.batch` has them."""
    amount, purpose = training["amount"], training["purpose"]
    value = np.arange(len(amount), dtype=float)
    bins = {"amount": bins_of_numbers(amount), "purpose": bins_of_strings(Counter(purpose))}
    outputs = {"outputs.value": bins_of_numbers(value)}
    return ReferenceProfile(
        inputs=count(training, bins),
        outputs=count({"outputs.value": value}, outputs),
        importance={"amount": 0.7, "purpose": 0.3},
    )


class Watched:
    """A home with a database, a registry in memory, and a prediction log.

    Args:
        directory: for all of it.
        settings: of the monitor.
    """

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.settings = Settings(
            home=directory / "home", mlflow_url="http://mlflow:5000", **settings
        )
        self.registry = MemoryTracker(directory / "registry")
        self.database = Database(f"sqlite:///{directory / 'pellucid.db'}")
        Base.metadata.create_all(self.database.engine)
        self._directory = directory
        self._made = 0

    def version(
        self, name: str = "credit", *, alias: str | None = CHAMPION, profiled: bool = True
    ) -> int:
        """Register a version, trained on 2,000 rows."""
        self._made += 1
        root = self._directory / "bundles" / str(self._made)
        made = make_bundle(root, name=name)
        if profiled:
            reference(rows(2_000, 0)).save(root / PROFILE)
        document = made.manifest.model_dump(mode="json")
        changed = {
            "task": "regression",
            "classes": (),
            "positive_class": None,
            "outputs": [each.model_dump(mode="json") for each in OUTPUTS],
        }
        Bundle.seal(root, Manifest.model_validate_json(json.dumps(document | changed)))
        run = self.registry.open_run(f"job-{self._made}", name, {})
        version = self.registry.register(run, name, root, {}).version
        if alias:
            self.registry.set_alias(name, alias, version)
        return version

    def predict(
        self,
        at: datetime,
        arrays: dict[str, Any],
        *,
        name: str = "credit",
        version: int = 1,
        **options: Any,
    ) -> None:
        """Rows whose requests came at one time."""
        many = len(next(iter(arrays.values())))
        made = batch(
            number_at(at.timestamp()), many, model=name, version=version, arrays=arrays, **options
        )
        writer = a_writer(self.settings.home / "predictions")
        write(writer, made)
        writer.close()

    def tell(self, at: datetime, many: int, labels: Sequence[object]) -> None:
        """Labels of the rows that were predicted at a time."""
        words = ids.from_numbers([number_at(at.timestamp())], np.array([many]))
        names = [str(uuid.UUID(bytes=each)) for each in ids.to_arrow(words).to_pylist()]
        given = Given.of(pa.array(names), pa.array([str(each) for each in labels]))
        writer = LabelWriter(self.settings.home / DIRECTORY)
        predictions, truth = self.settings.home / "predictions", Truth("regression")
        root = self.settings.home / DIRECTORY
        Feedback(predictions, root, writer, lambda *_: truth).take(given)
        writer.close()

    def monitor(self, **options: Any) -> Monitor:
        """A monitor of all of it; with `questions`, one that asks these."""
        made = Inspector(self.settings, self.database, self.registry, self.registry, **options)
        return Monitor(self.settings, self.database, self.registry, self.registry, inspector=made)


def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more windows become due while a test runs; what is judged has its true time."""
    moment = datetime.now(UTC)
    monkeypatch.setattr(monitor, "clock", lambda: moment)


def hour(back: int) -> datetime:
    """The start of the hour that ended so many hours before this one's last judged boundary."""
    now = monitor.clock() - timedelta(seconds=300)
    return now.replace(minute=0, second=0, microsecond=0) - HOUR * (back + 1)
