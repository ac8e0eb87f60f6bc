"""The same counting on Ray Data gives the same numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import Profile
from pellucid.bundle import Input
from pellucid.monitoring.profiles.on_ray import profile_dataset
from pellucid.monitoring.profiles.parquet_profiles import profile_parquet
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.windows import profile_rows
from pellucid.schema import Kind

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytest.importorskip("ray.data")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own, of which it has many
]

AMOUNTS = np.random.default_rng(0).lognormal(size=1_000)


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def reference():
    purposes = {"car": 700, "boat": 300}
    bins = {"amount": bins_of_numbers(AMOUNTS), "purpose": bins_of_strings(purposes)}
    scores = {"outputs.value": bins_of_numbers(AMOUNTS)}
    outputs = count({"outputs.value": AMOUNTS}, scores)
    return ReferenceProfile(
        Profile.empty(bins),
        outputs,
        grouping={"sex": Input.of("sex", Kind.CATEGORICAL, ("f", "m"))},
    )


def flat(seed, rows=20_000):
    generator = np.random.default_rng(seed)
    amounts = pa.array(generator.lognormal(0.1, size=rows), mask=generator.random(rows) < 0.1)
    return pa.table({"amount": amounts, "purpose": generator.choice(["car", "boat", "x"], rows)})


def assert_same(one, other):
    assert one.rows == other.rows
    for name, tally in one.tallies.items():
        expected = other.tallies[name]
        assert tally.counts.tolist() == expected.counts.tolist()
        assert (tally.missing, tally.outside, tally.wrong) == (
            expected.missing, expected.outside, expected.wrong,
        )  # fmt: skip
        assert (tally.total, tally.squares) == pytest.approx((expected.total, expected.squares))


def test_rows_with_flat_columns(tmp_path, cluster, reference):
    for part in range(3):
        pq.write_table(flat(part), tmp_path / f"{part}.parquet", row_group_size=3_000)
    found = profile_dataset(ray.data.read_parquet(str(tmp_path)), reference)
    assert found.rows == 60_000
    assert_same(found, profile_parquet(tmp_path, reference))


def test_rows_of_the_prediction_log_by_group(tmp_path, cluster, reference):
    table = flat(9)
    inputs = pa.StructArray.from_arrays(
        [table["amount"].combine_chunks(), table["purpose"].combine_chunks()],
        names=["amount", "purpose"],
    )
    outputs = pa.StructArray.from_arrays([pa.array(np.tile(AMOUNTS, 20))], names=["value"])
    sexes = pa.array(["f", "m", None, "x"] * 5_000)
    sensitive = pa.StructArray.from_arrays([sexes], names=["sex"])
    logged = pa.table({"inputs": inputs, "outputs": outputs, "sensitive": sensitive})
    pq.write_table(logged, tmp_path / "rows.parquet", row_group_size=3_000)
    found = profile_dataset(ray.data.read_parquet(str(tmp_path)), reference)
    expected = profile_rows(logged.combine_chunks().to_batches()[0], reference)
    assert_same(found, expected)
    for name, group in expected.groups["sex"].items():
        assert_same(found.groups["sex"][name], group)
