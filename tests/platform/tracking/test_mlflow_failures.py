"""MLflow's exceptions, as errors of ours."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from pellucid.errors import NotFound
from pellucid.tracking.mlflow.failures import translated


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Registered Model with name=credti not found", "pellucid models list"),
        ("Run 'abc' not found", ""),
    ],
)
def test_a_model_that_is_not_there_says_where_to_look(said: str, remedy: str) -> None:
    with pytest.raises(NotFound, match=said) as raised, translated():
        raise MlflowException(said, error_code=RESOURCE_DOES_NOT_EXIST)
    assert remedy in raised.value.remedy
    assert bool(raised.value.remedy) == bool(remedy)
