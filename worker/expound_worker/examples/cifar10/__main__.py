"""Trains and registers the network: ``python -m expound_worker.examples.cifar10``."""

import argparse
import shutil
import sys
from pathlib import Path

import torch

from expound_worker.examples.cifar10.entry import register
from expound_worker.examples.cifar10.networks import VARIANTS, build
from expound_worker.examples.cifar10.photos import PhotosError, download, read, save_samples
from expound_worker.examples.cifar10.training import accuracy, train


def main(arguments: list[str] | None = None) -> int:
    """Leaves weights, models.toml and some test photos in a folder; 1 when the photos are wrong."""
    options = _parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        training, test = read(options.data) if options.data else download(options.out / "data")
    except PhotosError as error:
        print(error, file=sys.stderr)
        return 1
    torch.manual_seed(options.seed)
    network = build(options.variant, len(training.classes))
    train(network, training, epochs=options.epochs, seed=options.seed, max_steps=options.max_steps)
    print(f"accuracy on {len(test):,} test images: {accuracy(network, test):.1%}")
    samples = options.out / "images"
    shutil.rmtree(samples, ignore_errors=True)
    save_samples(test, options.samples, samples)
    models = register(network, training.classes, options.out)
    print(f"registered in {models}; serve it with: expound up --models {models}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m expound_worker.examples.cifar10",
        description="Trains the small network of the CIFAR-10 tutorials and registers it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, help="folder with train/CLASS/* and test/CLASS/*; none: a download")
    add("--out", type=Path, default=Path("cifar10"), help="folder for all that it makes")
    add("--variant", choices=VARIANTS, default="modules", help="how the network is written")
    add("--epochs", type=int, default=2, help="times that each photo is seen")
    add("--max-steps", type=int, help="batches after which each epoch ends; none: all")
    add("--seed", type=int, default=0, help="seed of the weights and of the photos' order")
    add("--samples", type=int, default=6, help="test photos to save as images, to be explained")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # Threads would wait for one another more than they compute on batches of so few small images.
    torch.set_num_threads(1)
    sys.exit(main())
