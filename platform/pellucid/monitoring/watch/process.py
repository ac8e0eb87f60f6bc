"""The process `pellucid monitor`."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pellucid.db.session import Database
from pellucid.db.upgrade import require_newest
from pellucid.logs import configure_logging
from pellucid.monitoring.watch.monitor import Monitor
from pellucid.settings import Settings

logger = logging.getLogger(__name__)


def run_monitor(settings: Settings) -> None:
    """Watch until SIGTERM or SIGINT.

    Raises:
        Conflict: the database is older or newer than this version.
        DatabaseUnavailable: it does not answer.
    """
    configure_logging(settings.log_format)
    require_newest(settings.resolved_database_url)
    with connected(settings) as monitor, _until_signaled(monitor.stop):
        monitor.run()


@contextmanager
def connected(settings: Settings) -> Iterator[Monitor]:
    """A monitor of everything that the settings name."""
    from pellucid.tracking.mlflow import connect  # heavy

    tracker, registry = connect(settings)
    database = Database(settings.resolved_database_url)
    try:
        yield Monitor(settings, database, tracker, registry)
    finally:
        database.close()


@contextmanager
def _until_signaled(stop: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, _frame: object) -> None:
        logger.info("Stopping on signal %d.", number)
        stop()

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
