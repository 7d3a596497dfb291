"""Makes the clock of a process wrong: Python runs this first where its folder is on the path.

Monotonic clocks stay, as they do on a machine whose time of day is wrong. So does `datetime.now`:
libraries of compiled code rely on that class being the original one.
"""

import os
import time

_SHIFT_S = float(os.environ["CLOCK_SHIFT_S"])
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() + _SHIFT_S
time.time_ns = lambda: _time_ns() + int(_SHIFT_S * 1e9)
