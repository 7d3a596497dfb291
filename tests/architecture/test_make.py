"""What the targets of the Makefile run."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_make_faults_runs_every_test_that_is_long() -> None:
    dry = subprocess.run(
        ["make", "--dry-run", "faults"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (paths,) = re.findall(r'pytest ((?:\S+ )+)-m "long or not long"', dry.stdout)
    run = [ROOT / path for path in paths.split()]
    long = [
        file
        for file in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^@pytest\.mark\.long$", file.read_text(), re.MULTILINE)
    ]
    assert long
    for file in long:
        assert any(path in (file, *file.parents) for path in run), file
