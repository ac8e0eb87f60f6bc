"""Jobs over HTTP: what is queued, what is refused, and how a job is watched."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from pellucid.resources.jobs import JobStatus
from pellucid.settings import Settings
from pellucid.tracking.memory import MemoryTracker
from support.serving import serving

TARGETS = {
    "good": lambda i: "yn"[i % 2],
    "number": lambda i: i * 1.5,
    "constant": lambda i: "y",
    "missing": lambda i: "",
    "partly": lambda i: "" if i == 3 else "yn"[i % 2],
    "single": lambda i: "z" if i == 5 else "yn"[i % 2],
    "classes": lambda i: f"c{i}",
}
PLAN = {"name": "credit", "data": {"dataset": "good"}, "target": "bad"}


def csv_of(target):
    return "age,bad\n" + "".join(f"{20 + i},{target(i)}\n" for i in range(40))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    home = tmp_path_factory.mktemp("jobs")
    registry = MemoryTracker(home / "registry")
    with serving(Settings(home=home, device="cpu"), registry) as client:
        for name, target in TARGETS.items():
            file = {"file": (f"{name}.csv", csv_of(target))}
            assert client.post("/v1/datasets", files=file).status_code == 201
        yield client


def submit(service, plan=PLAN, **headers):
    return service.post("/v1/jobs", json=plan, headers=headers)


def test_a_plan_becomes_a_job(service):
    response = submit(service)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(response.headers["retry-after"]) > 0
    assert (job["status"], job["name"]) == ("queued", "credit")
    assert job["data_version"] == service.get("/v1/datasets/good").json()["sha256"]
    assert job["plan"]["task"] == "classification"
    assert job["plan"]["split"]["kind"] == "stratified"
    assert job["plan"]["data"]["dataset"] == "good@1"
    assert service.get(response.headers["location"]).json() == job


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "application/yaml", None]
)
@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_json_and_yaml_are_taken_whatever_they_are_called(service, kind, write):
    headers = {"Content-Type": kind} if kind else {}
    response = service.post("/v1/jobs", content=write(PLAN), headers=headers)
    assert response.status_code == 202


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"trainig": {}}, "trainig", "unknown key"),
        ({"training": {"epoch": 3}}, "training.epoch", "unknown key"),
        ({"training": {"epochs": -3}}, "training.epochs", "got -3"),
        ({"training": {"epochs": "many"}}, "training.epochs", "got 'many'"),
        ({"target": "bed"}, "target", "age, bad"),
        ({"target": None}, "target", "age, bad"),
        ({"data": {"dataset": "good", "roles": {"agee": "id"}}}, "data.roles.agee", "age, bad"),
        ({"data": {"dataset": "good", "roles": {"age": "key"}}}, "data.roles.age", "'feature'"),
        ({"data": {"dataset": "nobody"}}, "data.dataset", "nobody"),
        ({"data": {"dataset": "good@9"}}, "data.dataset", "good@1"),
        ({"task": "regression"}, "task", "regression needs numbers"),
        ({"task": "clustering"}, "task", "'classification'"),
        ({"positive_class": "q"}, "positive_class", "n, y"),
        ({"model": {"kind": "cnn"}}, "model.kind", "tabm"),
        ({"split": {"kind": "time"}}, "split.column", "role time"),
        ({"split": {"test": 0.9}}, "split", ""),
        ({"name": "../evil"}, "name", "../evil"),
        ({"gates": {"metric": "luck"}}, "gates.metric", "roc_auc"),
        ({"data": {"dataset": "constant"}}, "target", "nothing to learn"),
        ({"data": {"dataset": "missing"}}, "target", "no value in any row"),
        ({"data": {"dataset": "partly"}}, "target", "missing in 1 of 40 rows"),
        ({"data": {"dataset": "single"}}, "target", "one row only: 'z'"),
        ({"data": {"dataset": "classes"}}, "target", "40 classes in 40 rows"),
    ],
)
def test_a_wrong_plan_is_refused_with_path_and_remedy(service, change, path, said):
    before = len(service.get("/v1/jobs?limit=500").json()["items"])
    response = submit(service, PLAN | change)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] in ("invalid_plan", "invalid_data")
    if path != "split.random":
        assert problem["where"]["path"] == path
    assert said in problem["detail"] + problem["remedy"]
    assert len(service.get("/v1/jobs?limit=500").json()["items"]) == before


@pytest.mark.parametrize(
    "body",
    [b"", b"[1]", b"null", b"{", b"a: [", b"\xff\xfe\x00", b"a: &x [1]\nb: [*x]", b"1" * 2**21],
)
def test_what_is_no_plan_is_refused(service, body):
    response = service.post("/v1/jobs", content=body)
    assert response.status_code == (413 if len(body) > 2**20 else 422)


def test_nested_aliases_cannot_fill_the_memory(service):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    response = service.post("/v1/jobs", content="\n".join(lines))
    assert response.status_code == 422
    assert "aliases" in response.json()["detail"]


def test_the_same_key_and_plan_is_the_same_job(service):
    with ThreadPoolExecutor(4) as pool:
        key = {"Idempotency-Key": "key-1"}
        jobs = list(pool.map(lambda _: submit(service, **key).json()["id"], range(4)))
    assert len(set(jobs)) == 1
    reordered = dict(reversed(PLAN.items()))
    assert submit(service, reordered, **key).json()["id"] == jobs[0]


def test_the_same_key_with_another_plan_is_refused(service):
    key = {"Idempotency-Key": "key-2"}
    submit(service, **key)
    response = submit(service, PLAN | {"training": {"epochs": 7}}, **key)
    assert response.status_code == 422
    assert response.json()["code"] == "idempotency_conflict"


def test_an_unchanged_job_is_not_sent_again(service):
    path = submit(service).headers["location"]
    tag = service.get(path).headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        response = service.get(path, headers={"If-None-Match": given})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    service.post(f"{path}/cancel")
    response = service.get(path, headers={"If-None-Match": tag})
    assert response.status_code == 200
    assert response.headers["etag"] != tag


def test_cancel_and_retry(service):
    path = submit(service).headers["location"]
    assert service.post(f"{path}/retry").status_code == 409
    for _ in range(2):
        response = service.post(f"{path}/cancel")
        assert response.status_code == 202
        assert response.json()["status"] == "canceled"
    response = service.post(f"{path}/retry")
    assert (response.status_code, response.json()["status"]) == (202, "queued")


def test_lists_are_filtered_and_come_in_pages(service):
    made = [submit(service, PLAN | {"name": "paged"}).json()["id"] for _ in range(5)]
    service.post(f"/v1/jobs/{made[0]}/cancel")
    found, cursor = [], None
    while True:
        params = {"name": "paged", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = service.get("/v1/jobs", params=params).json()
        found += [job["id"] for job in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == made[::-1]
    queued = service.get("/v1/jobs?name=paged&status=queued").json()["items"]
    assert {JobStatus(job["status"]) for job in queued} == {JobStatus.QUEUED}
    assert len(queued) == 4


@pytest.mark.parametrize("path", ["", "/events", "/logs", "/cancel", "/retry"])
def test_an_unknown_job_is_not_found(service, path):
    method = "POST" if path in ("/cancel", "/retry") else "GET"
    response = service.request(method, f"/v1/jobs/none{path}")
    assert response.status_code == 404
    assert response.json()["where"] == {"job": "none"}


def test_the_plans_schema_is_published(service):
    import jsonschema

    schema = service.get("/v1/schemas/plan").json()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(PLAN, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(PLAN | {"trainig": {}}, schema)


SEARCH = PLAN | {
    "search": {
        "trials": 3,
        "space": {"optimizer.lr": {"kind": "range", "low": 0.001, "high": 0.1, "log": True}},
    }
}


def test_a_plan_with_a_search_becomes_a_search(service):
    response = submit(service, SEARCH)
    assert response.status_code == 202, response.text
    job = response.json()
    assert job["kind"] == "search"
    assert job["plan"]["data"]["dataset"] == "good@1"
    assert job["plan"]["task"] == "classification"
    assert job["plan"]["search"]["parallel"] == 2
    assert "optimizer" not in job["plan"]  # trials fill in what fits what they choose
    trials = service.get(f"/v1/jobs/{job['id']}/trials").json()
    assert trials == {"items": [], "next_cursor": None}
    canceled = service.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert canceled["status"] == "canceled"


def test_trials_of_an_unknown_job_are_not_found(service):
    assert service.get("/v1/jobs/nobody/trials").status_code == 404


@pytest.mark.parametrize(
    ("search", "path"),
    [
        ({"space": {}}, "search.space"),
        ({"space": {"optimizer.rate": {"kind": "choice", "values": [1]}}}, "optimizer.rate"),
        ({"space": {"optimizer.lr": {"kind": "choice", "values": [0.1, -1]}}}, "optimizer.lr"),
        ({**SEARCH["search"], "metric": "rmse"}, "search.metric"),
    ],
)
def test_a_search_that_cannot_work_is_refused(service, search, path):
    response = submit(service, PLAN | {"search": search})
    assert response.status_code == 422, response.text
    assert path in str(response.json()["where"]["path"])
