"""A method as gRPC calls it: keys checked, bytes read as a message, errors told as status codes."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from starlette.datastructures import Headers

from pellucid.errors import InvalidInput, PellucidError, Unauthorized
from pellucid_api.access import Note
from pellucid_api.auth import KeyRing
from pellucid_api.problems import STATUS
from pellucid_api.rpc import messages

Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpcio has no annotations
Method = Callable[[Any, Context], Awaitable[Any]]  # a request -> a message, or a message's bytes

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,  # overloaded as well, as Triton has it: send again later
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    507: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_LONGEST = 2000  # bytes of an error's text: clients refuse headers of more than 8 KiB, escaped

logger = logging.getLogger(__name__)


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # which is Any to mypy
    """The methods of one or more services, behind their keys.

    Args:
        methods: path, such as /inference.GRPCInferenceService/ModelInfer -> handler.
        ring: the valid keys.
        open_to_all: paths that need none.
    """

    def __init__(
        self,
        methods: Mapping[str, grpc.RpcMethodHandler],
        ring: KeyRing,
        open_to_all: frozenset[str],
    ) -> None:
        self._methods, self._ring, self._open = methods, ring, open_to_all

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Who answers a call; None is UNIMPLEMENTED."""
        handler = self._methods.get(details.method)
        if handler is None or details.method in self._open or self._allows(details):
            return handler
        return _REFUSING[handler.request_streaming]

    def _allows(self, details: grpc.HandlerCallDetails) -> bool:
        if not self._ring:
            return True
        return self._ring.opens(Headers(raw=headers_of(details.invocation_metadata)))


def bound(
    service: str,
    methods: Mapping[str, Method],
    note: Note | None = None,
    *,
    raw: Set[str] = frozenset(),
    quiet: Set[str] = frozenset(),
) -> dict[str, grpc.RpcMethodHandler]:
    """The handlers of a service, by path.

    Args:
        service: its full name.
        methods: one for each that the service's description names. One of a stream is given the
            requests' bytes one by one, and writes its answers to the context.
        note: takes note of every call; None keeps no access log.
        raw: names of those that are given a request's bytes.
        quiet: names of those that are not noted.
    """
    return {
        f"/{service}/{each.name}": _handler(
            each,
            methods[each.name],
            None if each.name in quiet else note,
            raw=each.name in raw or each.client_streaming,
        )
        for each in messages.service(service).methods
    }


def headers_of(metadata: Any) -> list[tuple[bytes, bytes]]:
    """A call's metadata as HTTP's headers; gRPC has their names in lower case."""
    return [(k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in metadata or ()]


def read(message: Any, body: bytes) -> Any:
    """A message of this class. Raises `InvalidInput`."""
    try:
        return message.FromString(body)
    except DecodeError as error:
        name = message.DESCRIPTOR.full_name
        raise InvalidInput(f"The {len(body):,} bytes are no {name}.") from error


def code_of(error: Exception) -> grpc.StatusCode:
    """The status of an error: one table maps errors to HTTP, this follows it."""
    return _CODES[STATUS[type(error)] if isinstance(error, PellucidError) else 500]


def told(error: Exception) -> str:
    """What the client is told. The details of an error that is ours to mend are in the log."""
    if not isinstance(error, PellucidError):
        return "Something went wrong inside the service. Its log has the details."
    text = str(error).encode()
    return str(error) if len(text) <= _LONGEST else text[:_LONGEST].decode(errors="ignore") + "..."


def _handler(
    method: MethodDescriptor, call: Method, note: Note | None, *, raw: bool
) -> grpc.RpcMethodHandler:
    message = GetMessageClass(method.input_type)
    path = f"/{method.containing_service.full_name}/{method.name}".encode()

    async def answer(body: Any, context: Context) -> bytes | None:
        started = time.perf_counter()
        code, found = grpc.StatusCode.CANCELLED, b""
        try:
            answered = await call(body if raw else read(message, body), context)
            if answered is not None:
                found = answered if isinstance(answered, bytes) else answered.SerializeToString()
            code = grpc.StatusCode.OK
        except Exception as error:
            code = code_of(error)
            if not isinstance(error, PellucidError):
                logger.error("%s failed", method.full_name, exc_info=error)
            await context.abort(code, told(error))
        finally:
            if note is not None:
                ended, client = time.perf_counter(), (context.peer().partition(":")[2],)
                status = code.value[0]
                note((started, ended, b"GRPC", path, status, b"", client, len(found)))
        return None if method.client_streaming else found

    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(answer)
    return grpc.unary_unary_rpc_method_handler(answer)


async def _refuse(_request: Any, context: Context) -> bytes:
    error = Unauthorized(
        "This call needs a valid API key.",
        remedy="Send the metadata `authorization: Bearer KEY` or `x-api-key: KEY`.",
    )
    await context.abort(code_of(error), told(error))
    return b""


_REFUSING = {
    False: grpc.unary_unary_rpc_method_handler(_refuse),
    True: grpc.stream_unary_rpc_method_handler(_refuse),
}
