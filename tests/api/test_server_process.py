"""The server as a process of its own: what it leaves on disk, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from pellucid.client import Client
from pellucid.db.upgrade import upgrade
from pellucid.errors import Unavailable
from pellucid.settings import Settings
from support.ports import free_port
from support.serving import make_bundle


def test_a_stream_ends_when_the_server_is_asked_to(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, port=free_port(), mlflow_port=free_port())
    upgrade(settings.resolved_database_url)
    csv = tmp_path / "d.csv"
    csv.write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)), encoding="utf-8")
    with (
        (tmp_path / "api.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "pellucid.cli", "api"],
            env=os.environ | settings.environment(),
            stdout=log,
            stderr=log,
        ) as server,
        Client(settings.resolved_url) as client,
    ):
        while server.poll() is None:
            try:
                dataset = client.datasets.add(csv, name="d", roles={"y": "target"})
                break
            except Unavailable:
                time.sleep(0.05)
        job = client.jobs.submit({"name": "m", "data": {"dataset": dataset.name}})
        url = f"{settings.resolved_url}/v1/jobs/{job.id}/events"
        with httpx.stream("GET", url, timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith(("event", "id", "data", ":"))
            server.send_signal(signal.SIGTERM)
            for _ in lines:  # no worker runs: the job alone would never end the stream
                pass
        server.wait(timeout=60)


def test_onnx_runtime_reports_nothing(tmp_path: Path) -> None:
    """Its reporting would keep a database in the home directory."""
    bundle = make_bundle(tmp_path / "bundle").root
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    script = (
        "import sys; from pathlib import Path; from pellucid.bundle import Bundle;"
        "from pellucid_api.engine.model import Model; Model(Bundle.open(Path(sys.argv[1])), 'cpu')"
    )
    subprocess.run([sys.executable, "-c", script, str(bundle)], env=environment, check=True)
    assert not [path for path in home.rglob("*") if "onnxruntime" in path.name]
