"""A job that starts from a registered version gets that version's weights."""

from pathlib import Path

from pellucid.bundle import WEIGHTS, Bundle
from pellucid.resources.jobs import JobStatus
from support.serving import make_bundle
from support.workers import Bench


def register(bench: Bench, root: Path, weights: bytes | None) -> None:
    make_bundle(root)
    if weights is not None:
        (root / WEIGHTS).write_bytes(weights)
        Bundle.seal(root, Bundle.open(root).manifest)
    bench.tracker.register("earlier", "base", root, {})


def test_the_weights_lie_in_the_jobs_directory(bench: Bench, tmp_path: Path) -> None:
    register(bench, tmp_path / "bundle", b"weights")
    job_id = bench.submit(transfer={"version": "models:/base/1"})
    with bench.working():
        assert bench.ended(job_id).status is JobStatus.SUCCEEDED
    request = bench.workspace(job_id).read_request()
    assert request.weights_path is not None
    assert Path(request.weights_path).read_bytes() == b"weights"


def test_a_version_without_weights_fails_the_job(bench: Bench, tmp_path: Path) -> None:
    register(bench, tmp_path / "bundle", None)
    job_id = bench.submit(transfer={"version": "models:/base/1"})
    with bench.working():
        job = bench.ended(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert "holds no weights" in str(job.reason)
