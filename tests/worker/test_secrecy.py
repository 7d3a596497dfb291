"""What others of the same user see of a worker."""

import os
import subprocess
import sys

import pytest

LOOK = """
import ctypes, os, sys
from expound_worker.process.secrecy import hide_from_others
if os.geteuid() == 0:
    os.setuid(65534)  # root sees everything
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a program begins that has not changed its user
if sys.argv[1] == "hidden":
    hide_from_others()
if os.fork():
    os.wait()
else:
    try:
        print(open(f"/proc/{os.getppid()}/environ").read(), flush=True)
    except PermissionError:
        print("denied", flush=True)
"""


@pytest.mark.parametrize("way", ["open", "hidden"])
def test_a_child_of_the_same_user_reads_no_environment(way: str) -> None:
    environment = {**os.environ, "SOME_SECRET": "abc"}
    command = [sys.executable, "-c", LOOK, way]
    seen = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ("SOME_SECRET=abc" in seen.stdout) == (way == "open")
    assert ("denied" in seen.stdout) == (way == "hidden")
