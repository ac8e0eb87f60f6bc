"""How much may wait before a model.

A burst may wait for a while. A burst that does not end is overload, in which a long queue makes
every answer late and the answers no more (a standing queue: Nichols and Jacobson, Controlling Queue
Delay, 2012). So after a refusal little may wait, until the service has had nothing to do for some
time. What was once let in is not dropped.

A wait is told from what requests and rows have taken of late, at the best of the batch sizes. Times
are of `time.perf_counter`.
"""

import time
from typing import NamedTuple

from pellucid_api.engine.cost import Cost

_BURST, _BURST_REQUESTS = 0.1, 256  # seconds, or so many requests, whichever is more
_STANDING, _STANDING_RUNS = 1e-3, 3  # seconds, or runs of one request, in overload
_RECOVERY = 0.25  # seconds of having nothing to do, after which a whole burst may wait again
_SHARE = 0.2  # of the newest batch in an average


class _Limit(NamedTuple):
    """All in seconds."""

    request: float  # what each request adds to the wait
    row: float  # what each row adds
    wait: float  # how long it may become


class Admission:
    """Lets requests in, or not.

    Args:
        cost: of the model's runs.
        max_wait: seconds; never may what waits take longer.
    """

    def __init__(self, cost: Cost, max_wait: float) -> None:
        self._runs, self._max_wait = cost, max_wait
        self._handling = Cost()  # of requests, between the runs: reading, writing, refusing others
        self._requests = 0  # of the batch under way
        self._began = self._spent = 0.0  # that batch; seconds of it in its run
        self._typical = 1.0  # rows of a request
        self._allowance = 1.0  # share of a burst that may wait
        self._idle = time.perf_counter()  # since then, if nothing is under way
        self._limit: _Limit | None = None  # None: to be worked out

    def admits(self, requests: int, rows: int, coming: int) -> bool:
        """Whether one more may wait.

        Args:
            requests: that wait.
            rows: of these, that run before what comes now.
            coming: requests that were let in, and are being decoded.
        """
        if not requests and not coming:
            return True
        limit = self._limit
        if limit is None:
            limit = self._limit = self._limited()
        each = limit.request + self._typical * limit.row
        wait = requests * limit.request + rows * limit.row + coming * each
        if wait < limit.wait:
            return True
        if requests + coming < self._allowance * _BURST_REQUESTS and wait < self._max_wait:
            return True
        if self._allowance:
            self._allowance, self._limit = 0.0, None
        return False

    def began(self, requests: int, rows: int) -> None:
        """A batch begins, and so the last one is over; none of its requests is handled later."""
        now = time.perf_counter()
        if self._requests:
            self._handling.learn(self._requests, max(0.0, now - self._began - self._spent))
        self._requests, self._began, self._spent, self._limit = requests, now, 0.0, None
        if requests:
            self._typical += _SHARE * (rows / requests - self._typical)
        else:
            self._idle = now

    def ran(self, seconds: float) -> None:
        """A run of this batch took so long."""
        self._spent += seconds

    def woke(self) -> None:
        """There is something to do again."""
        if self._allowance < 1:
            idle = time.perf_counter() - self._idle
            self._allowance = min(1.0, self._allowance + idle / _RECOVERY)

    def _limited(self) -> _Limit:
        request, row = self._handling.of_one(), self._runs.of_one()
        if not row:  # nothing has run yet
            return _Limit(0.0, 0.0, self._max_wait)
        alone = request + self._runs.at_most(max(1, round(self._typical)))
        standing = max(_STANDING, _STANDING_RUNS * alone)
        wait = standing + self._allowance * max(0.0, _BURST - standing)
        return _Limit(request, row, min(self._max_wait, wait))
