import pytest

from pellucid.errors import InvalidData
from pellucid.provenance import Difference, Provenance, differences, digest


def test_differences_come_in_the_order_in_which_the_inputs_took_effect():
    before = {"code": "a", "data": "1", "threads": "2", "gone": "x"}
    after = {"new": "y", "threads": "4", "data": "2", "code": "a"}
    assert list(differences(before, after)) == [
        Difference("data", "1", "2"),
        Difference("threads", "2", "4"),
        Difference("gone", "x", None),
        Difference("new", None, "y"),
    ]
    assert not list(differences(before, dict(reversed(before.items()))))


def test_a_digest_is_of_the_value_and_not_of_its_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest(b"") == empty


def test_a_record_is_read_as_written_and_a_missing_one_is_told(tmp_path):
    record = Provenance(inputs={"b": "1", "a": "2"}, outcome={"weights": "3"})
    record.write(tmp_path / "provenance.json")
    found = Provenance.read(tmp_path / "provenance.json")
    assert found == record
    assert list(found.inputs) == ["b", "a"]
    with pytest.raises(InvalidData, match="no record"):
        Provenance.read(tmp_path / "none.json")
