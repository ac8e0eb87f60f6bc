from datetime import timedelta

import pytest

from pellucid.db.base import now
from pellucid.settings import Settings
from pellucid.tracking.memory import MemoryTracker
from support.serving import serving

KEYS = ("first-key", "ada:second-key")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def guarded(home):
    settings = Settings(home=home, api_keys=KEYS, device="cpu")
    with serving(settings, MemoryTracker(home / "registry")) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first-key"},
        {"Authorization": "bearer second-key"},
        {"X-API-Key": "second-key"},
    ],
)
def test_a_key_opens(guarded, headers):
    assert guarded.get("/v1/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer first-ke"},
        {"Authorization": "Basic first-key"},
        {"Authorization": "Bearer"},
        {"X-API-Key": ""},
        {"X-API-Key": "firſt-key".encode()},
        {"X-API-Key": "ada:second-key"},
        {"X-API-Key": "ada"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/info", "/v1/nothing", "/docs", "/openapi.json"])
def test_without_a_key_everything_is_closed(guarded, headers, path):
    response = guarded.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["code"] == "unauthorized"


def test_the_protocol_is_closed_in_its_own_form(guarded):
    response = guarded.get("/v2/models/credit")
    assert response.status_code == 401
    assert response.json().keys() == {"error"}


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"]
)
def test_health_is_open(guarded, path):
    assert guarded.get(path).status_code == 200


def test_a_body_without_a_key_is_not_read(guarded, home):
    form = {"file": ("a.csv", b"a,b\n" + b"1,2\n" * 2**20)}
    assert guarded.post("/v1/datasets", files=form).status_code == 401
    assert not (home / "tmp").exists()


@pytest.mark.parametrize(
    ("key", "by", "told"),
    [
        ("first-key", "bob", "bob"),
        ("second-key", "ada", "ada"),
        ("second-key", "bob", "bob (key of ada)"),
    ],
)
def test_what_was_done_is_signed_with_the_keys_name(guarded, key, by, told):
    headers = {"X-API-Key": key}
    rules = guarded.get("/v1/alert-rules", headers=headers).json()["rules"]
    reply = guarded.put("/v1/alert-rules", headers=headers, json={"rules": rules, "by": by})
    assert reply.json()["by"] == told
    wanted = {"until": f"{now() + timedelta(hours=1):%FT%TZ}", "by": by, "reason": "a release"}
    silence = guarded.post("/v1/silences", headers=headers, json=wanted).json()
    assert silence["by"] == told
    lifted = guarded.delete(f"/v1/silences/{silence['id']}", headers=headers, params={"by": by})
    assert lifted.json()["lifted_by"] == told


def test_without_keys_everything_is_open(credit):
    assert credit.get("/v1/jobs").status_code == 200
