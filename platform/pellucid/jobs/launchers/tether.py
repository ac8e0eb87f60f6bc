"""Becomes another program that cannot outlive the thread that started it.

A script of its own, run by file name and without site packages, so that it costs little:
`python -I -S tether.py PARENT PROGRAM ARGUMENT...`, where PARENT is the number of the process that
starts it, or `any` where that cannot be known. The kernel (Linux) kills the program when its
parent is gone, even by `kill -9`; otherwise an orphan would train on beside its successor.
"""

import ctypes
import os
import signal
import sys

ANY = "any"
_PR_SET_PDEATHSIG = 1  # see prctl(2); it survives exec


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent, *program = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent != ANY and os.getppid() != int(parent):  # it died before we were tied
        sys.exit("The worker is gone.")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
