"""A Parquet file against a stored profile, in a process of its own: JSON in, JSON out.

In: {"reference": file, "rows": file}. Out: {"seconds", "judged_seconds", "peak_mb", "start_mb",
"rows", "alarms": [keys]}.
"""

import json
import os
import sys
import time
from pathlib import Path

CORES = 2


def main() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    from pellucid.analysis.watching.drift import Levels, judge
    from pellucid.monitoring.profiles.parquet_profiles import profile_parquet
    from pellucid.monitoring.profiles.profiling import ReferenceProfile

    asked = json.load(sys.stdin)
    told = {"start_mb": peak_mb()}
    started = time.perf_counter()
    reference = ReferenceProfile.load(Path(asked["reference"]))
    window = profile_parquet(Path(asked["rows"]), reference)
    counted = time.perf_counter()
    found = judge(
        reference.whole, window, importance=reference.importance, levels=Levels(), since={}
    )
    told |= {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(), "rows": window.rows}
    told["judged_seconds"] = time.perf_counter() - counted
    told["alarms"] = [each.key for each in found if each.status == "alarm"]
    json.dump(told, sys.stdout)


def peak_mb() -> float:
    """Most memory that this process ever had, interpreter and libraries included.

    As of its start: getrusage would tell the peak of the process that it was forked from.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


main()
