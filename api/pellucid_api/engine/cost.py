"""How long a run of so many rows takes, learnt from the runs so far."""

_SHARE = 0.2  # of the newest run in the average


class Cost:
    """Averages of run times, by the number of rows in powers of two.

    Exponentially weighted, so that they follow a machine that slows down. A number of rows that was
    not seen is scaled up from the nearest smaller one.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._rate = 0.0  # seconds per row, in the larger runs

    def learn(self, rows: int, seconds: float) -> None:
        """Take in a run."""
        size = rows.bit_length()
        before = self._seconds.get(size)
        self._seconds[size] = seconds if before is None else before + _SHARE * (seconds - before)
        rate = seconds / rows
        self._rate = rate if not self._rate else self._rate + _SHARE * (rate - self._rate)

    def of_run(self, rows: int) -> float:
        """Seconds that a run of so many rows will take; infinite before the first run."""
        size = rows.bit_length()
        if size in self._seconds:
            return self._seconds[size]
        below = [known for known in self._seconds if known < size]
        if below:
            nearest = max(below)
            return float(self._seconds[nearest] * 2 ** (size - nearest))
        return min(self._seconds.values(), default=float("inf"))

    def of_queue(self, rows: int) -> float:
        """Seconds until so many waiting rows are through, in runs as they were of late."""
        return rows * self._rate
