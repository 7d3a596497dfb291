"""Settings of a worker: command line first, then environment, then default."""

import os
import subprocess
import sys
from dataclasses import fields

import pytest

from expound import tasks
from expound_worker.settings import Settings, read_settings


def test_settings_come_from_options_then_environment_then_defaults() -> None:
    environment = {"EXPOUND_POOL": "small", "EXPOUND_MAX_STEP_S": "2.5", "EXPOUND_MODELS": ""}
    settings = read_settings(["--pool", "big", "--heartbeat-file", "/run/beat"], environment)
    assert settings == Settings(pool="big", max_step_s=2.5, heartbeat_file="/run/beat")


def test_a_child_process_reads_the_same_from_the_environment() -> None:
    told = Settings(redis_url="unix:///run/redis.sock", kinds=("gradient",), max_step_s=7.5)
    assert read_settings([], told.to_environment()) == told
    nothing = read_settings([], Settings().to_environment())
    assert nothing == Settings()
    assert nothing.heartbeat_file == ""


@pytest.mark.parametrize("kinds", ["gradient,perturbation", "perturbation,gradient"])
def test_kinds_are_taken_in_any_order_and_gradients_first(kinds: str) -> None:
    for settings in (
        read_settings(["--kinds", kinds], {}),
        read_settings([], {"EXPOUND_KINDS": kinds}),
    ):
        assert set(settings.kinds) == {tasks.GRADIENT, tasks.PERTURBATION}
        assert settings.queues() == ["gradient", "perturbation"]


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ([], {"EXPOUND_MAX_STEP_S": "soon"}, "EXPOUND_MAX_STEP_S) must be a number, not 'soon'"),
        (["--max-step-s", "soon"], {}, "--max-step-s (EXPOUND_MAX_STEP_S) must be a number"),
        ([], {"EXPOUND_KINDS": "lime"}, "kinds of work are gradient,perturbation, not 'lime'"),
        (["--kinds", "gradient,"], {}, "not 'gradient,'"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_one_line(
    options: list[str], environment: dict[str, str], said: str
) -> None:
    command = [sys.executable, "-m", "expound_worker", *options]
    told = {**os.environ, **environment}
    ended = subprocess.run(
        command, env=told, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert said in line


def test_help_names_options_variables_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"], {"EXPOUND_REDIS_URL": "redis://:secret@one"})
    told = capsys.readouterr().out
    for setting in fields(Settings):
        assert f"--{setting.name.replace('_', '-')} " in told
        assert setting.metadata["variable"] in told
    assert "default gradient,perturbation" in " ".join(told.split())
    assert "secret" not in told
