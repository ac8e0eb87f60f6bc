"""Plans that start from a registered version: what is pinned, and what is refused."""

import pytest

ROWS = "age,bad\n" + "".join(f"{20 + i},{'yn'[i % 2]}\n" for i in range(40))


def submitted(client, version):
    client.post("/v1/datasets", files={"file": ("people.csv", ROWS)})
    plan = {"name": "new", "data": {"dataset": "people"}, "target": "bad"}
    return client.post("/v1/jobs", json=plan | {"transfer": {"version": version}})


def test_an_alias_becomes_the_number_that_it_has_now(client, register):
    register("credit")
    register("credit", alias=None)
    register("credit")
    response = submitted(client, "models:/credit@champion")
    assert response.status_code == 202, response.text
    assert response.json()["plan"]["transfer"]["version"] == "models:/credit/3"


def test_a_number_stays(client, register):
    register("credit")
    response = submitted(client, "models:/credit/1")
    assert response.json()["plan"]["transfer"]["version"] == "models:/credit/1"


@pytest.mark.parametrize(
    "version", ["models:/nobody@champion", "models:/credit@nobody", "models:/credit/7"]
)
def test_a_version_that_is_not_there_is_refused(client, register, version):
    register("credit")
    response = submitted(client, version)
    assert response.status_code == 422
    assert response.json()["where"] == {"path": "transfer.version"}
    assert version in response.json()["detail"]
