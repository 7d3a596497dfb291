"""Runs the zoo: ``python -m tests.zoo [MODEL...]``, one classifier after the other.

Without names, all classifiers of torchvision that fit into the memory, the smallest first. What is
done stands in `build/zoo.csv` at once, and a run that was interrupted goes on from there; when all
is done, the rows replace those in `results.csv`, and `results.md` is made of them.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

# Read when shap is first imported, which then compiles for half a minute otherwise.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

import torch

from tests.numeric.classifiers import classifiers
from tests.zoo import results, tables
from tests.zoo.beside import BESIDE, run_beside
from tests.zoo.cells import Cell, run_method
from tests.zoo.checks import Verdict
from tests.zoo.subject import load
from tests.zoo.trials import TRIALS

_UNFINISHED = Path("build/zoo.csv")
_BYTES_PER_PARAMETER = 32
"""Of the network in float32 and float64, of Captum's copy and of what rules make of weights."""
_SHARE = 0.5
"""Of the machine's memory, which others use too."""


def main() -> int:
    """Runs the classifiers that are named, or all; gives the number of wrong cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    names = parser.parse_args().models or classifiers(_most_parameters())
    warnings.simplefilter("ignore")  # what Captum and torch say of themselves
    torch.set_num_threads(1)  # so that seconds are those of one core
    _UNFINISHED.parent.mkdir(exist_ok=True)
    done = results.read(_UNFINISHED)
    for name in names:
        _examine(name, done)
    results.write(results.merged(results.read(), done))
    cells = results.read()  # rounded, as the page is to say what the file says
    tables.write(cells)
    _UNFINISHED.unlink()
    print(tables.summary(cells), tables.captums_summary(cells), sep="\n\n")
    return sum(cell.verdict is Verdict.WRONG for cell in cells if cell.method in TRIALS)


def _examine(name: str, done: list[Cell]) -> None:
    """Adds the cells of one classifier to those that are done."""
    known = {cell.method for cell in done if cell.model == name}
    left = [method for method in (*TRIALS, *BESIDE) if method not in known]
    if not left:
        return
    start = time.process_time()
    subject = load(name)
    for method in left:
        cell = (run_method if method in TRIALS else run_beside)(subject, method)
        done.append(cell)
        results.write(done, _UNFINISHED)
        if method in TRIALS and cell.verdict in (Verdict.WRONG, Verdict.SLOW):
            print(f"  {method}: {cell.verdict}, {cell.error}, {cell.reason}", flush=True)
    print(f"{name}: {time.process_time() - start:.0f} s", flush=True)


def _most_parameters() -> float:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _SHARE * memory / _BYTES_PER_PARAMETER


if __name__ == "__main__":
    sys.exit(min(main(), 1))
