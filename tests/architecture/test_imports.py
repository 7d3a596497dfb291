"""Who may import what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("protos", "server", "worker", "client", "deploy")
# Where a task is sent, and where tasks are defined and run.
CELERY_MODULES = {
    "server/expound_server/broker.py",
    "worker/expound_worker/__main__.py",
    "worker/expound_worker/app.py",
    "worker/expound_worker/tasks.py",
}


def imported(source: Path) -> Iterator[str]:
    """Top-level names of the packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_the_import_contracts_are_kept() -> None:
    linter = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert linter.returncode == 0, linter.stdout + linter.stderr


def test_celery_is_imported_only_where_a_task_is_sent_or_defined() -> None:
    importers = {
        str(source.relative_to(ROOT))
        for root in SOURCE_ROOTS
        for source in (ROOT / root).rglob("*.py")
        if "celery" in imported(source)
    }
    assert importers <= CELERY_MODULES
    assert importers, "the rule found nothing to look at"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("expound", "torch torchvision captum lime shap skimage sklearn celery redis"),
        ("expound_client", "torch torchvision captum lime shap skimage sklearn celery redis"),
        ("expound_client.cli", "torch torchvision captum lime shap skimage sklearn celery redis"),
        ("expound_server", "torch torchvision captum lime shap skimage sklearn"),
        ("expound_server.app", "torch torchvision captum lime shap skimage sklearn"),
        ("expound_deploy.__main__", "torch torchvision captum lime shap skimage sklearn"),
    ],
)
def test_a_part_works_without_the_libraries_of_others(module: str, absent: str) -> None:
    guard = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({absent.split()!r}))\n"
        f"importlib.import_module({module!r})\n"
    )
    run = subprocess.run([sys.executable, "-c", guard], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
