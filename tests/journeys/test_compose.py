"""docker-compose.yml: valid, hardened, and the main job through every service's own command."""

import json
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from pellucid.client import Client
from pellucid.errors import Unauthorized
from support.compose import Image, LocalService, Project, load
from support.postgres import binaries

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
PLAN = {
    "name": "credit",
    "data": {"dataset": "credit", "roles": {"bad": "target"}},
    "model": {"kind": "mlp", "widths": [8]},
    "training": {"epochs": 2, "device": "cpu"},
    "evaluation": {"resamples": 100},
    "explanation": {"background": 10, "rows": 20},
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def test_it_meets_the_compose_specification(document: dict[str, Any]) -> None:
    path = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    validator = Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(document)] == []
    document["services"]["api"] |= {"comand": ["pellucid"]}
    assert list(validator.iter_errors(document)), "the schema finds a misspelt key"
    del document["services"]["api"]["comand"]


def test_every_service_is_hardened(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert name == "migrate" or service["healthcheck"]["test"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert name == "migrate" or service["restart"] == "unless-stopped", name


def test_no_secret_stands_in_the_file(document: dict[str, Any]) -> None:
    for service in document["services"].values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "KEYS", "DATABASE_URL")):
                assert value.startswith("/run/secrets/"), name
    assert all(secret.keys() == {"file"} for secret in document["secrets"].values())


def test_what_is_mentioned_is_defined(document: dict[str, Any]) -> None:
    used: dict[str, set[str]] = {"volumes": set(), "secrets": set(), "networks": set()}
    for service in document["services"].values():
        used["volumes"] |= {volume.split(":")[0] for volume in service.get("volumes", [])}
        used["secrets"] |= set(service.get("secrets", []))
        used["networks"] |= set(service.get("networks", []))
        assert set(service.get("depends_on", {})) <= set(document["services"])
    for kind, names in used.items():
        assert names == set(document[kind]), kind


def test_each_profile_has_one_worker() -> None:
    for profile, worker in (("cpu", "worker-cpu"), ("gpu", "worker")):
        services = load(FILE, {}, {profile})["services"]
        assert set(services) == {"postgres", "migrate", "mlflow", "api", "monitor", worker}
    (device,) = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="pellucid-compose-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL runs as another user
        secrets = directory / "secrets"
        subprocess.run(["make", "secrets", f"SECRETS={secrets}"], cwd=ROOT, check=True)
        document = load(FILE, {"SECRETS": str(secrets)}, {"cpu"})
        user = "nobody" if os.geteuid() == 0 else None
        images = {"postgres": Image(binaries(), _postgres, user)}
        with Project(document, directory, images) as running:
            yield running


def _postgres(service: LocalService) -> list[str]:
    """What the image does on an empty volume: make the cluster, its database, run the scripts."""
    data = service.mounts["/var/lib/postgresql/data"]
    user = service.image.user if service.image else None
    if user:
        owner = pwd.getpwnam(user)
        os.chown(data, owner.pw_uid, owner.pw_gid)
    variables = service.variables()
    initdb = ["initdb", "--pgdata", str(data), "--encoding", "UTF8", "--auth", "scram-sha-256"]
    initdb += ["--username", variables["POSTGRES_USER"]]
    initdb += ["--pwfile", variables["POSTGRES_PASSWORD_FILE"], "--no-sync"]
    script = next(path for target, path in service.mounts.items() if target.endswith(".sql"))
    sql = f"CREATE DATABASE {variables['POSTGRES_DB']};\n{script.read_text()}"
    for command, given in (
        (initdb, ""),
        (["postgres", "--single", "-D", str(data), "postgres"], sql),
    ):
        subprocess.run(
            command,
            input=given,
            env=variables,
            cwd=data,
            user=user,
            extra_groups=[] if user else None,
            text=True,
            check=True,
            capture_output=True,
        )
    return ["postgres", "-D", str(data), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]


@pytest.mark.slow
def test_the_main_job_runs_through_the_services(project: Project, tmp_path: Path) -> None:
    key = project.services["api"].mounts["/run/secrets/api_keys"].read_text(encoding="utf-8")
    data = tmp_path / "credit.csv"
    rows = [f"{20 + i % 50},{'car' if i % 3 else 'boat'},{int(i % 50 > 25)}" for i in range(400)]
    data.write_text("age,purpose,bad\n" + "\n".join(rows) + "\n")
    with Client(project.url("api")) as stranger, pytest.raises(Unauthorized):
        stranger.datasets.list()
    with Client(project.url("api"), key) as client:
        dataset = client.datasets.add(data, name="credit")
        assert dataset.rows == 400
        job = client.jobs.wait(client.jobs.submit(PLAN).id)
        assert job.status == "succeeded", job.reason
        assert job.model_version == 1
        version = client.models.version("credit", 1)
        assert version.aliases == ["champion"]
        answer = client.predict("credit", [{"age": 60, "purpose": "car"}], version=1)
        (prediction,) = answer.predictions
        assert sum((prediction.probabilities or {}).values()) == pytest.approx(1, abs=1e-5)
    _assert_run_is_complete(project, job.run_id)


def _assert_run_is_complete(project: Project, run_id: str | None) -> None:
    """The run is in the MLflow of the file, on its PostgreSQL, its artifacts on its volume."""
    with httpx.Client(base_url=project.url("mlflow")) as mlflow:
        answer = mlflow.get("/api/2.0/mlflow/runs/get", params={"run_id": run_id})
        assert answer.json()["run"]["info"]["status"] == "FINISHED"
    volume = project.services["mlflow"].mounts["/mlflow"]
    assert list(volume.rglob("model.onnx"))
    for name in ("pellucid.db", "mlflow.db"):
        assert not list(project.services["api"].log.parent.rglob(name)), "SQLite was used"
