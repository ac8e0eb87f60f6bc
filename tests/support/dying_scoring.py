"""A scoring that dies after every third part: `python dying_scoring.py JOB_DIR`.

Parts have 50 rows. The third one of an attempt is whole, and what follows it is torn.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from pellucid_api import scoring

PART_ROWS = 50
PARTS = 3

_write_part = scoring.write_part
_written: list[Path] = []


def write_part(table: Any, path: Path) -> None:
    if len(_written) == PARTS:
        path.with_suffix(".partial").write_bytes(b"PAR1 torn")
        os.kill(os.getpid(), signal.SIGKILL)
    _write_part(table, path)
    _written.append(path)
    print(f"{path.name}: {table.num_rows}", flush=True)


if __name__ == "__main__":
    scoring._MOST_ROWS, scoring.write_part = PART_ROWS, write_part  # type: ignore[misc]
    sys.exit(scoring.main())
