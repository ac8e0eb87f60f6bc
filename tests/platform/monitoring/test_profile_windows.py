"""Profiles of windows of the prediction log."""

import gzip
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import Profile
from pellucid.bundle import Input
from pellucid.monitoring import ids
from pellucid.monitoring.columns import Columns
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.windows import Hours, Window, hours, profile_window, total
from pellucid.schema import Kind
from support.predictions import OUTPUTS, a_writer, batch, number_at, write

START = datetime(2026, 11, 21, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = START + timedelta(days=1)
SEX = Input.of("sex", Kind.CATEGORICAL, ("f", "m"))


def a_reference(grouping=None):
    inputs = {"amount": np.arange(100.0), "purpose": np.array(["car"] * 90 + ["boat"] * 10, "O")}
    bins = {
        "amount": bins_of_numbers(inputs["amount"]),
        "purpose": bins_of_strings({"car": 90, "boat": 10}),
    }
    values = {"outputs.value": np.arange(50.0)}
    outputs = {"outputs.value": bins_of_numbers(values["outputs.value"])}
    return ReferenceProfile(count(inputs, bins), count(values, outputs), grouping=grouping or {})


def at(hour, rows, count=0, **options):
    return batch(number_at(START.timestamp() + 3600 * hour + 60, count), rows, **options)


def logged(root, *batches):
    writer = a_writer(root)
    for each in batches:
        write(writer, each)
    writer.close()
    return PredictionLog(root)


def window(first=0, last=1, version=1):
    return Window("credit", version, START + first * HOUR, START + last * HOUR)


def test_the_rows_of_a_window_are_counted_in_the_reference_bins(tmp_path):
    log = logged(tmp_path, at(0, 40), at(1, 7), at(0, 5, 99, version=2), at(0, 3, 200, model="x"))
    profile = profile_window(log, window(), a_reference())
    assert profile.rows == 40
    assert profile.tallies["amount"].counts.tolist() == [1] * 40 + [0] * 60
    assert profile.tallies["purpose"].counts.tolist() == [40, 0, 0]
    assert profile.tallies["outputs.value"].counts.sum() == 40
    assert profile.tallies["outputs.value"].outside == 0


def test_rows_that_are_not_sealed_yet_are_counted_once(tmp_path):
    writer = a_writer(tmp_path)
    write(writer, at(0, 40))
    log, reference = PredictionLog(tmp_path), a_reference()
    assert profile_window(log, window(), reference).rows == 40
    writer.close()
    assert profile_window(log, window(), reference).rows == 40


def test_an_empty_window_and_a_window_of_one_row(tmp_path):
    log, reference = logged(tmp_path, at(0, 1)), a_reference()
    assert profile_window(log, window(), reference).rows == 1
    empty = profile_window(log, window(5, 6), reference)
    assert empty.rows == 0
    assert empty.tallies.keys() == reference.bins.keys()


def test_a_column_that_changed_its_type_is_wrong_from_then_on(tmp_path):
    inputs = (Input.of("amount", Kind.CATEGORICAL), Input.of("purpose", Kind.NUMERIC))
    arrays = {"amount": np.array(["many"] * 4 + [""], "O"), "purpose": np.arange(5.0)}
    log = logged(tmp_path, at(0, 40), at(0, 5, 50, inputs=inputs, arrays=arrays))
    tallies = profile_window(log, window(), a_reference()).tallies
    assert (tallies["amount"].wrong, tallies["amount"].missing) == (4, 1)
    assert tallies["purpose"].wrong == 5
    assert tallies["amount"].rows == tallies["purpose"].rows == 45


def test_a_column_that_is_no_longer_recorded_is_missing(tmp_path):
    log = logged(tmp_path, at(0, 5, inputs=(Input.of("amount", Kind.NUMERIC),)))
    tallies = profile_window(log, window(), a_reference()).tallies
    assert tallies["purpose"].missing == tallies["purpose"].rows == 5


def test_all_values_missing(tmp_path):
    arrays = {"amount": np.full(9, np.nan), "purpose": np.full(9, "", object)}
    tallies = profile_window(logged(tmp_path, at(0, 9, arrays=arrays)), window(), a_reference())
    assert [tallies.tallies[name].missing for name in arrays] == [9, 9]


def test_outputs_are_counted_by_sensitive_group(tmp_path):
    words = ids.from_numbers([number_at(START.timestamp() + 60)], np.array([6]))
    times = (words[:, 0] >> np.uint64(16)).astype(np.int64) * 1000
    columns = Columns("credit", 1, (), OUTPUTS, sensitive=(Input.of("sex", Kind.CATEGORICAL),))
    sexes = np.array(["f", "m", "f", "", "x", "f"], object)
    values = {"value": np.arange(6, dtype=np.float32)}
    part = columns.batch(words, times, np.ones(6, np.float32), {}, values, {"sex": sexes})
    log = logged(tmp_path, part, at(0, 4, 50))
    profile = profile_window(log, window(), a_reference({"sex": SEX}))
    found = {name: each.rows for name, each in profile.groups["sex"].items()}
    assert found == {"f": 3, "m": 1, "(missing)": 1, "(other)": 1}
    assert list(profile.groups["sex"]["f"].bins) == ["outputs.value"]
    assert profile.groups["sex"]["f"].tallies["outputs.value"].counts[:6].tolist() == [
        1, 0, 1, 0, 0, 1,
    ]  # fmt: skip
    assert profile.rows == 10


def test_a_window_is_cut_at_full_hours():
    long = Window("m", 1, START + HOUR / 2, START + 2.25 * HOUR)
    spans = [(each.start - START, each.end - START) for each in hours(long)]
    assert spans == [(HOUR / 2, HOUR), (HOUR, 2 * HOUR), (2 * HOUR, 2.25 * HOUR)]


def test_hours_are_counted_once_and_add_up(tmp_path):
    log = logged(tmp_path / "log", *(at(hour, 10 + hour) for hour in range(4)))
    kept, reference = Hours(log, tmp_path / "profiles"), a_reference({"sex": SEX})
    day = window(0, 24)
    found = kept.profile(day, reference, NOW + HOUR)
    assert found.rows == 10 + 11 + 12 + 13
    assert len(list((tmp_path / "profiles").rglob("*.json.gz"))) == 24
    for each in (tmp_path / "log").glob("model=*"):
        each.rename(tmp_path / "gone")  # the hours are known without the rows
    again = kept.profile(day, reference, NOW + HOUR)
    assert [tally.counts.tolist() for tally in again.tallies.values()] == [
        tally.counts.tolist() for tally in found.tallies.values()
    ]
    changed = ReferenceProfile(reference.inputs, reference.outputs, grouping={})
    assert kept.profile(day, changed, NOW + HOUR).rows == 0  # other bins: counted again


def test_an_hour_is_final_when_late_rows_cannot_come_any_more(tmp_path):
    log = logged(tmp_path / "log", at(0, 10))
    kept, reference = Hours(log, tmp_path / "profiles", timedelta(minutes=5)), a_reference()
    assert kept.profile(window(), reference, START + HOUR + timedelta(minutes=4)).rows == 10
    logged(tmp_path / "log", at(0, 3, 50))
    assert kept.profile(window(), reference, START + HOUR + timedelta(minutes=5)).rows == 13
    logged(tmp_path / "log", at(0, 2, 90))
    assert kept.profile(window(), reference, NOW).rows == 13


@pytest.mark.parametrize(
    "content",
    [b"", b"{", gzip.compress(b"{}"), gzip.compress(b"[1]")],
    ids=["empty", "not gzip", "no figures", "a list"],  # gzip's bytes tell the time
)
def test_a_damaged_hour_is_counted_again(tmp_path, content):
    log = logged(tmp_path / "log", at(0, 10))
    kept, reference = Hours(log, tmp_path / "profiles"), a_reference()
    kept.profile(window(), reference, NOW)
    (path,) = (tmp_path / "profiles").rglob("*.json.gz")
    path.write_bytes(content)
    assert kept.profile(window(), reference, NOW).rows == 10
    assert path.read_bytes() != content


def test_a_full_disk_keeps_no_hour_and_hides_no_row(tmp_path, caplog):
    log = logged(tmp_path / "log", at(0, 10))
    (tmp_path / "profiles").write_text("no directory")
    assert Hours(log, tmp_path / "profiles").profile(window(), a_reference(), NOW).rows == 10
    assert "cannot be kept" in caplog.text


def test_old_hours_are_swept(tmp_path):
    log = logged(tmp_path / "log", at(0, 10))
    kept = Hours(log, tmp_path / "profiles")
    kept.profile(window(0, 4), a_reference(), NOW)
    kept.sweep(START + 2 * HOUR)
    names = sorted(path.name for path in (tmp_path / "profiles").rglob("*.gz"))
    assert names == ["hour=2026-11-21T20.json.gz", "hour=2026-11-21T21.json.gz"]


def test_parts_are_counted_by_threads_and_few_are_held(tmp_path):
    reference, held = a_reference(), []

    def parts():
        for part in range(40):
            held.append(part)
            yield pa.array([float(part)])

    def profile(part):
        time.sleep(0.001)
        assert len(held) - len(done) <= 5
        done.append(part)
        return count({"amount": part}, reference.bins)

    done = []
    found = total(parts(), profile, Profile.empty(reference.bins), threads=2)
    assert found.tallies["amount"].counts[:40].tolist() == [1] * 40


def test_an_error_in_a_part_is_told():
    def profile(part):
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        total(range(100), profile, Profile.empty({}), threads=2)
