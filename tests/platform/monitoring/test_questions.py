"""What is asked of a window, and what is left out."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from pellucid.analysis.watching.binning import bins_of_numbers
from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.signals import Status
from pellucid.bundle import Input
from pellucid.monitoring.checks import questions
from pellucid.monitoring.checks.judging import Case
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.windows import Window
from pellucid.monitoring.watch.references import Reference
from pellucid.schema import Kind
from pellucid.settings import Settings

START = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(("kind", "alarms"), [(Kind.NUMERIC, {"amount", "when"}),
                                              (Kind.DATETIME, {"amount"})])  # fmt: skip
def test_times_go_on_with_the_clock_and_are_no_drift(tmp_path, kind, alarms):
    random = np.random.default_rng(0)
    before = {"amount": random.normal(size=5000), "when": random.uniform(0, 1, 5000)}
    after = {"amount": random.normal(2, 1, 5000), "when": random.uniform(1, 2, 5000)}
    bins = {name: bins_of_numbers(values) for name, values in before.items()}
    profile = ReferenceProfile(
        inputs=count(before, bins), outputs=count({}, {}), importance={"amount": 0.5, "when": 0.5}
    )
    inputs = (Input.of("amount", Kind.NUMERIC), Input.of("when", kind))
    case = Case(
        Settings(home=tmp_path),
        Window("m", 1, START, START + timedelta(hours=1)),
        Reference(SimpleNamespace(inputs=inputs), profile, None),  # type: ignore[arg-type]
        count(after, bins),
        5000,
        {},
    )
    signals = questions.columns(case).signals
    assert {each.subject for each in signals if each.status is Status.ALARM} == alarms
