"""The demo: starts everything, explains a photo with seven methods, stops everything."""

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

METHODS = (
    "saliency",
    "saliency:noise_tunnel.type=smoothgrad_sq,noise_tunnel.n_samples=16",
    "integrated_gradients",
    "grad_cam",
    "lime",
    "kernel_shap",
    "partition_shap",
)
_STOP_TIMEOUT_S = 90


def main() -> int:
    """Runs the demo in ./demo-output.

    Returns:
        Exit code: 0 when every method was explained and everything has stopped.
    """
    begin_s = time.monotonic()
    folder = Path("demo-output")
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    photo = Path(shutil.copy(_chelsea(), folder))
    with _service(state) as (up, address):
        if address is None:
            return 1
        code = subprocess.run(_explain_command(photo, folder, address)).returncode
    if code == 0 and up.returncode == 0:
        duration_s = time.monotonic() - begin_s
        print(f"done in {duration_s:.0f} s; open {folder / 'report.html'}")
    return code or up.returncode


def _explain_command(photo: Path, folder: Path, address: str) -> list[str]:
    methods = [word for method in METHODS for word in ("--method", method)]
    options = ["--target", "top1", "--seed", "0", "--out", str(folder), "--server", address]
    expound = Path(sys.executable).with_name("expound")
    return [str(expound), "explain", str(photo), *methods, *options]


def _chelsea() -> Path:
    """A photo of a cat that comes with scikit-image, which the worker needs anyway.

    It is only looked up: importing the library would make it a dependency of this package.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        sys.exit('the demo needs the worker\'s libraries: pip install "expound[all]"')
    return Path(spec.origin).parent / "data" / "chelsea.png"


@contextmanager
def _service(state: Path) -> Iterator[tuple[subprocess.Popen[str], str | None]]:
    """`expound up` on free ports, and its address; None when it ended before it was ready."""
    options = ["--port", "0", "--data-dir", str(state)]
    up = subprocess.Popen(
        [sys.executable, "-m", "expound_deploy", *options], stdout=subprocess.PIPE, text=True
    )
    try:
        yield up, _wait_for_ready(up)
    finally:
        up.terminate()
        output, _ = up.communicate(timeout=_STOP_TIMEOUT_S)
        print(output, end="")


def _wait_for_ready(up: subprocess.Popen[str]) -> str | None:
    for line in up.stdout or ():
        print(line, end="", flush=True)
        if ready := re.match(r"ready: (\S+) ", line):
            return ready.group(1)
    return None


if __name__ == "__main__":
    sys.exit(main())
