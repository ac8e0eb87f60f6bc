"""Which windows are looked at again when labels come."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pellucid.analysis.watching.signals import Status
from pellucid.monitoring import layout
from pellucid.monitoring.watch.planning import labelled
from pellucid.monitoring.watch.resources import WindowSummary

HOUR = timedelta(hours=1)
START = datetime(2026, 11, 1, tzinfo=UTC)


def window(number: int, judged_at: datetime) -> WindowSummary:
    start = START + number * HOUR
    fields = {"model": "credit", "version": 1, "rows": 10, "status": Status.OK, "alarms": 0}
    return WindowSummary(start=start, end=start + HOUR, judged_at=judged_at, **fields)


def test_where_labels_never_end_every_window_has_its_turn(tmp_path: Path) -> None:
    now = START + 100 * HOUR
    windows = [window(number, now) for number in range(99, -1, -1)]
    for turn in range(1, 12):
        now += HOUR
        for number in range(102):
            hour = tmp_path / layout.hour_name(int(START.timestamp() // 3600) + number)
            hour.mkdir(exist_ok=True)
            os.utime(hour, (now.timestamp() - 1,) * 2)
        taken = labelled(tmp_path, windows, 20)
        assert len(taken) == 20
        assert taken == sorted(taken, key=lambda each: each.start)
        assert windows[0].start in {each.start for each in taken}  # the newest, at every turn
        again = {each.start for each in taken}
        windows = [
            each.model_copy(update={"judged_at": now}) if each.start in again else each
            for each in windows
        ]
        if turn == 9:
            assert all(each.judged_at > START + 100 * HOUR for each in windows)


def test_without_new_labels_nothing_is_looked_at_again(tmp_path: Path) -> None:
    judged = [window(number, datetime.now(UTC) + HOUR) for number in (1, 0)]
    assert labelled(tmp_path / "none", judged, 9) == []
    (tmp_path / layout.hour_name(int(START.timestamp() // 3600))).mkdir()
    assert labelled(tmp_path, judged, 9) == []
