"""Jobs over REST."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.client.connection import Connection, given, segment
from pellucid.errors import Unavailable
from pellucid.resources.base import Page
from pellucid.resources.jobs import Event, ExplanationMethod, Job, JobKind, JobStatus

_SILENCE_SECONDS = 60  # the service sends heartbeats well within it
_RECONNECT_SECONDS = (0.2, 0.5, 1, 2, 5)


class Jobs:
    """Trainings, searches, scorings and explanations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, plan: Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Enqueue a plan. The same key and plan again is the same job."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._connection.fetch(Job, "POST", "/v1/jobs", json=dict(plan), headers=headers)

    def score(
        self,
        model: str,
        dataset: str,
        *,
        version: int | None = None,
        alias: str | None = None,
        keep: Sequence[str] | None = None,
        register_as: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Enqueue a scoring of every row of a data set version.

        Args:
            model: its name.
            dataset: `name` (the newest), `name@version`, or a SHA-256.
            version: of the model.
            alias: in place of the version, looked up once, now; without both, `champion`.
            keep: columns beside the predictions; None: all that are no input of the model.
            register_as: the data set that the predictions become a version of.
            idempotency_key: the same key and request again is the same job.
        """
        body = {"dataset": dataset, "version": version, "alias": alias, "keep": keep}
        wanted = given(**body, register_as=register_as)
        return self._of_model(model, "scorings", wanted, idempotency_key)

    def explain(
        self,
        model: str,
        dataset: str,
        *,
        version: int | None = None,
        alias: str | None = None,
        method: ExplanationMethod = "auto",
        rows: int | None = None,
        permutations: int | None = None,
        keep: Sequence[str] | None = None,
        register_as: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Enqueue an explanation: SHAP values of a data set version's rows.

        Args:
            model: its name.
            dataset: `name` (the newest), `name@version`, or a SHA-256.
            version: of the model.
            alias: in place of the version, looked up once, now; without both, `champion`.
            method: graph: the bundle's explain.onnx. permutation: shap's explainer, far slower.
                auto: the graph, and permutation where its values miss the prediction.
            rows: of a random sample; None: all.
            permutations: of the method permutation; None: the service's default.
            keep: columns beside the SHAP values; None: all.
            register_as: the data set that the SHAP values become a version of.
            idempotency_key: the same key and request again is the same job.
        """
        body = {"dataset": dataset, "version": version, "alias": alias, "keep": keep}
        how = {"method": method, "rows": rows, "permutations": permutations}
        wanted = given(**body, **how, register_as=register_as)
        return self._of_model(model, "explanations", wanted, idempotency_key)

    def download_predictions(self, job_id: str, to: Path) -> None:
        """Write a scoring's predictions, a Parquet file, streamed to disk."""
        self._connection.download(_job(job_id) + "/predictions", to)

    def download_explanations(self, job_id: str, to: Path) -> None:
        """Write an explanation's SHAP values, a Parquet file, streamed to disk."""
        self._connection.download(_job(job_id) + "/explanations", to)

    def get(self, job_id: str) -> Job:
        """A job as it is now."""
        return self._connection.fetch(Job, "GET", _job(job_id))

    def list(
        self,
        status: JobStatus | None = None,
        name: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        *,
        kind: JobKind | None = None,
    ) -> Page[Job]:
        """Jobs, newest first."""
        params = given(status=status, name=name, kind=kind, cursor=cursor, limit=limit)
        return self._connection.fetch(Page[Job], "GET", "/v1/jobs", params=params)

    def trials(self, job_id: str, cursor: str | None = None, limit: int = 50) -> Page[Job]:
        """The trials of a search, newest first."""
        params = given(cursor=cursor, limit=limit)
        return self._connection.fetch(Page[Job], "GET", _job(job_id) + "/trials", params=params)

    def cancel(self, job_id: str) -> Job:
        """Ask for a job's end; a queued one ends at once."""
        return self._connection.fetch(Job, "POST", _job(job_id) + "/cancel")

    def retry(self, job_id: str) -> Job:
        """Queue a failed or canceled job again; it goes on from its checkpoint."""
        return self._connection.fetch(Job, "POST", _job(job_id) + "/retry")

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """What happens to a job, live, until it has ended.

        A lost connection is made again and goes on behind the last event, so that each comes once.
        """
        failures = 0
        while True:
            before = after
            try:
                for event in self._event_stream(job_id, after):
                    failures, after = 0, event.seq
                    yield event
                if after == before and self.get(job_id).status.final:
                    return
            except Unavailable:
                failures += 1
                if failures > len(_RECONNECT_SECONDS):
                    raise
            time.sleep(_RECONNECT_SECONDS[max(failures - 1, 0)])

    def wait(self, job_id: str) -> Job:
        """The job, once it has ended."""
        for _event in self.events(job_id):
            pass
        return self.get(job_id)

    def logs(self, job_id: str, *, follow: bool = False) -> Iterator[str]:
        """The lines that the job's process wrote; following ends with the job."""
        params = {"follow": "true"} if follow else {}
        with self._connection.stream(_job(job_id) + "/logs", params=params) as lines:
            yield from lines

    def _of_model(self, model: str, what: str, wanted: dict[str, Any], key: str | None) -> Job:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        path = f"/v1/models/{segment(model)}/{what}"
        return self._connection.fetch(Job, "POST", path, json=wanted, headers=headers)

    def _event_stream(self, job_id: str, after: int) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        path = _job(job_id) + "/events"
        with self._connection.stream(path, silence=_SILENCE_SECONDS, headers=headers) as lines:
            data: list[str] = []
            for line in lines:
                if line.startswith("data:"):
                    data.append(line.removeprefix("data:").removeprefix(" "))
                elif not line and data:
                    yield Event.model_validate_json("\n".join(data))
                    data = []


def _job(job_id: str) -> str:
    return f"/v1/jobs/{segment(job_id)}"
