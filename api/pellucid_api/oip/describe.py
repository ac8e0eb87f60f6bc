"""What the protocol tells about models: metadata, configuration, statistics, the repository."""

from collections.abc import Iterator, Sequence
from typing import Any

from pellucid.bundle import MODEL, Datatype, Input
from pellucid.schema import Kind
from pellucid_api.engine.devices import Place
from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.served import Served
from pellucid_api.engine.statistics import Histogram
from pellucid_api.oip.types import ModelMetadata, TensorMetadata
from pellucid_api.processes.counts import Census

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
)
_CONFIGURED = {Datatype.BYTES: "TYPE_STRING"} | {
    each: f"TYPE_{each.value}" for each in Datatype if each is not Datatype.BYTES
}


def metadata(served: Served, versions: Sequence[int]) -> ModelMetadata:
    """A version's metadata.

    Args:
        served: the version.
        versions: of the model, in memory.
    """
    manifest = served.model.manifest
    return ModelMetadata(
        name=served.name,
        versions=[str(version) for version in versions],
        platform="onnx_onnxv1",
        inputs=[_input(each) for each in manifest.inputs],
        outputs=[
            TensorMetadata(name=each.name, datatype=each.datatype.value, shape=list(each.shape))
            for each in manifest.outputs
        ],
        parameters={"device": served.model.device, "providers": ",".join(served.model.providers)},
    )


def configuration(served: Served, max_rows: int, batch_rows: int) -> dict[str, Any]:
    """A version's configuration: the part of Triton's `ModelConfig` that has a meaning here.

    Args:
        served: the version.
        max_rows: of one request.
        batch_rows: of one run; requests of more are run in pieces.
    """
    manifest = served.model.manifest
    inputs = [_input(each) for each in manifest.inputs]
    return {
        "name": served.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [served.version]}},
        "max_batch_size": max_rows,
        "input": [
            {
                "name": each.name,
                "data_type": _CONFIGURED[Datatype(each.datatype)],
                "dims": each.shape[1:],
            }
            for each in inputs
        ],
        "output": [
            {
                "name": each.name,
                "data_type": _CONFIGURED[each.datatype],
                "dims": list(each.shape[1:]),
            }
            for each in manifest.outputs
        ],
        "dynamic_batching": {
            "preferred_batch_size": [batch_rows],
            "max_queue_delay_microseconds": 0,
            "preserve_ordering": False,
        },
        "instance_group": [_instances(served)],
        "default_model_filename": MODEL,
    }


def statistics(census: Census, name: str, version: int) -> dict[str, Any]:
    """A version's statistics since it was first loaded, as Triton's extension has them.

    Preparing inputs and reading outputs is part of the run here, so `compute_infer` has their
    time; its count is of runs, each of which answers what had gathered. There is no cache.
    """
    found = census.statistics(name, version)
    nothing = {"count": 0, "ns": 0}
    failed = found.invalid + found.failed + found.refused + found.expired + found.dropped
    return {
        "name": name,
        "version": str(version),
        "last_inference": int(found.last * 1000),
        "inference_count": found.rows,
        "execution_count": found.executions,
        "inference_stats": {
            "success": _duration(found.succeeded, found.latency),
            "fail": {"count": failed, "ns": 0},
            "queue": _duration(found.succeeded, found.queue),
            "compute_input": nothing,
            "compute_infer": _duration(found.executions, found.compute),
            "compute_output": nothing,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [],
    }


def repository(pool: ModelPool, census: Census, *, ready: bool = False) -> list[dict[str, str]]:
    """Every registered model, with its versions in memory: name, version, state and reason.

    Args:
        pool: knows them.
        census: knows what is in memory.
        ready: only those that answer.
    """
    return list(_entries(pool, census, ready=ready))


def _entries(pool: ModelPool, census: Census, *, ready: bool) -> Iterator[dict[str, str]]:
    names = pool.registered | {served.name for served in pool.champions()}
    for name in sorted(names):
        loaded = census.versions(name)
        for version in loaded:
            yield {"name": name, "version": str(version), "state": "READY", "reason": ""}
        if loaded or ready:
            continue
        failure = pool.failures.get(name)
        yield {
            "name": name,
            "version": str(failure.version) if failure else "",
            "state": "UNAVAILABLE",
            "reason": failure.reason if failure else _reason(pool, name),
        }


def _instances(served: Served) -> dict[str, Any]:
    place = Place.of(served.model.device)
    if place.kind == "cpu":
        return {"name": f"{served.name}_0", "kind": "KIND_CPU", "count": 1}
    gpus = sorted(set(place.numbers))
    return {
        "name": f"{served.name}_0",
        "kind": "KIND_GPU",
        "count": max(map(place.numbers.count, gpus)),  # on each
        "gpus": gpus,
    }


def _reason(pool: ModelPool, name: str) -> str:
    return "It was unloaded." if name in pool.unloaded else "No version of it is the champion."


def _input(each: Input) -> TensorMetadata:
    if each.kind is Kind.TEXT:  # tokens are taken too
        return TensorMetadata(name=each.name, datatype="BYTES", shape=[-1])
    return TensorMetadata(name=each.name, datatype=each.datatype.value, shape=[-1, *each.shape])


def _duration(count: int, times: Histogram) -> dict[str, int]:
    return {"count": count, "ns": round(times.total * 1e9)}
