"""The command line against a fake service: what it prints, writes and exits with."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from expound import parameters
from expound.reasons import Reason, status
from expound.v1 import explanation_pb2, model_service_pb2
from expound_client.cli import launch, run
from tests.client import canned
from tests.client.fake_service import FakeService
from tests.processes import free_port

Expound = Callable[..., int]

# To write into the clipboard, to clear the screen, and others of C0, DEL and C1.
HOSTILE = "\x1b]52;c;eA==\x1b\\\x1b[2J\x7f\x9b"
MARKED = "�]52;c;eA==�\\�[2J��"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@pytest.fixture
def expound(service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Expound:
    """Runs the command line in a folder that holds photo.png."""
    monkeypatch.setenv("EXPOUND_SERVER", service.address)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(canned.png())
    return lambda *arguments: run(list(arguments))


def sent(service: FakeService) -> explanation_pb2.ExplainRequest:
    (request,) = service.requests["Explain"]
    assert isinstance(request, explanation_pb2.ExplainRequest)
    return request


def test_explain_prints_a_table_and_writes_pictures_and_the_report(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert expound("explain", "photo.png", "-m", "saliency", "-m", "lime", "--out", "made") == 0
    printed = capsys.readouterr()
    (saliency,) = (line for line in printed.out.splitlines() if "saliency" in line)
    assert saliency.split() == ["saliency", "tabby", "60.0%", "1", "500", "ms", "0.002", "-"]
    (lime,) = (line for line in printed.out.splitlines() if "lime" in line)
    assert lime.split() == ["lime", "tabby", "60.0%", "100", "500", "ms", "-", "0.02"]
    assert "5 files in made" in printed.out
    assert "100/100" in printed.err
    assert "image 1: tabby, 60.0%" in printed.err
    assert "lime, tabby: a warning & <b>more</b>\n" in printed.err
    names = ["photo_saliency_tabby", "photo_lime_tabby", "photo_lime_tabby-error_bars", "grid"]
    written = {path.name for path in (tmp_path / "made").iterdir()}
    assert written == {*(f"{name}.png" for name in names), "report.html"}
    with Image.open(tmp_path / "made" / "photo_lime_tabby.png") as overlay:
        assert overlay.size == (8, 8)
    with Image.open(tmp_path / "made" / "photo_lime_tabby-error_bars.png") as bars:
        assert bars.width > 2 * 360
    assert sent(service).model == "small"


def test_true_labels_are_written_in_the_grid(expound: Expound, tmp_path: Path) -> None:
    explain = ("explain", "photo.png", "-m", "saliency", "--out")
    assert expound(*explain, "plain") == 0
    assert expound(*explain, "labelled", "--true-label", "lynx") == 0
    heights = []
    for name in ("plain", "labelled"):
        with Image.open(tmp_path / name / "grid.png") as grid:
            heights.append(grid.height)
    assert heights[1] > heights[0]


def test_true_labels_of_other_images_are_refused(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["--true-label", "lynx", "--true-label", "tabby"]
    assert expound("explain", "photo.png", "-m", "saliency", *labels) == 2
    assert "for each of the 1 images" in capsys.readouterr().err
    assert "Explain" not in service.requests


@pytest.mark.parametrize("name", ["runs[a]", "x[/b]", ":cat:"])
def test_a_folder_is_printed_letter_for_letter(
    expound: Expound, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert expound("explain", "photo.png", "-m", "saliency", "--out", name) == 0
    assert f"3 files in {name}: " in capsys.readouterr().out


def test_cards_are_printed_letter_for_letter(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.card.name = "models/a[/b]"
    service.card.version = "1[c]"
    assert expound("models") == 0
    assert expound("methods", "--model", "a[/b]") == 0
    listed, _, told = capsys.readouterr().out.partition("a[/b], version 1[c]: in words")
    assert "a[/b]" in listed and "1[c]" in listed
    assert "saliency" in told


def test_control_characters_of_others_are_marked(
    expound: Expound,
    service: FakeService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canned, "CLASSES", ((f"tabby{HOSTILE}", 0.6), *canned.CLASSES[1:]))
    service.card.version = f"1{HOSTILE}"
    service.card.capabilities[1].reason = f"not exact{HOSTILE}"
    service.fails = True
    service.refusals["ListModels"] = [status(Reason.INTERNAL, f"first{HOSTILE}\nsecond")]
    methods = ("-m", "saliency", "-m", f"lime:key=mine{HOSTILE}")
    assert expound("models") == 1
    assert capsys.readouterr().err == f"Error: first{MARKED}\nsecond\n"
    assert expound("models") == expound("methods", "--model", "small") == 0
    assert expound("explain", "photo.png", *methods) == 1
    assert expound("watch", canned.NAME) == 1
    printed = capsys.readouterr()
    for text in (f"version 1{MARKED}: in words", f"not exact{MARKED}", "tabby�]52;"):
        assert text in printed.out
    for text in (f"image 1: tabby{MARKED}, 60.0%", "mine�]52;", f"mine{MARKED} failed: only"):
        assert text in printed.err
    assert set(filter(CONTROL.match, printed.out + printed.err)) == {"\n"}


def test_names_of_others_are_marked_where_the_command_is_refused(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.others.append(model_service_pb2.Model(name=f"models/a{HOSTILE}"))
    assert expound("explain", "photo.png", "-m", "saliency") == 2
    assert f"there are: small, a{MARKED}\n" in capsys.readouterr().err


def test_keys_are_no_markup_of_the_bars(
    expound: Expound, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expound("explain", "photo.png", "-m", "saliency:key=[b]x[c]y") == 0
    assert "[b]x[c]y" in capsys.readouterr().err


def test_explain_sends_what_its_options_say(expound: Expound, service: FakeService) -> None:
    lime = "lime:n_samples=200,segmentation.slic.n_segments=40,baseline=blur,key=mine"
    tunnel = "saliency:noise_tunnel.type=smoothgrad_sq,noise_tunnel.n_samples=16,absolute=No"
    options = ["--model", "other", "--seed", "5", "--target", "2", "--timeout", "30"]
    assert expound("explain", "photo.png", "photo.png", "-m", lime, "-m", tunnel, *options) == 0
    request = sent(service)
    assert len(request.inputs) == 2
    assert (request.model, request.seed, request.timeout.seconds) == ("other", 5, 30)
    assert request.target.class_index == 2
    first, second = request.methods
    assert (first.key, first.lime.n_samples) == ("mine", 200)
    assert first.lime.segmentation.slic.n_segments == 40
    assert first.lime.baseline.WhichOneof("baseline") == "blur"
    assert second.saliency.noise_tunnel.n_samples == 16
    assert not second.saliency.absolute and second.saliency.HasField("absolute")


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("limes", "partition_shap"),
        ("lime:samples=5", "segmentation.slic.n_segments"),
        ("lime:n_samples", "key=value"),
        ("lime:n_samples=many", "must be an integer"),
        ("lime:kernel_width=wide", "must be a number"),
        ("lime:n_samples=9", "from 10 to 100000 evaluations"),
        ("lime:segmentation=voronoi", "grid, slic, quickshift, felzenszwalb"),
        ("lime:segmentation.labels=1", "no parameter"),
        ("saliency:noise_tunnel.type=loud", "smoothgrad, smoothgrad_sq, vargrad"),
        ("saliency:absolute=perhaps", "true, yes"),
        ("gradient_shap:baselines=zero", "no parameter"),
    ],
)
def test_a_wrong_method_is_refused_with_what_is_allowed(
    expound: Expound,
    service: FakeService,
    capsys: pytest.CaptureFixture[str],
    method: str,
    told: str,
) -> None:
    assert expound("explain", "photo.png", "-m", method) == 2
    assert told in capsys.readouterr().err
    assert "Explain" not in service.requests


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "photo.png"],
        ["explain", "-m", "lime"],
        ["explain", "missing.png", "-m", "lime"],
        ["explain", "photo.png", "-m", "lime", "--seed", "-1"],
        ["explain", "photo.png", "-m", "lime", "--timeout", "inf"],
        ["explain", "photo.png", "-m", "lime", "--timeout", "nan"],
        ["watch"],
        ["paint"],
        ["models", "--verbose"],
    ],
)
def test_a_wrong_command_exits_with_2(expound: Expound, arguments: list[str]) -> None:
    assert expound(*arguments) == 2


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.INVALID_FIELD, 2),
        (Reason.MODEL_NOT_FOUND, 2),
        (Reason.METHOD_NOT_IMPLEMENTED, 2),
        (Reason.METHOD_UNSUPPORTED, 2),
        (Reason.REQUEST_ID_REUSED, 2),
        (Reason.UNAUTHENTICATED, 2),
        (Reason.QUOTA_EXCEEDED, 1),
        (Reason.DEADLINE_EXCEEDED, 3),
        (Reason.INTERNAL, 1),
    ],
)
def test_a_refusal_is_told_with_its_exit_code(
    expound: Expound,
    service: FakeService,
    capsys: pytest.CaptureFixture[str],
    reason: Reason,
    code: int,
) -> None:
    service.refusals["Explain"] = [status(reason, "this is why")]
    assert expound("explain", "photo.png", "-m", "lime", "--model", "small") == code
    assert capsys.readouterr().err == "Error: this is why\n"


def test_no_server_exits_with_3(expound: Expound, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert expound("models", "--server", address) == 3
    told = capsys.readouterr().err
    assert told.startswith(f"Error: no server could be reached at {address}: ")
    assert "`expound up`" in told and "--server" in told


def test_a_server_that_says_it_is_unavailable_is_told_apart_from_none(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.refusals["ListModels"] = [status(Reason.REDIS_UNAVAILABLE, "no Redis")] * 10
    assert expound("models") == 3
    assert capsys.readouterr().err == "Error: no Redis\n"


def test_a_failed_method_exits_with_1_and_keeps_the_others(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    service.fails = True
    assert expound("explain", "photo.png", "-m", "saliency", "-m", "lime", "--out", "made") == 1
    printed = capsys.readouterr()
    assert "lime failed: only 1 segment was found" in printed.err
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert made == {"photo_saliency_tabby.png", "grid.png", "report.html"}


def test_an_error_before_the_predictions_is_told_though_there_are_true_labels(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    service.predicts = False
    explain = ("explain", "photo.png", "-m", "saliency", "--out", "made")
    assert expound(*explain, "--true-label", "lynx") == 1
    assert "saliency failed: only 1 segment was found" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"grid.png", "report.html"}


def test_errors_are_told_before_anything_is_written(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    service.fails = True
    (tmp_path / "made").write_text("no folder")
    assert expound("explain", "photo.png", "-m", "lime", "--out", "made/inner") == 2
    assert "lime failed: only 1 segment was found" in capsys.readouterr().err


def test_a_bad_image_is_told_with_its_file(
    expound: Expound,
    service: FakeService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    violations = [("inputs[1].image", "is no image")]
    refusal = status(Reason.INVALID_FIELD, "1 field is wrong", violations=violations)
    service.refusals["Explain"] = [refusal]
    Path("other.png").write_bytes(canned.png())
    explain = ("explain", "photo.png", "other.png", "-m", "lime", "--model", "small")
    assert expound(*explain) == 2
    told = "inputs[1].image (other.png): is no image"
    assert told in capsys.readouterr().err
    service.fails = True
    failure = status(Reason.INVALID_IMAGE, "inputs[1].image: is no image")
    monkeypatch.setattr(canned, "FAILURE", failure)
    assert expound(*explain) == 1
    assert f"lime failed: {told}\n" in capsys.readouterr().err


def test_ctrl_c_is_noticed_by_a_loop_that_its_signal_does_not_wake() -> None:
    script = """
import asyncio, signal, threading
from expound_client.cli.interrupts import run

async def wait() -> None:
    # As where it comes just before the main thread waits: that has no part in it.
    threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)).start()
    await asyncio.Event().wait()

try:
    run(wait())
except KeyboardInterrupt:
    print("noticed")
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=30, capture_output=True)
    assert ended.stdout == b"noticed\n"


def test_ctrl_c_cancels_the_explanation_and_exits_with_130(
    expound: Expound, service: FakeService, tmp_path: Path
) -> None:
    service.held.clear()
    command = [sys.executable, "-m", "expound_client.cli"]
    with subprocess.Popen(
        [*command, "explain", "photo.png", "-m", "lime"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert service.watching.wait(30)
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            pytest.fail(f"it hangs here: {process.communicate()[1]}")
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Interrupted." in printed
    assert "Traceback" not in printed
    assert len(service.requests["CancelExplanation"]) == 1


def test_watch_shows_an_explanation_to_its_end(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expound("explain", "photo.png", "-m", "lime") == 0
    capsys.readouterr()
    assert expound("watch", canned.NAME) == 0
    assert capsys.readouterr().out == f"{canned.NAME} succeeded\n"
    service.fails = True
    assert expound("watch", canned.NAME) == 1
    assert expound("watch", "explanations/none") == 2


def test_models_gives_names_in_full_in_a_narrow_terminal(
    expound: Expound,
    service: FakeService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    service.card.name = "models/a_model_with_a_name_of_42_characters_in_all"
    service.card.version = "2026-03-release-candidate-4"
    assert expound("models") == 0
    assert "a_model_with_a_name_of_42_characters_in_all" in capsys.readouterr().out


def test_models_lists_them(expound: Expound, capsys: pytest.CaptureFixture[str]) -> None:
    assert expound("models") == 0
    assert "3x8x8" in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 140])
def test_models_shows_one_in_full(
    expound: Expound,
    service: FakeService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    service.card.labels[:] = [f"kind {number} of cat" for number in range(1000)]
    service.card.layers[0].default = True
    assert expound("models", "small") == 0
    printed = capsys.readouterr().out
    lines = [line.strip() for line in printed.splitlines()]
    assert max(map(len, printed.splitlines())) <= width
    assert f"digest         {'ab' * 32}" in lines
    assert "preprocessing  in words" in lines
    assert any(line.split() == ["conv", "Conv2d", "4x4x4", "default"] for line in lines)
    assert "not exact" in printed
    for number in (0, 7, 999):
        assert re.search(rf"(^| ){number} kind {number} of cat( |$)", printed, re.MULTILINE)
    assert len(lines) < 1000


def test_models_tells_of_one_without_labels(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.card.ClearField("labels")
    assert expound("models", "small") == 0
    assert "It has no labels." in capsys.readouterr().out


def test_models_that_are_not_served_are_told(
    expound: Expound, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expound("models", "none") == 2
    assert "no live worker serves models/none" in capsys.readouterr().err


def test_methods_tells_every_method_and_range(
    expound: Expound, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expound("methods") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in parameters.method_names())
    assert "n_steps=50 (from 2 to" in printed
    assert not service.requests


def test_methods_of_a_model_tells_what_each_can_do_on_it(
    expound: Expound, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expound("methods", "--model", "small") == 0
    lines = capsys.readouterr().out.splitlines()
    told = {
        line.split()[1]: [part.strip() for part in line.strip("│").split("│")[1:]]
        for line in lines
        if line.startswith("│")
    }
    assert told["saliency"] == ["supported", "", ""]
    assert told["deep_lift"] == ["approximate", "0.012", "1"]
    assert told["grad_cam"] == told["layer_cam"] == ["unsupported", "", "2"]
    assert told["lrp"] == ["not known yet", "", ""]
    assert told["rise"][0] == "not implemented yet"
    assert max(map(len, lines)) <= 80
    assert [line.rstrip() for line in lines[-2:]] == [
        "1 not exact",
        "2 no layer with a spatial output, (N, channels, h, w); use kernel_shap instead",
    ]


@pytest.mark.parametrize(
    ("command", "module"),
    [("up", "expound_deploy"), ("server", "expound_server"), ("worker", "expound_worker")],
)
def test_a_part_is_started_in_place_with_all_its_arguments(
    monkeypatch: pytest.MonkeyPatch, command: str, module: str
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: started.append(arguments))
    run([command, "--help", "--port", "0", "-v", "x"])
    assert started == [[sys.executable, "-m", module, "--help", "--port", "0", "-v", "x"]]


def test_a_part_that_is_not_installed_says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda name: None if name == "torch" else object())
    assert run(["worker"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "needs torch" in printed
    assert "pip install 'expound[worker]'" in printed


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == run(["explain", "-h"]) == run(["--version"]) == 0
    assert "Explain what a model sees" in capsys.readouterr().out
