"""Whether a run's table is read into memory, or streamed from the disk."""

from pathlib import Path

import psutil
import pyarrow.parquet as pq

from pellucid.jobs.workspace import Request, Workspace, write_atomically
from pellucid.plan import Plan, streamable
from pellucid.schema import Kind
from pellucid_pipelines import data
from pellucid_pipelines.distributed import World
from pellucid_pipelines.mapped import bytes_of_a_row
from pellucid_pipelines.preprocessing.images import LONGEST

_CGROUP = Path("/sys/fs/cgroup")


def settle(request: Request, spec: Plan, workspace: Workspace, world: World) -> Plan:
    """The plan with `training.data_in: stream` where `auto` comes to that.

    What the first attempt decided holds for all of them, whatever the memory is then: a run that
    resumes must see the same batches.
    """
    if spec.training.data_in != "auto" or not streamable(spec):
        return spec
    decided = workspace.placement_path
    if world.leads and not decided.exists():
        streams = needed(request, spec) > available() // 2
        write_atomically(decided, b"stream" if streams else b"memory")
    world.wait()
    if decided.read_bytes() != b"stream":
        return spec
    training = spec.training.model_copy(update={"data_in": "stream"})
    return spec.model_copy(update={"training": training})


def needed(request: Request, spec: Plan) -> int:
    """Bytes that the rows take in memory, and the pixels of their images."""
    file = pq.ParquetFile(request.data_path)
    columns = data.columns(request, spec)
    images = sum(request.data_schema[name].kind is Kind.IMAGE for name in columns)
    chosen = spec.preprocessing.image
    height, width = chosen.size or (LONGEST, LONGEST)
    pixels = images * height * width * (chosen.channels or 3) * chosen.frames
    return int(file.metadata.num_rows * (bytes_of_a_row(file, columns) + pixels))


def available() -> int:
    """Bytes that this process can still get: of the machine, and of its container."""
    free = int(psutil.virtual_memory().available)
    try:
        most = int((_CGROUP / "memory.max").read_text())  # "max": no limit
        used = int((_CGROUP / "memory.current").read_text())
        counted = dict(map(str.split, (_CGROUP / "memory.stat").read_text().splitlines()))
    except (OSError, ValueError):
        return free
    return min(free, most - used + int(counted.get("inactive_file", 0)))
