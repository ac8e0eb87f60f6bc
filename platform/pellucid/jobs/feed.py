"""Carries what a training process writes into its files to the job's events."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pellucid.db.base import now
from pellucid.jobs.queue import Claim, JobQueue, Position
from pellucid.jobs.workspace import Workspace, read_spool

_MOST_EVENTS = 200
_MOST_BYTES = 64 * 1024

Entry = tuple[str, dict[str, Any], datetime]


class EventFeed:
    """Reads events.jsonl and log.txt on from where the job's last event left off.

    How far the files are read is stored together with the events, so nothing is stored twice or
    left out, whoever dies. A log becomes events of kind `log` with {"text": lines}.
    """

    def __init__(self, queue: JobQueue, claim: Claim, workspace: Workspace) -> None:
        self._queue = queue
        self._claim = claim
        self._workspace = workspace
        self._position = claim.position

    def send(self, *, final: bool = False) -> None:
        """Store what is new; `final`: with the log's last line, complete or not.

        Raises:
            LeaseLost: the claim is not the newest any more.
            DatabaseUnavailable: nothing is lost; call again.
        """
        while True:
            events, events_end = self._read_events()
            logs, log_end = self._read_log(final)
            if not events and not logs:
                return
            position = Position(events_end, log_end)
            self._queue.append_events(self._claim, events + logs, position)
            self._position = position

    def _read_events(self) -> tuple[list[Entry], int]:
        path = self._workspace.events_path
        start = _within(path, self._position.events)
        entries: list[Entry] = []
        for end, entry in read_spool(path, start):
            start = end
            time = datetime.fromtimestamp(entry["time"] / 1000, UTC)
            entries.append((entry["kind"], entry["data"], time))
            if len(entries) == _MOST_EVENTS:
                break
        return entries, start

    def _read_log(self, final: bool) -> tuple[list[Entry], int]:
        path = self._workspace.log_path
        start = _within(path, self._position.log)
        try:
            with path.open("rb") as file:
                file.seek(start)
                chunk = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return [], start
        lines_end = chunk.rfind(b"\n") + 1
        if lines_end or not (final or len(chunk) == _MOST_BYTES):
            chunk = chunk[:lines_end]
        text = chunk.decode(errors="replace")
        return [("log", {"text": text}, now())] if chunk else [], start + len(chunk)


def _within(path: Path, offset: int) -> int:
    """The offset, or 0 in a file that began anew (on another machine's disk)."""
    try:
        return offset if offset <= path.stat().st_size else 0
    except FileNotFoundError:
        return 0
