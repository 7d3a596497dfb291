"""Ties a command to its parent's life, then becomes it: ``leash PARENT_PID COMMAND…``.

A supervisor that is killed outright can stop nothing, so the kernel does it: when the parent dies,
the command gets SIGTERM and drains. The request is made here, in a process of its own that has one
thread, and not between fork and exec of the supervisor, where Python code is not safe. Only Linux
knows it; elsewhere the command simply runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks for SIGTERM at the parent's death, and becomes the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("the parent is gone already")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
