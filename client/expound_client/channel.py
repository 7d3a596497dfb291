"""gRPC channels: keepalive, message limits, load balancing, credentials and retries."""

import json
from typing import Any

import grpc
from grpc import aio

MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024

# Explain is idempotent because the client always sends a request_id. Cancel and Delete are not:
# the second one of either is refused. Streams are taken up again by the client itself.
_RETRIED = (
    ("expound.v1.ExplanationService", "Explain"),
    ("expound.v1.ExplanationService", "GetExplanation"),
    ("expound.v1.ExplanationService", "ListExplanations"),
    ("expound.v1.ModelService", "ListModels"),
    ("expound.v1.ModelService", "GetModel"),
)
_TAKEN_UP = (
    ("expound.v1.ExplanationService", "WatchExplanation"),
    ("expound.v1.ExplanationService", "StreamAttributions"),
)


def _retrying(methods: tuple[tuple[str, str], ...], *codes: str) -> dict[str, Any]:
    return {
        "name": [{"service": service, "method": method} for service, method in methods],
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.2s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": codes,
        },
    }


# A call that reaches a server in the moment of its stop is CANCELLED by gRPC, before anybody has
# seen it. A call that its own caller cancels is not retried.
_SERVICE_CONFIG: dict[str, Any] = {
    # Where a name stands for several servers, calls are spread over them.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        _retrying(_RETRIED, "UNAVAILABLE", "CANCELLED"),
        _retrying(_TAKEN_UP, "CANCELLED"),
    ],
}

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    # A request larger than this buffer is not retried.
    ("grpc.per_rpc_retry_buffer_size", MESSAGE_LIMIT_BYTES),
    # Without the ping timeout, a dead server is noticed after more than a minute only.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own wait up to two minutes before they connect to a server again that was away.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A server limits the streams of a connection; clients of one process would share theirs.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
)


def open_channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """Opens a channel; without credentials it is not encrypted."""
    if credentials is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, credentials, options=OPTIONS)


def open_aio_channel(address: str, credentials: grpc.ChannelCredentials | None) -> aio.Channel:
    """Opens a channel for asyncio; without credentials it is not encrypted."""
    if credentials is None:
        return aio.insecure_channel(address, options=OPTIONS)
    return aio.secure_channel(address, credentials, options=OPTIONS)
