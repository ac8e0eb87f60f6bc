"""What we promise against the peers, and whether these figures keep it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inference.contenders import FLOOR, IN_PROCESS, NO_LOG, OURS, PEERS, PLAIN_FLOOR
from inference.results import Results

_TRITON = "Triton (pytriton)"
_SERVERS = [peer.name for peer in PEERS if peer.name not in (_TRITON, "FastAPI and pydantic")]
_SPEAK_BINARY = [peer.name for peer in PEERS if peer.binary is not None]
_SHORT = "json-1-c64"


@dataclass(frozen=True)
class Promise:
    """A measured value and its limit."""

    text: str
    value: float
    limit: float
    at_most: bool = False

    @property
    def kept(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def promises(results: Results) -> Iterator[Promise]:
    """All those for which there are figures."""
    rate = _over(results, "rows_per_s", max)
    yield from rate("1 row JSON, c=64, over the best peer", _SHORT, _SERVERS, 10)
    yield from rate("1 row JSON, c=64, over Triton", _SHORT, [_TRITON], 5)
    for floor in (FLOOR, PLAIN_FLOOR):
        yield from rate(f"1 row JSON, c=64, over the {floor.name}", _SHORT, [floor.name], 1.5)
    yield from rate("64 rows JSON, over the best peer", "json-64-c8", [*_SERVERS, _TRITON], 5)
    for case, title in (("binary-1-c64", "1 row binary"), ("binary-64-c8", "64 rows binary")):
        yield from rate(f"{title}, over the best peer", case, _SPEAK_BINARY, 8)
    for case, title in (("cnn-json-c16", "JSON"), ("cnn-binary-c16", "binary")):
        yield from rate(f"CNN, {title}, over in process", case, [IN_PROCESS], 0.9)
    latency = _over(results, "p50", min)
    servers = [*_SERVERS, _TRITON]
    yield from latency("p50 at c=1 over the best peer's", "json-1-c1", servers, 0.12, True)
    p50, p99 = (results.median("json-1-c1", OURS.name, which) for which in ("p50", "p99"))
    if p50 and p99:
        yield Promise("p99 over p50 at c=1", p99 / p50, 3, at_most=True)
    for case in NO_LOG.only:
        yield from rate(f"prediction log on over off, {case}", case, [NO_LOG.name], 0.95)
    for case, found in results.overload.items():
        ratio = found["3.0"]["accepted_p99"] / found["0.8"]["accepted_p99"]
        yield Promise(f"accepted p99 at 300% over that at 80%, {case}", ratio, 2, at_most=True)


def _over(
    results: Results, what: str, best_of: Callable[..., float]
) -> Callable[..., Iterator[Promise]]:
    def promise(
        text: str, case: str, names: list[str], limit: float, at_most: bool = False
    ) -> Iterator[Promise]:
        theirs = [each for name in names if (each := results.median(case, name, what))]
        ours = results.median(case, OURS.name, what)
        if ours and theirs:
            yield Promise(text, ours / best_of(theirs), limit, at_most)

    return promise
