"""The contract keeps buf's rules, but for the exceptions that buf.yaml lists."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).with_name("buf")


def test_the_contract_keeps_the_rules_of_buf(image_path: Path) -> None:
    lint = subprocess.run(
        [BUF, "lint", image_path, "--config", "buf.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
