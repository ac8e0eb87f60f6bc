"""Several processes that train one network, each on its share of every batch (torchrun).

All of them draw the same batches in the same order, and start from the same weights. Each takes its
share of a batch's rows; the gradients are averaged by rows. So the fit is that of one process with
the same batches, up to rounding, whatever the number of processes; only dropout and batch
statistics see fewer rows at once.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from pellucid.errors import InvalidPlan
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid_pipelines.rows import Rows

_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that reports and commits."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed that differs between processes; the leader keeps the one that it has."""
        return seed + self.rank

    def share(self, batch: Rows) -> Rows:
        """This process's rows of a batch; where there are too few for all, of its first rows."""
        if self.size == 1:
            return batch
        parts = torch.arange(len(batch), device=batch.targets.device).tensor_split(self.size)
        return batch.take(parts[self.rank])

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up what every process found, in one exchange."""
        if self.size == 1:
            return
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, summed in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a number over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Until every process is here, however long one of them takes."""
        if self.size > 1:
            group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
            distributed.barrier(group)

    def agree(self, network: nn.Module) -> None:
        """Make the network's buffers, such as the statistics of batch norms, the leader's."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)


def join(device: torch.device, spec: Plan) -> World:
    """The processes that torchrun started with this one; alone without it.

    Raises:
        InvalidPlan: the plan asks for what one process does.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if spec.cross_validation is not None:
        raise InvalidPlan(
            "Cross-validation runs in one process.",
            where={"path": "cross_validation"},
            remedy="Train with one process, or without cross-validation.",
        )
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(distributed.get_rank(), size)


def aside(workspace: Workspace) -> Workspace:
    """A place of its own for what a process would report that does not lead.

    It reads the job's checkpoint, and writes nowhere that anyone looks.
    """
    own = Workspace(Path(tempfile.mkdtemp(prefix="pellucid-")))
    own.request_path, own.checkpoint = workspace.request_path, workspace.checkpoint
    own.scratch, own.placement_path = workspace.scratch, workspace.placement_path
    return own
