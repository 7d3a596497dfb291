"""Stands in for the worker: does nothing until SIGTERM, or fails at once if it is told to."""

import os
import signal
import sys
from pathlib import Path

AWAITED = [signal.SIGTERM, signal.SIGUSR1]
if os.environ.get("STAND_IN_FAULT") == "worker fails":
    sys.exit("weights file /models/cat.safetensors is missing")
Path(os.environ["EXPOUND_HEARTBEAT_FILE"]).touch()
print("worker has begun")
signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
number = signal.sigwait(AWAITED)
sys.exit(0 if number == signal.SIGTERM else 7)
