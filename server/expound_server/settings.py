"""Settings of the server: command line first, then environment, then default."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any


def _setting(default: str | int | float, variable: str, description: str) -> Any:
    return field(default=default, metadata={"variable": variable, "description": description})


@dataclass(frozen=True)
class Settings:
    """Settings of one server process."""

    redis_url: str = _setting(
        "redis://127.0.0.1:6379/0", "EXPOUND_REDIS_URL", "Redis of records and queues"
    )
    host: str = _setting("127.0.0.1", "EXPOUND_SERVER_HOST", "address to listen on")
    port: int = _setting(50051, "EXPOUND_SERVER_PORT", "port to listen on; 0 picks a free one")
    max_message_bytes: int = _setting(
        64 * 1024 * 1024, "EXPOUND_SERVER_MAX_MESSAGE_BYTES", "largest message, in and out"
    )
    grace_s: float = _setting(
        10.0, "EXPOUND_SERVER_GRACE_S", "how long calls may take to end after SIGTERM"
    )
    redis_connections: int = _setting(
        32, "EXPOUND_SERVER_REDIS_CONNECTIONS", "most connections to Redis at a time"
    )


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Reads the settings; a wrong one ends the process with a message and exit code 2."""
    parser = argparse.ArgumentParser(prog="expound_server", description="Expound's gRPC server.")
    for setting in fields(Settings):
        variable = setting.metadata["variable"]
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=type(setting.default),
            default=environment.get(variable, setting.default),
            help=f"{setting.metadata['description']} ({variable}; default {setting.default})",
        )
    return Settings(**vars(parser.parse_args(arguments)))
