"""A constant reply on uvicorn: what its parser, its loop and ASGI cost without any work.

With `PLAIN` it is started as `uvicorn app:app` starts it, which logs every request.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

_BODY = b'{"probabilities":[[0.25,0.75]]}'
_HEAD = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def app(
    _scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
    await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    quiet = {
        "http": "httptools",
        "loop": "uvloop",
        "lifespan": "off",
        "access_log": False,
        "log_level": "warning",
    }
    uvicorn.run(app, port=int(os.environ["PORT"]), **({} if "PLAIN" in os.environ else quiet))
