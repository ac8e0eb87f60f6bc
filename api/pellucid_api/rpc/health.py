"""gRPC's health checking protocol, as Kubernetes and load balancers ask it.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md. `Watch` is left out, as
the protocol allows.
"""

from typing import Any

from pellucid.errors import NotFound
from pellucid_api.rpc.calls import Context, Method
from pellucid_api.rpc.inference import INFERENCE
from pellucid_api.rpc.messages import HealthCheckResponse
from pellucid_api.services import Services

HEALTH = "grpc.health.v1.Health"


class HealthMethods:
    """The methods of `grpc.health.v1.Health`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.table: dict[str, Method] = {"Check": self.check}

    async def check(self, request: Any, _context: Context) -> Any:
        """Whether inference would be answered. Raises `NotFound` for a service of another name."""
        if request.service not in ("", INFERENCE, HEALTH):
            raise NotFound(f"There is no service {request.service!r}.")
        ready = not self._services.pool.obstacle()
        return HealthCheckResponse(status="SERVING" if ready else "NOT_SERVING")
