"""Labels by thresholds of groups: codes, combinations, and the rows' thresholds."""

import numpy as np
import pytest

from pellucid import decisions
from pellucid.bundle import Input
from pellucid.schema import Kind

SEX = Input.of("sex", Kind.CATEGORICAL, ("f", "m"))
AGE = Input.of("age", Kind.NUMERIC).model_copy(update={"edges": (25.0, 60.0)})
CITIZEN = Input.of("citizen", Kind.BOOLEAN)


def test_the_groups_of_columns_have_names():
    assert decisions.names_of(SEX) == ("f", "m")
    assert decisions.names_of(AGE) == ("up to 25", "above 25 to 60", "above 60")
    assert decisions.names_of(CITIZEN) == ("not citizen", "citizen")
    assert decisions.shape_of([SEX, AGE, CITIZEN]) == (3, 4, 3)


@pytest.mark.parametrize(
    ("column", "values", "codes"),
    [
        (SEX, np.array(["m", "f", "", "x"], object), [1, 0, 2, 2]),
        (AGE, np.array([25.0, 25.1, 60, 61, np.nan, -np.inf]), [0, 1, 1, 2, 3, 0]),
        (CITIZEN, np.array([0.0, 1.0, np.nan]), [0, 1, 2]),
    ],
)
def test_values_become_codes(column, values, codes):
    assert decisions.numbers([column], {column.name: values}).tolist() == codes


def test_combinations_are_numbered_and_named_alike():
    rows = {
        "sex": np.array(["f", "m", "m", ""], object),
        "age": np.array([20.0, 70.0, np.nan, 70.0]),
    }
    numbers = decisions.numbers([SEX, AGE], rows).tolist()
    groups = decisions.groups_of([SEX, AGE])
    assert len(groups) == 6
    assert [groups.get(number) for number in numbers] == ["f, up to 25", "m, above 60", None, None]
    assert len(set(numbers)) == 4
