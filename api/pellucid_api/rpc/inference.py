"""The methods of `inference.GRPCInferenceService`."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import version as installed
from typing import Any

from pellucid.errors import InvalidInput, ModelNotReady, NotFound, PellucidError
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import shown
from pellucid_api.oip import describe
from pellucid_api.plane.deadlines import TIMEOUT
from pellucid_api.plane.exchange import request_headers
from pellucid_api.rpc import messages
from pellucid_api.rpc.calls import Context, Method, headers_of, read, told
from pellucid_api.rpc.codec import RpcCodec
from pellucid_api.services import Services

logger = logging.getLogger(__name__)

INFERENCE = "inference.GRPCInferenceService"
RAW = frozenset({"ModelInfer"})  # its messages may be large: the data plane reads them in a thread
_OF_REST = "binary_tensor_data"  # here every tensor may be raw
EXTENSIONS = tuple(name for name in describe.EXTENSIONS if name != _OF_REST)
_VERSION = re.compile("[1-9][0-9]{0,8}")
_AHEAD = 64  # requests of a stream that are under way at once


class InferenceMethods:
    """Every method answers from the services, as the REST routes of the protocol do."""

    def __init__(self, services: Services) -> None:
        self._services, self._pool = services, services.pool
        self._codec = RpcCodec(services.settings.max_rows)
        self.table: dict[str, Method] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.repository_load,
            "RepositoryModelUnload": self.repository_unload,
            "ModelInfer": self.infer,
            "ModelStreamInfer": self.stream,
        }

    async def server_live(self, _request: Any, _context: Context) -> Any:
        """Whether the process answers."""
        return messages.ServerLiveResponse(live=True)

    async def server_ready(self, _request: Any, _context: Context) -> Any:
        """Whether inference would be answered."""
        census = await asyncio.to_thread(self._services.siblings.census)
        return messages.ServerReadyResponse(ready=not census.obstacle())

    async def model_ready(self, request: Any, _context: Context) -> Any:
        """Whether a model would answer; one that does not exist would not, as Triton has it."""
        try:
            await self._served(request.name, request.version)
        except (ModelNotReady, NotFound):
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=True)

    async def server_metadata(self, _request: Any, _context: Context) -> Any:
        """The server, and the extensions of the protocol that it knows."""
        return messages.ServerMetadataResponse(
            name="pellucid", version=installed("pellucid"), extensions=EXTENSIONS
        )

    async def model_metadata(self, request: Any, _context: Context) -> Any:
        """What a model takes and gives."""
        served = await self._served(request.name, request.version)
        versions = self._pool.loaded(served.name)
        found = describe.metadata(served, versions)
        return messages.ModelMetadataResponse(**found.model_dump(exclude={"parameters"}))

    async def model_config(self, request: Any, _context: Context) -> Any:
        """How a model is run."""
        served = await self._served(request.name, request.version)
        settings = self._services.settings
        found = describe.configuration(served, settings.max_rows, settings.max_batch_rows)
        return messages.ModelConfigResponse(config=found)

    async def model_statistics(self, request: Any, _context: Context) -> Any:
        """What the versions in memory have done; an empty name or version asks for all."""
        if request.version:
            served = await self._served(request.name, request.version)
            names, versions = [served.name], [served.version]
        elif request.name:
            names, versions = [self._pool.champion(request.name).name], []
        else:
            names, versions = [each.name for each in self._pool.champions()], []
        census = await asyncio.to_thread(self._services.siblings.census)
        statistics = [
            describe.statistics(census, name, version)
            for name in names
            for version in versions or census.versions(name)
        ]
        return messages.ModelStatisticsResponse(model_stats=statistics)

    async def repository_index(self, request: Any, _context: Context) -> Any:
        """Every registered model, with its versions in memory."""
        census = await asyncio.to_thread(self._services.siblings.census)
        found = describe.repository(self._pool, census, ready=request.ready)
        return messages.RepositoryIndexResponse(models=found)

    async def repository_load(self, request: Any, _context: Context) -> Any:
        """Load the champion, and serve the model again if it was unloaded."""
        _require_none(request.parameters)
        await asyncio.to_thread(self._services.siblings.load, request.model_name)
        return messages.RepositoryModelLoadResponse()

    async def repository_unload(self, request: Any, _context: Context) -> Any:
        """Stop serving a model, until it is loaded again or the service ends."""
        _require_none(request.parameters, "unload_dependents")
        await asyncio.to_thread(self._services.siblings.unload, request.model_name)
        return messages.RepositoryModelUnloadResponse()

    async def infer(self, body: bytes, context: Context) -> bytes:
        """Run a request's rows. Raises as the codec and the queue say."""
        return await self._answer(body, read(messages.ModelInferTarget, body), context)

    async def stream(self, bodies: AsyncIterator[bytes], context: Context) -> None:
        """Answer requests as they come, in their order; one that fails ends nothing."""
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(_AHEAD)

        async def write() -> None:
            while (answer := await answers.get()) is not None:
                await context.write(await answer)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            async for body in bodies:
                await answers.put(group.create_task(self._streamed(body, context)))
            await answers.put(None)

    async def _streamed(self, body: bytes, context: Context) -> bytes:
        answer = messages.ModelStreamInferResponse()
        try:
            target = read(messages.ModelInferTarget, body)
            answer.infer_response.id = target.id  # tells which request it was, if it fails
            found = await self._answer(body, target, context)
            answer.infer_response.MergeFromString(found)
        except Exception as error:
            if not isinstance(error, PellucidError):
                logger.exception("a request of a stream failed")
            answer.error_message = told(error)
        return bytes(answer.SerializeToString())

    async def _answer(self, body: bytes, target: Any, context: Context) -> bytes:
        served = await self._served(target.model_name, target.model_version)
        headers = request_headers(headers_of(context.invocation_metadata()))
        remaining = context.time_remaining()
        if remaining is not None:
            headers |= {TIMEOUT: b"%f" % max(1000 * remaining, 1)}
        answer: bytes = await self._services.plane.ask(self._codec, served, headers, body)
        return answer

    async def _served(self, name: str, version: str) -> Served:
        """The champion, or a version that is asked for, loaded on demand.

        Raises:
            InvalidInput: the version is no number.
            NotFound, ModelNotReady: as the pool says.
        """
        if not version:
            return self._pool.champion(name)
        if not _VERSION.fullmatch(version):
            raise InvalidInput(
                f"The version {shown(version)} is no number.", remedy="Versions count from 1."
            )
        number = int(version)
        served = self._pool.in_memory(name, number)
        if served is None:
            served = await asyncio.to_thread(self._pool.version, name, number)
        return served


def _require_none(parameters: Iterable[str], *known: str) -> None:
    given = [name for name in parameters if name not in known]
    if given:
        raise InvalidInput(
            f"A model is served as it was registered, without the parameters {', '.join(given)}.",
            where={"parameter": given[0]},
            remedy="Register another version with what it is to have.",
        )
