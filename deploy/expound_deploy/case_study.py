"""The case study: trains the small CIFAR-10 network, serves it, and explains test photos.

The parts do it, each what it is for, and meet in a folder: the worker's example trains and leaves
models.toml and photos in class folders, `expound up` serves them, and `expound explain` writes the
grid and the report.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import grpc

from expound.v1 import model_service_pb2, model_service_pb2_grpc
from expound_deploy.readiness import connect
from expound_deploy.temporary import expound, service

METHODS = (
    "grad_cam",
    "saliency",
    "integrated_gradients",
    "integrated_gradients:noise_tunnel.type=smoothgrad_sq,noise_tunnel.n_samples=100,"
    "noise_tunnel.stdev=0.2",
    "deep_lift",
    "lime",
    "kernel_shap",
)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_TIMEOUT_S = 10.0


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with train/CLASS/* and test/CLASS/*. Default: CIFAR-10 is downloaded.",
)
@click.option("--out", type=_FOLDER, default="case-study-output", show_default=True)
@click.option(
    "--variant",
    type=click.Choice(["modules", "functional"]),
    default="modules",
    show_default=True,
    help="Whether the network's ReLUs and pools are modules.",
)
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--server",
    "address",
    metavar="HOST:PORT",
    help="Explain through this service, which serves the models.toml of a run before in the same "
    "folder; nothing is trained.",
)
def main(data: Path | None, out: Path, variant: str, epochs: int, address: str | None) -> None:
    """Train, serve and explain the small network of the CIFAR-10 tutorials."""
    if address:
        sys.exit(_explain(address, f"cifar10_{variant}", out))
    out.mkdir(parents=True, exist_ok=True)
    options = ["--out", str(out), "--variant", variant, "--epochs", str(epochs)]
    if data:
        options += ["--data", str(data)]
    subprocess.run([sys.executable, "-m", "expound_worker.examples.cifar10", *options], check=True)
    state = out / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    with service(state, "--models", str(out / "models.toml")) as started:
        if started.address is None:
            sys.exit(1)
        code = _explain(started.address, f"cifar10_{variant}", out)
    sys.exit(code or started.exit_code)


def _explain(address: str, model: str, out: Path) -> int:
    """Explains the photos of the example by every method that the service has for the model."""
    photos = sorted((out / "images").glob("*/*.png"))
    if not photos:
        raise click.ClickException(f"{out}: has no images/CLASS/*.png; train first")
    images = map(str, photos)
    labels = [word for photo in photos for word in ("--true-label", photo.parent.name)]
    methods = [word for method in _supported(address, model) for word in ("--method", method)]
    options = ["--model", model, "--server", address, "--out", str(out / "explained")]
    return expound("explain", *images, *labels, *methods, *options)


def _supported(address: str, model: str) -> list[str]:
    """The methods that the service does not refuse on the model; says which are left out."""
    with connect(address) as channel:
        request = model_service_pb2.GetModelRequest(name=f"models/{model}")
        try:
            card = model_service_pb2_grpc.ModelServiceStub(channel).GetModel(
                request, timeout=_TIMEOUT_S
            )
        except grpc.RpcError as error:
            raise click.ClickException(f"{address}: {error.details()}") from error
    refusals = {
        each.method: each.reason
        for each in card.capabilities
        if each.support == model_service_pb2.Capability.SUPPORT_UNSUPPORTED
    }
    known = {each.method for each in card.capabilities} - set(refusals)
    supported = []
    for method in METHODS:
        name = method.partition(":")[0]
        if name in known:
            supported.append(method)
        else:
            click.echo(f"left out: {name}: {refusals.get(name, 'not implemented')}")
    return supported


if __name__ == "__main__":
    main(prog_name="python -m expound_deploy.case_study")
