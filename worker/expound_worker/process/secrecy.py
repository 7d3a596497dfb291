"""Hides what a process knows from others of the same user."""

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def hide_from_others() -> None:
    """Leaves the process' environment and memory in /proc to root alone.

    The processes that decode images run as the same user, and could read Redis' password there
    were one of them taken over. No core is dumped either. Elsewhere than on Linux it does nothing.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
