"""Tables kept in ``tests/bench/results/MACHINE.json``, each with what it was measured of."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from tests.bench.table import Table

_RESULTS = Path(__file__).parent / "results"


def write(tables: Sequence[Table]) -> None:
    """Puts them in the place of those of the same names; the others stay."""
    path = _RESULTS / f"{_machine()}.json"
    written = json.loads(path.read_text()) if path.exists() else {}
    measured = _measured()
    for table in tables:
        written[table.name] = {"measured": measured, "rows": table.rows}
    path.write_text(json.dumps(written, indent=2) + "\n")
    print(f"written to {os.path.relpath(path)}")


def _machine() -> str:
    device = torch.cuda.get_device_name().replace(" ", "-") if torch.cuda.is_available() else "cpu"
    return f"{platform.machine()}-{os.cpu_count()}-cores-{device}"


def _measured() -> dict[str, str]:
    """When, of which commit, with what."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "processor": _processor(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "captum", "lime", "shap")},
    }


def _commit() -> str:
    """The commit that is checked out, "+" where files differ from it; empty outside of git."""
    commit = _git("rev-parse", "HEAD")
    # What was measured before is no part of what is measured.
    changed = commit and _git("status", "--porcelain", "--", ":/", f":(exclude){_RESULTS}")
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_RESULTS), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
