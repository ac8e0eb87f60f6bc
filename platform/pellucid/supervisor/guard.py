"""The last line of defence: ends every service when the supervisor is gone, however it went.

A script of its own, run by file name and without site packages, so that it costs little. It
reads the process groups to guard from standard input: `+12` guards group 12, `-12` forgets it.
The other end of that pipe closes when the supervisor dies, even by `kill -9`; whatever groups
are left are then asked to end, and after a grace made to.
"""

import os
import signal
import sys
import time

GRACE_SECONDS = 25.0  # longer than the API takes at most to let open requests finish


def main() -> None:
    """Guard until the pipe closes."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    end(groups, GRACE_SECONDS)


def end(groups: set[int], grace: float) -> None:
    """SIGTERM to every group, and SIGKILL to those that are still there after `grace` seconds."""
    left = {group for group in groups if send(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = {group for group in left if send(group, 0)}
    for group in left:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Send a signal to a process group. False where there is none any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
