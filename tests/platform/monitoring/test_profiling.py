"""The reference profile's file, and Parquet files against it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import to_json
from pellucid.analysis.watching.sketches import sketch_numbers, summary
from pellucid.bundle import PROFILE, Input
from pellucid.errors import InvalidData
from pellucid.monitoring.profiles.parquet_profiles import profile_parquet
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.schema import Kind


@pytest.fixture
def reference():
    amounts = np.random.default_rng(0).lognormal(size=500)
    purposes = np.array(["car"] * 400 + ["boat"] * 100, object)
    bins = {
        "amount": bins_of_numbers(amounts),
        "purpose": bins_of_strings({"car": 400, "boat": 100}),
    }
    scores = np.linspace(0, 1, 200)
    outputs = {"outputs.probabilities.good": bins_of_numbers(scores)}
    groups = {"sex": np.array(["f", "m"] * 100, object)}
    return ReferenceProfile(
        inputs=count({"amount": amounts, "purpose": purposes}, bins),
        outputs=count(dict.fromkeys(outputs, scores), outputs, groups=groups, grouped=(*outputs,)),
        importance={"amount": 0.7, "purpose": 0.3},
        sketches={"amount": sketch_numbers(amounts)},
        grouping={"sex": Input.of("sex", Kind.CATEGORICAL, ("f", "m"))},
    )


def test_the_file_holds_all_of_it(tmp_path, reference):
    reference.save(tmp_path / PROFILE)
    found = ReferenceProfile.find(tmp_path)
    assert to_json(found.inputs) == to_json(reference.inputs)
    assert to_json(found.outputs) == to_json(reference.outputs)
    assert found.outputs.groups["sex"]["m"].rows == 100
    assert found.importance == reference.importance
    assert found.grouping == reference.grouping
    assert found.digest == reference.digest
    assert (found.rows, found.classes) == (500, ("good",))
    assert summary(found.sketches["amount"]).rows == 500
    assert list(found.whole.bins) == ["amount", "purpose", "outputs.probabilities.good"]


def test_a_bundle_without_a_profile(tmp_path):
    assert ReferenceProfile.find(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 2}', '"\ud83d"'])
def test_a_file_that_is_no_profile(tmp_path, content):
    (tmp_path / PROFILE).write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InvalidData, match="reference profile") as caught:
        ReferenceProfile.find(tmp_path)
    assert caught.value.where["file"].endswith(PROFILE)


def test_a_profile_whose_counts_do_not_fit_its_bins(tmp_path, reference):
    reference.save(tmp_path / PROFILE)
    document = json.loads((tmp_path / PROFILE).read_text())
    document["inputs"]["tallies"]["amount"]["counts"].append(1)
    (tmp_path / PROFILE).write_text(json.dumps(document))
    with pytest.raises(InvalidData, match="other bins"):
        ReferenceProfile.find(tmp_path)


def rows(seed=1, count=3_000):
    generator = np.random.default_rng(seed)
    amounts = pa.array(generator.lognormal(size=count), mask=generator.random(count) < 0.05)
    purposes = pa.array(generator.choice(["car", "boat", "sledge"], count))
    return pa.table({"amount": amounts, "purpose": purposes, "ignored": purposes})


def test_a_parquet_file_counts_as_its_rows_do(tmp_path, reference):
    table = rows()
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=700)
    found = profile_parquet(tmp_path / "rows.parquet", reference)
    columns = {name: table[name] for name in ("amount", "purpose")}
    expected = count(columns, reference.bins)
    assert found.rows == 3_000
    for name in reference.bins:
        tally, other = found.tallies[name], expected.tallies[name]
        assert tally.counts.tolist() == other.counts.tolist()
        assert (tally.missing, tally.outside) == (other.missing, other.outside)
    assert found.tallies["outputs.probabilities.good"].missing == 3_000


def test_a_directory_of_files_of_which_one_has_other_types(tmp_path, reference):
    pq.write_table(rows(), tmp_path / "a.parquet")
    pq.write_table(pa.table({"amount": ["x"] * 5, "purpose": [1] * 5}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"amount": [1.0] * 4}), tmp_path / "c.parquet")
    found = profile_parquet(tmp_path, reference, threads=2)
    assert found.rows == 3_009
    assert [found.tallies[name].wrong for name in ("amount", "purpose")] == [5, 5]
    assert found.tallies["purpose"].missing == 4


def test_files_that_cannot_be_read(tmp_path, reference):
    with pytest.raises(InvalidData, match="no Parquet file"):
        profile_parquet(tmp_path, reference)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is not enough")
    for path in (tmp_path, tmp_path / "missing.parquet"):
        with pytest.raises(InvalidData, match="cannot be read"):
            profile_parquet(path, reference)
