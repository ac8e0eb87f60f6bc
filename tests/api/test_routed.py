"""A request between two versions, without a service."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

from pellucid.errors import InvalidRows
from pellucid_api.plane.routed import Routed


class _Plane:
    """Refuses at once, as the data plane does what is not well formed."""

    def start(self, *arguments: Any) -> Any:
        reply = arguments[4]
        reply(InvalidRows("no rows"))
        return SimpleNamespace(reply=reply)  # a request under way knows whom to answer


def test_what_is_refused_at_once_is_not_kept() -> None:
    found: list[Any] = []

    def reply(answer: Any) -> None:
        found.append(answer)

    gc.disable()
    try:
        champion: Any = SimpleNamespace(trial=None)
        Routed(_Plane(), None, champion, {}, b"", reply)  # type: ignore[arg-type]
        kept = weakref.ref(reply)
        del reply
        assert kept() is None  # no cycle is left to the collector
    finally:
        gc.enable()
    assert [type(each) for each in found] == [InvalidRows]
