"""The command line that trains the job of a directory: one process, or one for each GPU."""

import sys
from collections.abc import Callable
from pathlib import Path

from pellucid.jobs.launchers import gpus, tether
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan

_PROGRAM = ["-m", "pellucid_pipelines.train"]


class TrainingCommand:
    """From a job's directory, its request written, to what is to be run.

    Args:
        gpus_per_job: most GPUs that one job trains on; 0: all of this machine's.
        count: how many this machine has.
    """

    def __init__(self, gpus_per_job: int = 1, count: Callable[[], int] = gpus.count) -> None:
        self._most, self._count = gpus_per_job, count

    def __call__(self, directory: Path) -> list[str]:
        """The command line for one job."""
        processes = self._processes(Plan.parse(Workspace(directory).read_request().plan))
        if processes == 1:
            return [sys.executable, *_PROGRAM, str(directory)]
        return [*together(processes), sys.executable, *_PROGRAM, str(directory)]

    def _processes(self, plan: Plan) -> int:
        if self._most == 1 or plan.training.device == "cpu" or plan.cross_validation is not None:
            return 1
        there = self._count()
        most = min(there, self._most) if self._most else there
        return max(1, min(most, plan.training.batch_size // 2))  # batch norms need two rows


def together(processes: int) -> list[str]:
    """What starts a program as several processes that train together: torchrun.

    torchrun gives each a session of its own, out of reach of a signal to its process group. So each
    is tied to torchrun as that is to the worker: when one is killed, so are those below it.
    """
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"),
        f"--nproc-per-node={processes}",
        *(sys.executable, "-I", "-S", tether.__file__, tether.ANY),
    ]
