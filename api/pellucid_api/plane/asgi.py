"""The data plane's front for ASGI routes: for what the server's protocol did not answer itself."""

import asyncio
from collections.abc import Awaitable

from fastapi import Request, Response

from pellucid_api.access import CLIENT_LEFT
from pellucid_api.engine.served import Served
from pellucid_api.plane.dataplane import DataPlane
from pellucid_api.plane.exchange import Codec, Reply, request_headers


async def answer(
    request: Request, plane: DataPlane, codec: Codec[Reply], served: Served
) -> Response:
    """The response to an inference request.

    Raises:
        PellucidError: as the codec and the queue say.
    """
    body = await request.body()
    headers = request_headers(request.scope["headers"])
    return await response_of(request, plane.ask(codec, served, headers, body))


async def response_of(request: Request, reply: Awaitable[Reply]) -> Response:
    """The response to a request whose body was read; no more is done once its client has left.

    Raises:
        PellucidError: as what makes the reply does.
    """
    asking = asyncio.ensure_future(reply)
    leaving = asyncio.ensure_future(request.receive())  # once the body is there: the client leaves
    try:
        await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            return Response(status_code=CLIENT_LEFT)
        found = asking.result()
    finally:
        asking.cancel()
        leaving.cancel()
    response = Response(found.body, found.status)
    response.raw_headers.extend(found.headers)
    return response
