"""The committed stubs are those that the .proto files give."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_stubs_are_those_of_the_proto_files(tmp_path: Path) -> None:
    made = subprocess.run(
        # "-o": tests make stubs, and never a new virtual environment.
        ["make", "--silent", "-o", ".venv/ready", "stubs", f"STUBS={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    fresh, committed = _stubs(tmp_path), _stubs(ROOT / "protos")
    assert fresh.keys() == committed.keys()
    stale = [str(path) for path, text in fresh.items() if committed[path] != text]
    assert not stale, "run `make proto`"


def _stubs(folder: Path) -> dict[Path, str]:
    """Text of every stub by its path below the folder."""
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*_pb2*.py*")}
