"""What the job table says of trials. What was read before is kept, only to read it once."""

from collections.abc import Iterable
from typing import Any

from pellucid.jobs.queue import JobQueue
from pellucid.plan import Search
from pellucid.resources.jobs import Event, Job, JobStatus
from pellucid.search.space import best_of
from pellucid.search.study import Trial

_PAGE = 500


class Records:
    """Trials as a study needs them, from their jobs and events."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._read: dict[str, int] = {}  # job -> the last event that was read
        self._losses: dict[str, dict[int, float]] = {}  # trial's job -> epoch -> loss
        self._told: dict[str, set[tuple[int, str]]] = {}  # search's job -> ends it has told of

    def trial(self, job: Job, search: Search) -> Trial:
        """A trial, with the validation losses that were told of."""
        assert job.trial is not None, "a trial has a number"
        losses = self._losses.setdefault(job.id, {})
        for event in self._news(job.id, "progress") if search.pruner != "none" else ():
            data = event.data
            first = data.get("fold", 1) == 1 and data.get("inner", 1) == 1
            if first and data.get("validation_loss") is not None:
                losses.setdefault(int(data["epoch"]), float(data["validation_loss"]))
        return Trial(job.trial, job.params, job.status, value_of(job, search), losses)

    def told(self, search_id: str) -> set[tuple[int, str]]:
        """(trial, state) that the search's own events have told of."""
        told = self._told.setdefault(search_id, set())
        for event in self._news(search_id, "trial"):
            told.add((event.data["trial"], event.data["status"]))
        return told

    def forget(self, jobs: Iterable[Job]) -> None:
        """Nobody will ask for these trials again."""
        for job in jobs:
            self._losses.pop(job.id, None)
            self._read.pop(job.id, None)

    def _news(self, job_id: str, kind: str) -> list[Event]:
        found: list[Event] = []
        while True:
            after = self._read.get(job_id, 0)
            page = self._queue.events(job_id, after=after, limit=_PAGE, kinds=[kind])
            found += page
            if page:
                self._read[job_id] = page[-1].seq
            if len(page) < _PAGE:
                return found


def value_of(job: Job, search: Search) -> float | None:
    """The score of a trial that succeeded; None where it has none."""
    if job.status is not JobStatus.SUCCEEDED:
        return None
    value: Any = job.result.get("validation", {}).get(best_of(search))
    return None if value is None else float(value)


def study_of(queue: JobQueue, search_id: str) -> dict[str, Any]:
    """A search and its trials as plain data: what its figures and its table are made of."""
    given = queue.get(search_id).plan["search"]
    search = Search.model_validate(given)
    trials = [
        {
            "trial": job.trial,
            "job": job.id,
            "status": job.status.value,
            "value": value_of(job, search),
            "params": job.params,
        }
        for job in queue.trials(search_id)
    ]
    return {"search": given, "trials": trials}
