"""How a process ended, in words."""

import signal
from pathlib import Path

_TAIL_BYTES = 4000
_TAIL_LINES = 8


def describe(status: int | None, log: Path) -> str:
    """Such as "was killed by SIGKILL", followed by the last lines of its log."""
    if status is None:
        end = "did not end"
    elif status < 0:
        end = f"was killed by {_signal_name(-status)}"
    else:
        end = f"ended with status {status}"
    lines = _last_lines(log)
    return f"{end}; its last lines were:\n{lines}" if lines else f"{end} and wrote no log."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_lines(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])
