"""The data plane's front for ASGI routes: for what the server's protocol did not answer itself."""

import asyncio
from typing import Any

from fastapi import Request, Response

from pellucid_api.engine.served import Served
from pellucid_api.plane.dataplane import DataPlane
from pellucid_api.plane.exchange import Codec, Reply


async def answer(
    request: Request, plane: DataPlane, codec: Codec[Reply], served: Served
) -> Response:
    """The response to an inference request.

    Raises:
        PellucidError: as the codec and the queue say.
    """
    body = await request.body()
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def reply(found: Any) -> None:
        if not done.done():
            done.set_result(found)

    pending = plane.answer(codec, served, request.scope["headers"], body, reply)
    try:
        found = await done
    except asyncio.CancelledError:
        pending.cancel()
        raise
    if isinstance(found, Exception):
        raise found
    response = Response(found.body, found.status)
    response.raw_headers.extend(found.headers)
    return response
