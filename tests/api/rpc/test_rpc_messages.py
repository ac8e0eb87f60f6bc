"""The messages: wire-compatible with the published ones, and with no claim on the default pool."""

import re
import subprocess
import sys
from importlib.resources import files

import pytest
import tritonclient.grpc.model_config_pb2 as published_config
import tritonclient.grpc.service_pb2 as published
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from pellucid_api.rpc import messages

OWN = {"ModelInferTarget"}


def descriptions() -> FileDescriptorSet:
    content = files("pellucid_api.rpc").joinpath("services.binpb").read_bytes()
    return FileDescriptorSet.FromString(content)


def ours() -> list[Descriptor]:
    inference = messages.service("inference.GRPCInferenceService").file
    return [each for name, each in inference.message_types_by_name.items() if name not in OWN]


def form(field):
    """What decides how a field looks on the wire."""
    message = field.message_type and field.message_type.full_name
    enum = field.enum_type and {v.name: v.number for v in field.enum_type.values}
    return field.number, field.type, field.is_repeated, message, enum


def same_as_published(our, their):
    for name, field in our.fields_by_name.items():
        assert form(field) == form(their.fields_by_name[name]), f"{our.full_name}.{name}"
    for name, nested in our.nested_types_by_name.items():
        same_as_published(nested, their.nested_types_by_name[name])


@pytest.mark.parametrize("message", ours(), ids=lambda each: each.name)
def test_every_field_is_the_published_one(message):
    theirs = {
        **published.DESCRIPTOR.message_types_by_name,
        **published_config.DESCRIPTOR.message_types_by_name,
    }
    same_as_published(message, theirs[message.name])


def test_every_method_is_a_published_one():
    theirs = published.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for method in messages.service("inference.GRPCInferenceService").methods:
        their = theirs[method.name]
        assert method.input_type.full_name == their.input_type.full_name
        assert method.output_type.full_name == their.output_type.full_name
        assert method.client_streaming == their.client_streaming
        assert method.server_streaming == their.server_streaming


@pytest.mark.parametrize("file", descriptions().file, ids=lambda each: each.name)
def test_the_descriptions_are_those_of_the_text(file):
    """Else `make proto` was forgotten."""
    text = files("pellucid_api.rpc").joinpath(file.name).read_text(encoding="utf-8")
    text = re.sub(r"//.*", "", text)
    written = re.findall(r"(\w+) = (\d+);", text)
    found = []

    def collect(message):
        found.extend((field.name, str(field.number)) for field in message.field)
        for enum in message.enum_type:
            found.extend((value.name, str(value.number)) for value in enum.value)
        for nested in message.nested_type:
            if not nested.options.map_entry:
                collect(nested)

    for message in file.message_type:
        collect(message)
    for enum in file.enum_type:
        found.extend((value.name, str(value.number)) for value in enum.value)
    assert sorted(found) == sorted(written)
    assert len(file.service[0].method) == len(re.findall(r"\brpc ", text))


@pytest.mark.parametrize("order", [1, -1])
def test_a_client_fits_into_the_same_process(order):
    modules = ["import pellucid_api.rpc.messages", "import tritonclient.grpc"][::order]
    subprocess.run([sys.executable, "-c", "; ".join(modules)], check=True)
