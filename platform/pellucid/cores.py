"""How many cores this process may use."""

import math
import os
from contextlib import suppress
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def available_cores(groups: Path = _CONTROL_GROUPS) -> int:
    """Those that it may run on, and no more than its control group has time for: at least one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        cores = os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_quota(groups) or cores)))


def _quota(groups: Path) -> float | None:
    """Cores' worth of time, by version 2 or 1 of control groups; None where there is no limit."""
    with suppress(OSError, ValueError):  # no such group, or "max"
        quota, period = (groups / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = (
            (groups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
        )
        return int(quota) / int(period) if int(quota) > 0 else None
    return None
