"""Settings of a worker: command line first, then environment, then default."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from expound import tasks
from expound.redis_address import RedisAddress

DEFAULT_MODELS = Path(__file__).parent / "models" / "models.toml"
KINDS = (tasks.GRADIENT, tasks.PERTURBATION)


def _setting(
    default: str | float | tuple[str, ...], variable: str, description: str, *, shown: bool = True
) -> Any:
    metadata = {"variable": variable, "description": description}
    return field(default=default, metadata=metadata, repr=shown)


@dataclass(frozen=True)
class Settings:
    """Settings of one worker.

    Raises:
        ValueError: a setting is not what it should be.
    """

    redis_url: str = _setting(
        "redis://127.0.0.1:6379/0", "EXPOUND_REDIS_URL", "Redis of records and queues", shown=False
    )
    models: str = _setting(str(DEFAULT_MODELS), "EXPOUND_MODELS", "path of models.toml")
    pool: str = _setting(
        tasks.DEFAULT_POOL, "EXPOUND_POOL", "pool whose models it serves and whose work it takes"
    )
    kinds: tuple[str, ...] = _setting(KINDS, "EXPOUND_KINDS", "kinds of work it takes")
    heartbeat_file: str = _setting(
        "", "EXPOUND_HEARTBEAT_FILE", "file that it touches every 2 s while it lives"
    )
    # Longer than Redis, when it is away, can keep a step that tells it something.
    hung_after_s: float = _setting(
        180.0,
        "EXPOUND_HUNG_AFTER_S",
        "after how long at one step, a batch of gradients or a forward pass, the device counts as "
        "hung; the worker does not tell that it lives until the step has ended",
    )
    max_step_s: float = _setting(
        600.0,
        "EXPOUND_MAX_STEP_S",
        "for how long the device may be at one step; then the process begins anew",
    )

    def __post_init__(self) -> None:
        RedisAddress.parse(self.redis_url)
        if not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds of work are {_text(KINDS)}, not {_text(self.kinds)!r}")

    def to_environment(self) -> dict[str, str]:
        """The variables from which `read_settings` makes the same settings."""
        return {
            setting.metadata["variable"]: _text(getattr(self, setting.name))
            for setting in fields(self)
        }

    def queues(self) -> list[str]:
        """Queues it takes work from, the more urgent first."""
        return [tasks.queue(kind, self.pool) for kind in KINDS if kind in self.kinds]


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Reads the settings; what is empty is not given. Raises ValueError as `Settings` does."""
    parser = argparse.ArgumentParser(prog="expound worker", description="Runs an Expound worker.")
    for setting in fields(Settings):
        variable, description = setting.metadata["variable"], setting.metadata["description"]
        parser.add_argument(
            _option(setting),
            default=environment.get(variable),
            help=f"{description} ({variable}; default {_text(setting.default) or 'none'})",
        )
    given = vars(parser.parse_args(arguments))
    return Settings(
        **{
            setting.name: _read(setting, given[setting.name])
            for setting in fields(Settings)
            if given[setting.name]
        }
    )


def _option(setting: Field[Any]) -> str:
    return f"--{setting.name.replace('_', '-')}"


def _read(setting: Field[Any], text: str) -> Any:
    # Every setting is of the type of its default.
    if isinstance(setting.default, tuple):
        return tuple(text.split(","))
    if not isinstance(setting.default, float):
        return text
    try:
        return float(text)
    except ValueError:
        name = f"{_option(setting)} ({setting.metadata['variable']})"
        raise ValueError(f"{name} must be a number, not {text!r}") from None


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
