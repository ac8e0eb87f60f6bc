"""A claim kept alive from a thread of its own, and the reasons to stop working on it."""

import logging
import threading
import time
from typing import Self

from pellucid.errors import DatabaseUnavailable, LeaseLost
from pellucid.jobs.queue import Claim, JobQueue

_log = logging.getLogger(__name__)
_BEAT_SECONDS = 0.5  # also how soon a cancel is noticed


class Interrupted(Exception):
    """Work on an attempt must end now. Not an error: somebody wants it so."""


class Canceled(Interrupted):
    """A user canceled the job."""


class Stopping(Interrupted):
    """This worker is asked to stop."""


class Lost(Interrupted):
    """Another worker holds the job, or it has ended: nothing of it may be touched any more."""


class Lease:
    """Renews a claim from `with` to the end of the block, whatever else is slow meanwhile.

    Args:
        queue: where the claim was made.
        claim: the claim.
        seconds: how long a renewal holds.
        stopping: set when this worker is to stop.
    """

    def __init__(
        self, queue: JobQueue, claim: Claim, seconds: float, stopping: threading.Event
    ) -> None:
        self._queue = queue
        self._claim = claim
        self._seconds = seconds
        self._stopping = stopping
        self._ended = threading.Event()
        self._lost = False
        self._canceled = False
        self._cancelable = True
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop renewing; from now on the lease counts as lost."""
        self._ended.set()
        self._thread.join()
        self._lost = True

    def check(self) -> None:
        """Go on, as far as is known.

        Raises:
            Lost: the lease is another's.
            Canceled: the job is to be canceled.
            Stopping: the worker is to stop.
        """
        if self._lost:
            raise Lost
        if self._canceled and self._cancelable:
            raise Canceled
        if self._stopping.is_set():
            raise Stopping

    def confirm(self) -> None:
        """Go on, because the lease surely holds: waits for the database where there is doubt.

        Raises as `check` does.
        """
        while True:
            self.check()
            if time.monotonic() - self._renewed < self._seconds / 2:
                return
            if not self._beat():
                time.sleep(_BEAT_SECONDS)

    def forbid_cancel(self) -> None:
        """From now on a cancel comes too late. Raises `Canceled` if it came in time."""
        if self._cancelable:
            self._cancelable = False  # first: `check` and we then agree on what came in time
            if self._canceled:
                self._cancelable = True
                raise Canceled

    def _run(self) -> None:
        answered = True
        while not self._lost and not self._ended.wait(min(_BEAT_SECONDS, self._seconds / 4)):
            before, answered = answered, self._beat()
            if before and not answered:
                _log.warning("Job %s: the database does not answer.", self._claim.job_id)

    def _beat(self) -> bool:
        """Renew once; False if the database does not answer."""
        asked = time.monotonic()
        try:
            self._canceled = self._queue.heartbeat(self._claim, self._seconds)
            self._renewed = asked
        except LeaseLost:
            self._lost = True
        except DatabaseUnavailable:
            return False
        return True
