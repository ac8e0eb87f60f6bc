from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pellucid.analysis.watching.drift import Levels
from pellucid.analysis.watching.drift.sequential import change_point, judge_stream, page_hinkley
from pellucid.analysis.watching.signals import Status

DAYS = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(4000)]


def judged(values, **more):
    found = judge_stream("income", DAYS[: len(values)], values, levels=Levels(), **more)
    return {each.statistic: each for each in found}


def test_a_lasting_change_is_dated():
    rng = np.random.default_rng(0)
    values = 100 + 5 * rng.normal(size=300)
    values[200:] += 10
    found = judged(values)["page_hinkley"]
    assert found.status is Status.ALARM
    assert abs(found.since - DAYS[200]) <= timedelta(days=3)
    assert found.summary.startswith("income: higher since 2025-07-")
    assert found.low < 110 < found.high
    assert found.subject == "income by page_hinkley"


def test_adwin_sees_a_long_stream_change():
    rng = np.random.default_rng(1)
    values = rng.normal(size=2000)
    values[1000:] -= 1.5
    found = judged(values, usual=(0.0, 1.0))["adwin"]
    assert found.status is Status.ALARM
    assert found.summary.startswith("income: lower since")
    assert abs(found.since - DAYS[1000]) <= timedelta(days=10)


def test_a_change_that_is_over_is_no_alarm():
    rng = np.random.default_rng(2)
    values = rng.normal(size=400)
    values[100:200] += 4
    assert judged(values[:200])["page_hinkley"].status is Status.ALARM
    assert judged(values)["page_hinkley"].status is Status.OK


def test_steady_streams_are_ok():
    rng = np.random.default_rng(3)
    for _ in range(30):
        found = judged(rng.normal(size=365))
        assert {each.status for each in found.values()} == {Status.OK}


def test_run_length_is_as_promised():
    rng = np.random.default_rng(4)
    level, years = 1e-3, 150
    alarms = 0
    for _ in range(years):
        detector = page_hinkley(level, 1.0)
        for value in rng.normal(size=365).tolist():
            detector.update(value)
            if detector.drift_detected:
                alarms += 1
                break
    assert 0.1 <= alarms / years <= 0.45  # 1 - exp(-0.365) is 0.31


def test_constant_short_and_broken_streams():
    assert {each.status for each in judged(np.zeros(100)).values()} == {Status.OK}
    jump = np.zeros(200)
    jump[100:] = 0.03
    assert judged(jump)["page_hinkley"].status is Status.ALARM
    assert {each.status for each in judged(np.ones(5)).values()} == {Status.UNCLEAR}
    assert {each.status for each in judged(np.full(100, np.nan)).values()} == {Status.UNCLEAR}
    with pytest.raises(ValueError, match="2 times of 3 values"):
        judge_stream("x", DAYS[:2], np.zeros(3), levels=Levels())


def test_change_point_without_noise():
    assert change_point(np.array([0.0, 0, 0, 1, 1])) == 3
    assert change_point(np.array([5.0, 1])) == 1
