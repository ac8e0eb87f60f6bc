"""What a version answered, read back from the log, however many classes it has."""

import numpy as np
import pytest

from pellucid.bundle import Datatype, Output
from pellucid.monitoring.arrays import unpacked
from pellucid.monitoring.checks.answers import Reader
from pellucid.monitoring.columns import Columns
from pellucid.monitoring.feedback.truths import Truth


@pytest.mark.parametrize("classes", [2, 16, 17, 1024, 1025, 2000])
def test_probabilities_of_any_number_of_classes_are_read(classes: int) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    outputs = (
        Output(name="label", datatype=Datatype.BYTES, shape=(-1,)),
        Output(name="probabilities", datatype=Datatype.FP32, shape=(-1, classes)),
    )
    shares = np.random.default_rng(0).dirichlet(np.ones(classes), 6).astype(np.float32)
    label = shares.argmax(axis=1)
    answers = {"label": np.array(names, object)[label], "probabilities": shares}
    answers["label"][2] = "no class"
    common = np.zeros((6, 2), np.uint64), np.zeros(6, np.int64), np.zeros(6, np.float32)
    logged = unpacked(Columns("m", 1, (), outputs).batch(*common, {}, answers))
    reader = Reader(Truth("classification", names), None)
    found, usable = reader.answers(logged.column("outputs"))
    assert usable.tolist() == [True, True, False, True, True, True]
    assert np.array_equal(found.probability, shares[usable])
    assert np.array_equal(found.label, label[usable])
