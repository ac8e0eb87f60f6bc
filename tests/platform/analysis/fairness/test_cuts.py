"""Values of sensitive columns to groups, the same for every later row."""

import numpy as np

from pellucid.analysis.fairness.cuts import Coded, Cut, crossed

TEXTS = np.array(["f", "m", None, "f", "", "d"], dtype=object)


def told(cut: Cut, values: list[object]) -> list[str]:
    dtype = float if cut.numeric else object
    return [cut.names[code] for code in cut.codes(np.array(values, dtype=dtype)).tolist()]


def test_strings_are_groups_and_what_is_new_is_other() -> None:
    cut = Cut.learn("sex", TEXTS, numeric=False)
    assert cut.names == ("d", "f", "m", "(other)", "(missing)")
    assert told(cut, ["m", "x", None, "", "d"]) == ["m", "(other)", "(missing)", "(missing)", "d"]


def test_of_many_strings_the_most_frequent_are_groups() -> None:
    values = np.array(list("".join(chr(97 + i) * (20 - i) for i in range(20))), dtype=object)
    cut = Cut.learn("place", values, numeric=False)
    assert len(cut.categories) == 11
    assert cut.categories == tuple("abcdefghijk")
    assert told(cut, ["a", "t"]) == ["a", "(other)"]


def test_few_numbers_are_groups_and_many_are_cut_at_the_quartiles() -> None:
    few = Cut.learn("code", np.array([2.0, 1, np.nan, 2.5]), numeric=True)
    assert few.names == ("1", "2", "2.5", "(other)", "(missing)")
    assert told(few, [2.5, 1, 3, 0, np.nan]) == ["2.5", "1", "(other)", "(other)", "(missing)"]
    age = Cut.learn("age", np.arange(18.0, 98), numeric=True)
    assert age.edges == (37, 57, 77)
    assert age.names[:4] == ("to 37", "above 37, to 57", "above 57, to 77", "above 77")
    assert told(age, [-5, 37, 38, 200, np.nan]) == [
        "to 37", "to 37", "above 37, to 57", "above 77", "(missing)",
    ]  # fmt: skip


def test_times_are_told_as_dates() -> None:
    seconds = np.arange(100.0) * 86_400
    cut = Cut.learn("born", seconds, numeric=True, times=True)
    assert cut.names[0] == "to 1970-01-25"
    few = Cut.learn("born", seconds[:2] + 1, numeric=True, times=True)
    assert few.names[0] == "1970-01-01 00:00:01"


def test_a_column_of_nothing_has_no_groups() -> None:
    for numeric, values in ((False, np.array([None, ""], object)), (True, np.array([np.nan]))):
        cut = Cut.learn("x", values, numeric=numeric)
        assert cut.names == ("(other)", "(missing)")
        assert set(cut.codes(values).tolist()) == {1}
        assert told(cut, ["y"] if not numeric else [3.0]) == ["(other)"]


def test_intersections_are_of_all_columns() -> None:
    sex = Coded.of(Cut("sex", ("f", "m")), np.array(["f", "m", None], object))
    age = Coded.of(Cut("age", ("old", "young")), np.array(["old", "new", "young"], object))
    both = crossed([sex, age])
    assert both.column == "sex x age"
    assert len(both.names) == 16
    assert [both.names[code] for code in both.codes] == ["f, old", "m, (other)", "(missing), young"]
    assert [both.unknown[code] for code in both.codes] == [False, False, True]
