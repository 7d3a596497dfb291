"""The committed table has a sound cell for every method on every classifier."""

from pathlib import Path

from expound_worker.methods.catalogue import METHODS
from tests.numeric.classifiers import classifiers
from tests.zoo import results, tables
from tests.zoo.beside import BESIDE
from tests.zoo.checks import EXACT, Verdict
from tests.zoo.trials import TRIALS

README = (Path(__file__).parents[2] / "README.md").read_text()
CELLS = results.read()
OURS = [cell for cell in CELLS if cell.method in TRIALS]


def test_every_method_has_a_trial() -> None:
    assert set(TRIALS) == set(METHODS)


def test_every_small_classifier_and_the_two_vit_b_are_there_with_all_cells() -> None:
    found = {(cell.model, cell.method) for cell in CELLS}
    models = {cell.model for cell in CELLS}
    assert models >= {*classifiers(), "vit_b_16", "vit_b_32"}
    assert found == {(model, method) for model in models for method in (*TRIALS, *BESIDE)}
    assert len(CELLS) == len(found)


def test_no_cell_is_silently_wrong() -> None:
    assert [cell for cell in OURS if cell.verdict in (Verdict.WRONG, Verdict.SLOW)] == []
    for cell in OURS:
        if cell.verdict is Verdict.REFUSED:
            assert cell.error is None and "use " in cell.reason, cell
        else:
            assert cell.error is not None, cell
        if cell.verdict is Verdict.EXACT:
            assert cell.error is not None and cell.error <= EXACT, cell


def test_deep_lift_is_exact_on_every_classifier() -> None:
    for method in ("deep_lift", "deep_lift/float64"):
        verdicts = {cell.verdict for cell in CELLS if cell.method == method}
        assert verdicts == {Verdict.EXACT}


def test_the_page_and_the_readme_say_what_the_data_says(tmp_path: Path) -> None:
    tables.write(CELLS, tmp_path / "results.md")
    assert tables.PATH.read_text() == (tmp_path / "results.md").read_text()
    assert tables.summary(CELLS) in README
    assert tables.captums_summary(CELLS) in README


def test_data_is_read_as_it_was_written(tmp_path: Path) -> None:
    results.write(CELLS, tmp_path / "results.csv")
    assert results.read(tmp_path / "results.csv") == CELLS


def test_rows_of_a_classifier_that_ran_again_replace_its_own() -> None:
    again = [cell for cell in CELLS if cell.model == "resnet18"][:3]
    merged = results.merged(CELLS, again)
    assert [cell for cell in merged if cell.model == "resnet18"] == again
    assert [cell.model for cell in merged] == sorted(cell.model for cell in merged)
