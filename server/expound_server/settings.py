"""Settings of the server: command line first, then environment, then default."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any


class SettingsError(Exception):
    """The settings do not fit together, or a file that they name is wrong; says what to change."""


def _setting(
    default: str | int | float, variable: str, description: str, *, shown: bool = True
) -> Any:
    metadata = {"variable": variable, "description": description}
    return field(default=default, metadata=metadata, repr=shown)


@dataclass(frozen=True)
class Settings:
    """Settings of one server process."""

    redis_url: str = _setting(
        "redis://127.0.0.1:6379/0", "EXPOUND_REDIS_URL", "Redis of records and queues", shown=False
    )
    host: str = _setting("127.0.0.1", "EXPOUND_SERVER_HOST", "address to listen on")
    port: int = _setting(50051, "EXPOUND_SERVER_PORT", "port to listen on; 0 picks a free one")
    max_message_bytes: int = _setting(
        64 * 1024 * 1024, "EXPOUND_SERVER_MAX_MESSAGE_BYTES", "largest message, in and out"
    )
    max_concurrent_streams: int = _setting(
        1000,
        "EXPOUND_SERVER_MAX_CONCURRENT_STREAMS",
        "how many calls and watches may be open on one connection; more wait at the client",
    )
    grace_s: float = _setting(
        10.0,
        "EXPOUND_SERVER_GRACE_S",
        "how long calls may take to end after SIGTERM, and on a connection that is too old",
    )
    max_connection_age_s: float = _setting(
        600.0,
        "EXPOUND_SERVER_MAX_CONNECTION_AGE_S",
        "after how long clients are told to connect again, so that they find new servers",
    )
    redis_connections: int = _setting(
        32, "EXPOUND_SERVER_REDIS_CONNECTIONS", "most connections to Redis at a time"
    )
    health_port: int = _setting(
        0,
        "EXPOUND_SERVER_HEALTH_PORT",
        "port for health checks alone, without TLS and credentials; 0 for none",
    )
    tls_certificate: str = _setting(
        "", "EXPOUND_SERVER_TLS_CERTIFICATE", "PEM file of the certificate chain; enables TLS"
    )
    tls_key: str = _setting("", "EXPOUND_SERVER_TLS_KEY", "PEM file of its private key")
    tls_client_ca: str = _setting(
        "",
        "EXPOUND_SERVER_TLS_CLIENT_CA",
        "PEM file of the authorities whose client certificates are asked for (mutual TLS)",
    )
    tenants: str = _setting(
        "", "EXPOUND_SERVER_TENANTS", "tenants.toml: who may call, and how much"
    )
    max_waiting: int = _setting(
        10_000,
        "EXPOUND_SERVER_MAX_WAITING",
        "how much work may wait in a pool before new requests are refused",
    )
    max_reuse_age_s: float = _setting(
        3600.0,
        "EXPOUND_SERVER_MAX_REUSE_AGE_S",
        "how old an answer may be that is given again to the same question; 0 for never",
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
            help=f"{setting.metadata['description']} ({variable}; default {setting.default!r})",
        )
    return Settings(**vars(parser.parse_args(arguments)))
