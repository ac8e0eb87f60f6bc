"""What the monitor found, over REST."""

from datetime import datetime

from pellucid.client.connection import Connection, given, segment
from pellucid.monitoring.watch.resources import Monitoring as Found


class Monitoring:
    """Windows of live traffic and their reports."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(
        self,
        model: str,
        *,
        version: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Found:
        """The newest window whole, and a page of those before.

        Args:
            model: its name.
            version: one; default: all.
            since: windows that end after then; with a time zone, as `until`.
            until: windows that start before then.
            cursor: of the page before.
            limit: most windows.
        """
        params = given(
            version=version,
            **{"from": since and since.isoformat(), "to": until and until.isoformat()},
            cursor=cursor,
            limit=limit,
        )
        return self._connection.fetch(Found, "GET", _path(model), params=params)

    def report(self, model: str, window: str | None = None) -> str:
        """A window's report as HTML; by default the newest one's.

        Args:
            model: its name.
            window: `WindowSummary.id`.
        """
        params = given(window=window)
        return self._connection.send("GET", f"{_path(model)}/report", params=params).text


def _path(model: str) -> str:
    return f"/v1/models/{segment(model)}/monitoring"
