"""The messages and services of `inference.proto` and `health.proto`, made from `services.binpb`.

They live in a descriptor pool of their own. Generated code would put them into the process's
default pool, which refuses a second definition: then nobody could import `tritonclient.grpc`,
which brings its own, into a process that imports this.
"""

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    content = files(__package__).joinpath("services.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(content).file:
        pool.Add(file)
    return pool


_POOL = _pool()


def service(name: str) -> ServiceDescriptor:
    """A service, by its full name."""
    return _POOL.FindServiceByName(name)


def _message(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(name))


HealthCheckResponse = _message("grpc.health.v1.HealthCheckResponse")
ModelConfigResponse = _message("inference.ModelConfigResponse")
ModelInferRequest = _message("inference.ModelInferRequest")
ModelInferTarget = _message("inference.ModelInferTarget")
ModelInferResponse = _message("inference.ModelInferResponse")
ModelMetadataResponse = _message("inference.ModelMetadataResponse")
ModelReadyResponse = _message("inference.ModelReadyResponse")
ModelStatisticsResponse = _message("inference.ModelStatisticsResponse")
ModelStreamInferResponse = _message("inference.ModelStreamInferResponse")
RepositoryIndexResponse = _message("inference.RepositoryIndexResponse")
RepositoryModelLoadResponse = _message("inference.RepositoryModelLoadResponse")
RepositoryModelUnloadResponse = _message("inference.RepositoryModelUnloadResponse")
ServerLiveResponse = _message("inference.ServerLiveResponse")
ServerMetadataResponse = _message("inference.ServerMetadataResponse")
ServerReadyResponse = _message("inference.ServerReadyResponse")
