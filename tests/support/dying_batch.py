"""A job that dies after every third part: `python dying_batch.py scoring|explaining JOB_DIR`.

Parts have 50 rows. The third one of an attempt is whole, and what follows it is torn.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from pellucid_api import batch_jobs, explaining, scoring

PART_ROWS = 50
PARTS = 3

_write_part = batch_jobs.write_part
_written: list[Path] = []


def command(what: str, root: Path) -> list[str]:
    return [sys.executable, __file__, what, str(root)]


def write_part(table: Any, path: Path) -> None:
    if len(_written) == PARTS:
        path.with_suffix(".partial").write_bytes(b"PAR1 torn")
        os.kill(os.getpid(), signal.SIGKILL)
    _write_part(table, path)
    _written.append(path)
    print(f"{path.name}: {table.num_rows}", flush=True)


if __name__ == "__main__":
    batch_jobs._MOST_ROWS, batch_jobs.write_part = PART_ROWS, write_part  # type: ignore[misc]
    explaining._PART_SECONDS = 0.0  # type: ignore[misc]
    main = {"scoring": scoring.main, "explaining": explaining.main}[sys.argv.pop(1)]
    sys.exit(main())
