"""The gRPC server, on the event loop of the HTTP server."""

import logging

import grpc

from pellucid.errors import InvalidSettings
from pellucid.settings import PREFIX
from pellucid_api.access import Note
from pellucid_api.auth import KeyRing
from pellucid_api.rpc import calls
from pellucid_api.rpc.health import HEALTH, HealthMethods
from pellucid_api.rpc.inference import INFERENCE, RAW, InferenceMethods
from pellucid_api.services import Services

_HEALTH = frozenset({"ServerLive", "ServerReady"})  # orchestrators ask all the time, without a key

logger = logging.getLogger(__name__)


async def listen(services: Services, note: Note | None = None) -> grpc.aio.Server:
    """A server that listens where the settings say.

    Args:
        services: that answer.
        note: takes note of every call but health checks; None keeps no access log.

    Raises:
        InvalidSettings: the port is taken, or the address is none of this machine's.
    """
    settings = services.settings
    methods = calls.bound(INFERENCE, InferenceMethods(services).table, note, raw=RAW, quiet=_HEALTH)
    checks = calls.bound(HEALTH, HealthMethods(services).table)
    free = frozenset(checks) | {f"/{INFERENCE}/{name}" for name in _HEALTH}
    server = grpc.aio.server(
        handlers=[calls.Service(methods | checks, KeyRing(settings.api_keys), free)],
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            # Alone, a second server would share the port unnoticed; of several, all do.
            ("grpc.so_reuseport", int(not services.siblings.slot.alone)),
        ],
    )
    address = f"{_host(settings.host)}:{settings.grpc_port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise InvalidSettings(
            f"gRPC cannot listen on {address}.",
            where={"setting": "grpc_port"},
            remedy=f"The port may be taken: set {PREFIX}GRPC_PORT to another one, or to 0 for no "
            "gRPC.",
        ) from error
    await server.start()
    logger.info("gRPC listens on %s", address)
    return server


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
