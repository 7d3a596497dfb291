"""The demo: starts everything, explains a photo with seven methods, stops everything."""

import importlib.util
import shutil
import sys
import time
from pathlib import Path

from expound_deploy.temporary import expound, service

METHODS = (
    "saliency",
    "saliency:noise_tunnel.type=smoothgrad_sq,noise_tunnel.n_samples=16",
    "integrated_gradients",
    "grad_cam",
    "lime",
    "kernel_shap",
    "partition_shap",
)


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
    with service(state) as started:
        if started.address is None:
            return 1
        methods = [word for method in METHODS for word in ("--method", method)]
        options = ["--target", "top1", "--seed", "0", "--out", str(folder)]
        code = expound("explain", str(photo), *methods, *options, "--server", started.address)
    if code == 0 and started.exit_code == 0:
        duration_s = time.monotonic() - begin_s
        print(f"done in {duration_s:.0f} s; open {folder / 'report.html'}")
    return code or started.exit_code or 0


def _chelsea() -> Path:
    """A photo of a cat that comes with scikit-image, which the worker needs anyway.

    It is only looked up: importing the library would make it a dependency of this package.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        sys.exit('the demo needs the worker\'s libraries: pip install "expound[all]"')
    return Path(spec.origin).parent / "data" / "chelsea.png"


if __name__ == "__main__":
    sys.exit(main())
