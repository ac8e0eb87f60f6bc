"""What happens to alerts beside the judging: time passes, and messages are delivered."""

import logging
import threading

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.errors import DatabaseUnavailable
from pellucid.monitoring.alerts import outbox
from pellucid.monitoring.alerts.engine import sweep
from pellucid.monitoring.alerts.retraining import Retraining
from pellucid.monitoring.alerts.sinks import configured
from pellucid.settings import Settings
from pellucid.tracking.contract import Registry

_PAUSE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Alerting:
    """Delivers alerts, on a thread of its own: a slow mail server holds up no judgement.

    Args:
        settings: of the sinks.
        database: with the alerts.
        registry: has the models.
    """

    def __init__(self, settings: Settings, database: Database, registry: Registry) -> None:
        self._database = database
        self._sinks = configured(settings)
        self._retraining = Retraining(settings, database, registry)

    def run(self, stopping: threading.Event) -> None:
        """Until told to stop."""
        while True:
            try:
                self.step()
            except DatabaseUnavailable as error:
                logger.warning("Alerts wait: %s", error)
            except Exception:
                logger.exception("delivering alerts failed")
            if stopping.wait(_PAUSE_SECONDS):
                return

    def retrain(self) -> None:
        """Submit the retrainings that alerts ask for."""
        for job in self._retraining.step(now()):
            logger.info("Job %s trains again, as an alert asks for it.", job)

    def step(self) -> int:
        """What is due now; how many messages were sent. Raises `DatabaseUnavailable`."""
        try:
            sweep(self._database, now())
        except DatabaseUnavailable:
            raise
        except Exception:  # what is queued is delivered all the same
            logger.exception("tending the alerts failed")
        return outbox.deliver(self._database, self._sinks, now())
