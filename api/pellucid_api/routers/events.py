"""A job's events and log, live."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import Depends, Header, Query
from fastapi.sse import ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from pellucid.errors import DatabaseUnavailable, InvalidInput
from pellucid.resources.jobs import Event, Job
from pellucid_api.deps import Held, JobId
from pellucid_api.services import Services

POLL_SECONDS = 0.5
_BATCH = 500
_KINDS = ("state", "stage", "progress", "environment", "transfer", "finding", "trial", "result")
_LOG = ("log",)

logger = logging.getLogger(__name__)


def existing_job(services: Held, job_id: JobId) -> Job:
    """The job, looked up before a stream begins, so that an unknown one is a 404."""
    return services.queue.get(job_id)


ExistingJob = Annotated[Job, Depends(existing_job)]


def last_seen(
    last_event_id: Annotated[
        str | None, Header(description="The `id` of the last event received; goes on behind it.")
    ] = None,
) -> int:
    """The sequence number after which a stream goes on."""
    if not last_event_id:
        return 0
    if not last_event_id.isdecimal():
        raise InvalidInput(
            f"Last-Event-ID {last_event_id!r} is no event's id.",
            where={"header": "Last-Event-ID"},
            remedy="Send an id of this stream, or none.",
        )
    return int(last_event_id)


async def events(
    services: Held, job: ExistingJob, after: Annotated[int, Depends(last_seen)]
) -> AsyncIterator[ServerSentEvent]:
    """Watch a job live, as server-sent events.

    `event` is the kind (state, stage, progress, environment, transfer, finding, trial, result),
    `id` the sequence number, `data` the event as JSON. Comments keep an idle stream alive. The
    stream ends after the job's final state; a stream that breaks off goes on with `Last-Event-ID`.
    """
    async for event in _follow(services, job.id, after, _KINDS):
        if event is None:
            yield ServerSentEvent(comment="the database does not answer; waiting")
        else:
            yield ServerSentEvent(id=str(event.seq), event=event.kind, data=event)


class LogResponse(StreamingResponse):
    """Lines of text."""

    media_type = "text/plain"


async def logs(
    services: Held,
    job: ExistingJob,
    follow: Annotated[bool, Query(description="Go on until the job has ended.")] = False,
) -> LogResponse:
    """Read what the training process wrote, every attempt in order."""
    text = _log_text(services, job.id, until_final=follow)
    return LogResponse(text)


async def _log_text(services: Services, job_id: str, *, until_final: bool) -> AsyncIterator[str]:
    async for event in _follow(services, job_id, 0, _LOG, until_final=until_final):
        if event is not None:
            yield event.data["text"]


async def _follow(
    services: Services,
    job_id: str,
    after: int,
    kinds: tuple[str, ...],
    *,
    until_final: bool = True,
) -> AsyncIterator[Event | None]:
    """A job's events in order, until it has ended; None for each try that the database misses.

    A service that stops ends the stream; the client goes on at the next with `Last-Event-ID`.
    """

    def news() -> tuple[bool, list[Event]]:
        # The state is read first: what it was final for is then among the events.
        ended = services.queue.get(job_id).status.final
        return ended, services.queue.events(job_id, after=after, limit=_BATCH, kinds=kinds)

    while True:
        try:
            ended, events = await run_in_threadpool(news)
        except DatabaseUnavailable as error:
            logger.warning("events of job %s: %s", job_id, error)
            ended, events = False, []
            yield None
        for event in events:
            after = event.seq
            yield event
        if len(events) == _BATCH:
            continue
        if ended or not until_final or services.stopping.is_set():
            return
        await anyio.sleep(POLL_SECONDS)
