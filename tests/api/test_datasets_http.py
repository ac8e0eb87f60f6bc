"""Data sets over HTTP: uploads of every kind of file, good and bad."""

import errno
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

CSV = "age,job,bad\n" + "".join(f"{20 + i},{'abc'[i % 3]},{'yn'[i % 2]}\n" for i in range(40))


def upload(client, content, filename="credit.csv", **fields):
    return client.post("/v1/datasets", files={"file": (filename, content)}, data=fields)


@pytest.fixture
def kept(client, settings):
    """Asserts after the test that nothing was kept of what was refused."""
    yield client
    assert client.get("/v1/datasets").json()["items"] == []
    left = [
        path for path in settings.home.rglob("*")
        if path.is_file() and {"tmp", "datasets"} & set(path.relative_to(settings.home).parts)
    ]  # fmt: skip
    assert left == []


def test_an_upload_is_a_version(client):
    roles = json.dumps({"bad": "target", "job": "sensitive"})
    response = upload(client, CSV, name="credit", roles=roles, types='{"age": "float64"}')
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/datasets/credit@1"
    dataset = response.json()
    assert (dataset["rows"], dataset["source"]) == (40, "credit.csv")
    assert dataset["data_schema"]["columns"] == [
        {"name": "age", "type": "float64", "role": "feature", "constraint": None},
        {"name": "job", "type": "string", "role": "sensitive", "constraint": None},
        {"name": "bad", "type": "string", "role": "target", "constraint": None},
    ]
    for reference in ("credit", "credit@1", dataset["sha256"]):
        assert client.get(f"/v1/datasets/{reference}").json() == dataset


def test_columns_may_be_constrained(client):
    age = {"change": "increase", "high": 90}
    roles, constraints = json.dumps({"bad": "target"}), json.dumps({"age": age})
    first = upload(client, CSV, roles=roles, constraints=constraints).json()
    assert first["data_schema"]["columns"][0]["constraint"] == age | {"low": None, "high": 90.0}
    assert upload(client, CSV).json() == first
    other = upload(client, CSV, roles=roles, constraints='{"age": {"change": "never"}}').json()
    assert (other["version"], other["sha256"]) == (2, first["sha256"])


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ({"agee": {"change": "never"}}, "'agee', which is not there"),
        ({"age": {"change": "up"}}, "'decrease'"),
        ({"age": {"low": 3, "high": 2}}, "low 3 is above high 2"),
        ({"age": "never"}, "valid dictionary"),
        ({"job": {"change": "increase"}}, "holds strings, which have no order"),
        ({"bad": {"change": "free"}}, "is no feature but target"),
    ],
)
def test_constraints_that_no_column_can_have(kept, constraints, said):
    roles = json.dumps({"bad": "target"})
    response = upload(kept, CSV, roles=roles, constraints=json.dumps(constraints))
    assert response.status_code == 422
    assert said in response.json()["detail"]


def test_the_same_content_again_is_the_same_version(client):
    first = upload(client, CSV)
    again = upload(client, CSV.replace("\n", "\r\n"), filename="other.csv", name="credit")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["sha256"] == first.json()["sha256"]
    assert upload(client, CSV + "20,a,n\n").json()["version"] == 2


def test_the_same_content_at_once_is_one_version(client):
    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda _: upload(client, CSV), range(6)))
    assert sorted(r.status_code for r in responses) == [200] * 5 + [201]
    assert len({r.json()["sha256"] for r in responses}) == 1
    assert len(client.get("/v1/datasets").json()["items"]) == 1


def test_parquet_and_json_lines_are_taken(client):
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    file = io.BytesIO()
    pq.write_table(table, file)
    assert upload(client, file.getvalue(), "t.parquet").status_code == 201
    lines = b'{"a": 1, "b": "x"}\n{"a": 2, "b": null}\n'
    response = upload(client, lines, "t.jsonl")
    assert response.json()["sha256"] == client.get("/v1/datasets/t@1").json()["sha256"]


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("german credit (1).csv", "german_credit_1"),
        ("../../etc/passwd.csv", "passwd"),
        ("C:\\data\\loans.csv", "loans"),
        ("...csv", "data"),
    ],
)
def test_a_name_is_made_of_the_files(client, filename, name):
    response = upload(client, CSV, filename)
    assert response.status_code == 201
    assert response.json()["name"] == name


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "a b", "x" * 101, "-x"])
def test_a_bad_name_is_refused(kept, name):
    response = upload(kept, CSV, name=name)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_data"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        pytest.param(b"", {}, id="empty"),
        pytest.param(b"a,b\n", {}, id="header only"),
        pytest.param(b"a,b\n1,2\n3,4,5\n", {"row": 2}, id="ragged"),
        pytest.param(b"a,a\n1,2\n", {"column": 2}, id="duplicate names"),
        pytest.param(b"a,\n1,2\n", {}, id="empty name"),
        pytest.param(b"a,b\n1,\xff\xfe\x00\x81\n" * 3, {}, id="wrong encoding"),
        pytest.param(b"a,b\n1," + b"x" * 10 * 2**20 + b"\n", {}, id="10 MB cell"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00", {}, id="no data"),
    ],
)
def test_bad_content_is_refused_with_its_place(kept, content, where):
    response = upload(kept, content)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "invalid_data"
    assert problem["where"]["file"] == "credit.csv"
    assert where.items() <= problem["where"].items()
    assert problem["remedy"]


def test_mixed_types_become_text_or_an_error(client):
    response = upload(client, b"a,b\n1,2\nx,3\n")
    assert response.json()["data_schema"]["columns"][0]["type"] == "string"
    response = upload(client, b"a,b\n1,2\nx,3\n", types='{"a": "int64"}')
    assert response.status_code == 422
    assert {"row": 2, "column": "a"}.items() <= response.json()["where"].items()


def test_nan_is_missing_and_infinity_is_refused(client):
    assert upload(client, b"a,b\n1.5,x\nNaN,y\n", name="nan").status_code == 201
    assert client.get("/v1/datasets/nan/profile").json()[0]["missing"] == 1
    response = upload(client, b"a,b\n1.5,x\nNaN,y\ninf,z\n")
    assert response.status_code == 422
    assert {"row": 3, "column": "a"}.items() <= response.json()["where"].items()


def test_constant_and_all_missing_columns_are_kept_with_a_warning(client):
    upload(client, b"a,b,c\n1,,x\n1,,y\n")
    profile = {c["name"]: c for c in client.get("/v1/datasets/credit/profile").json()}
    assert profile["a"]["warnings"]
    assert profile["b"]["warnings"]
    assert profile["b"]["missing"] == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"roles": "{bad"}, "'roles' is not JSON"),
        ({"roles": "[1]"}, "no JSON object"),
        ({"roles": '{"bad": "goal"}'}, "'feature', 'target', 'sensitive'"),
        ({"types": '{"age": "int"}'}, "'int64', 'float64'"),
        ({"roles": '{"none": "target"}'}, "none"),
        ({"rolls": "{}"}, "'rolls' that is not known"),
    ],
)
def test_wrong_fields_are_refused(kept, fields, said):
    response = upload(kept, CSV, **fields)
    assert response.status_code == 422
    assert said in response.json()["detail"]


def test_an_unknown_parent_is_not_found(kept):
    assert upload(kept, CSV, parent="nobody").status_code == 404


def test_a_disk_full_while_reading_is_told(kept, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept.services.datasets, "add", full)
    response = upload(kept, CSV)
    assert response.status_code == 507
    assert response.json()["code"] == "storage_full"


def test_lists_come_in_pages(client):
    for i in range(5):
        upload(client, CSV + f"{i},a,n\n")
    first = client.get("/v1/datasets?limit=3").json()
    rest = client.get("/v1/datasets", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [d["version"] for d in first["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    assert rest["next_cursor"] is None
    assert client.get("/v1/datasets?name=other").json()["items"] == []
    assert client.get("/v1/datasets?cursor=odd").status_code == 422


def test_preview_and_lineage(client):
    upload(client, CSV)
    assert client.get("/v1/datasets/credit/preview?rows=2").json() == [
        {"age": 20, "job": "a", "bad": "y"},
        {"age": 21, "job": "b", "bad": "n"},
    ]
    upload(client, CSV + "1,a,y\n", parent="credit@1")
    job = client.post(
        "/v1/jobs", json={"name": "m", "data": {"dataset": "credit"}, "target": "bad"}
    )
    lineage = client.get("/v1/datasets/credit@2/lineage").json()
    assert [d["version"] for d in lineage["ancestors"]] == [1]
    assert lineage["jobs"] == [job.json()["id"]]
    first = client.get("/v1/datasets/credit@1/lineage").json()
    assert [d["version"] for d in first["descendants"]] == [2]


def test_the_content_comes_back_as_parquet_and_a_lost_one_is_told(client, settings):
    upload(client, CSV)
    response = client.get("/v1/datasets/credit/content")
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(response.content))
    assert table.column_names == ["age", "job", "bad"]
    assert len(table) == client.get("/v1/datasets/credit").json()["rows"]
    (stored,) = settings.home.rglob("*.parquet")
    stored.unlink()
    lost = client.get("/v1/datasets/credit/content")
    assert lost.status_code == 404
    assert "not here" in lost.json()["detail"]


@pytest.mark.parametrize("path", ["", "/profile", "/preview", "/lineage", "/content"])
def test_an_unknown_data_set_is_not_found(client, path):
    upload(client, CSV)
    response = client.get(f"/v1/datasets/credot{path}")
    assert response.status_code == 404
    assert "credit" in response.text


def zip_of_images():
    def png(grey):
        stream = io.BytesIO()
        Image.new("L", (5, 4), grey).save(stream, "PNG")
        return stream.getvalue()

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for i in range(12):
            archive.writestr(f"pets/{'cats' if i % 2 else 'dogs'}/{i}.png", png(i * 20))
    return stream.getvalue()


def test_a_zip_of_images(client):
    response = upload(client, zip_of_images(), "pets.zip")
    assert response.status_code == 201
    assert response.json()["data_schema"]["columns"] == [
        {"name": "image", "type": "binary", "role": "feature", "constraint": None},
        {"name": "label", "type": "string", "role": "target", "constraint": None},
        {"name": "path", "type": "string", "role": "ignore", "constraint": None},
    ]
    image, label, _ = client.get("/v1/datasets/pets/profile").json()
    assert (image["kind"], image["images"]["formats"]) == ("image", {"PNG": 12})
    assert image["images"]["width"] == {"minimum": 5, "median": 5, "maximum": 5}
    assert label["lengths"] == {"minimum": 4, "median": 4, "maximum": 4}
    first = client.get("/v1/datasets/pets/preview?rows=1").json()[0]
    assert first["image"].startswith("PNG, 4 x 5 pixels")
    plan = {"name": "pets", "data": {"dataset": "pets"}}
    job = client.post("/v1/jobs", json=plan)
    assert job.status_code == 202, job.text
    assert job.json()["plan"]["modality"] == "image"


def test_lists_to_forecast(client):
    lines = (json.dumps({"x": [i, None, 0.5], "y": [i, i * 2.0]}) for i in range(12))
    roles = json.dumps({"y": "target"})
    assert upload(client, "\n".join(lines), "waves.jsonl", roles=roles).status_code == 201
    plan = {"name": "waves", "data": {"dataset": "waves"}}
    job = client.post("/v1/jobs", json=plan)
    assert job.status_code == 202, job.text
    assert job.json()["plan"]["task"] == "regression"
    assert client.get("/v1/datasets/waves/preview").json()[1] == {
        "x": [1.0, None, 0.5],
        "y": [1.0, 2.0],
    }


def test_a_target_of_lists_that_differ_in_length(client):
    lines = (json.dumps({"x": [1.0, i], "y": [1.0] * (1 + i % 2)}) for i in range(12))
    assert upload(client, "\n".join(lines), "waves.jsonl").status_code == 201
    plan = {"name": "waves", "data": {"dataset": "waves"}, "target": "y"}
    job = client.post("/v1/jobs", json=plan)
    assert job.status_code == 422
    assert "have 1 and 2 numbers" in job.json()["detail"]


def test_a_damaged_image_is_named(kept):
    stream = io.BytesIO(zip_of_images())
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("pets/dogs/99.png", b"\x89PNG\r\n\x1a\n")
    response = upload(kept, stream.getvalue(), "pets.zip")
    assert response.status_code == 422
    where = response.json()["where"]
    assert (where["row"], where["member"]) == (13, "pets/dogs/99.png")
