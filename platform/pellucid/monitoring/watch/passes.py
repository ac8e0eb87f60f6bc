"""The monitor's last pass, in the database: whether it works, and keeps up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.monitoring import MonitorPassRow
from pellucid.errors import Unavailable

_ONLY = 1
_SILENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class LastPass:
    """What the last pass did.

    Attributes:
        at: its end.
        behind: windows that were due and not judged.
        failed: model -> why.
    """

    at: datetime
    seconds: float
    judged: int
    behind: int
    failed: Mapping[str, str]


class Passes:
    """Notes the last pass. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, *, seconds: float, judged: int, behind: int, failed: Mapping[str, str]) -> None:
        """A pass has ended."""
        with self._database.transaction() as session:
            session.merge(
                MonitorPassRow(
                    id=_ONLY,
                    at=now(),
                    seconds=seconds,
                    judged=judged,
                    behind=behind,
                    failed=dict(failed),
                )
            )

    def beat(self) -> None:
        """A pass goes on: it may take long after a night."""
        with self._database.transaction() as session:
            row = session.get(MonitorPassRow, _ONLY)
            if row is not None:
                row.at = now()

    def require_recent(self) -> None:
        """Make sure that a monitor works. Raises `Unavailable` if none has for ten minutes."""
        last = self.last()
        if last is None or now() - last.at > _SILENCE:
            since = "has not worked yet" if last is None else f"is silent since {last.at:%H:%M} UTC"
            raise Unavailable(
                f"The monitor {since}.", remedy="Start it: pellucid monitor. Its log says more."
            )

    def last(self) -> LastPass | None:
        """The last one; None before the first."""
        with self._database.reading() as session:
            row = session.get(MonitorPassRow, _ONLY)
            if row is None:
                return None
            return LastPass(row.at, row.seconds, row.judged, row.behind, row.failed)
