"""How long so many rows take, learnt from those so far."""

_SHARE = 0.2  # of the newest in the average


class Cost:
    """Averages of times, by the number of rows in powers of two.

    Exponentially weighted, so that they follow a machine that slows down. A number of rows that was
    not seen is scaled up from the nearest smaller one.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._each: dict[int, float] = {}  # seconds per row

    def learn(self, rows: int, seconds: float) -> None:
        """Take in that so many rows took so long."""
        size, each = rows.bit_length(), seconds / rows
        before = self._seconds.get(size)
        if before is None:
            self._seconds[size], self._each[size] = seconds, each
            return
        self._seconds[size] = before + _SHARE * (seconds - before)
        self._each[size] += _SHARE * (each - self._each[size])

    def of_run(self, rows: int) -> float:
        """Seconds that so many rows take at once; infinite before anything is known."""
        size = rows.bit_length()
        if size in self._seconds:
            return self._seconds[size]
        below = [known for known in self._seconds if known < size]
        if below:
            nearest = max(below)
            return float(self._seconds[nearest] * 2 ** (size - nearest))
        return min(self._seconds.values(), default=float("inf"))

    def at_most(self, rows: int) -> float:
        """As `of_run`, but no longer than larger runs take: those of this size may be long ago."""
        larger = [seconds for size, seconds in self._seconds.items() if size > rows.bit_length()]
        return min([self.of_run(rows), *larger])

    def of_one(self) -> float:
        """Seconds of each of many rows, at the best of the sizes; 0 before anything is known."""
        return min(self._each.values(), default=0.0)
