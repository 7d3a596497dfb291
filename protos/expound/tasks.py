"""Names of the Celery tasks and queues, and the broker settings that both ends need.

Tasks are sent by name, so that a server needs no worker code. Every message holds ids alone: the
record in Redis is the truth, the message is only a ticket.
"""

from typing import Any

from expound.redis_address import RedisAddress

EXPLAIN = "expound.explain"
"""Task `explain(explanation_id)`: predictions and gradient methods."""
PERTURB = "expound.perturb"
"""Task `perturb(explanation_id, method_index)`: one perturbation method."""

GRADIENT = "gradient"
"""Kind of work, and its queue's name, of `EXPLAIN`."""
PERTURBATION = "perturbation"
"""Kind of work, and its queue's name, of `PERTURB`."""

DEFAULT_POOL = "default"


def queue(kind: str, pool: str) -> str:
    """Name of the queue on which a pool's workers take a kind of work."""
    return kind if pool == DEFAULT_POOL else f"{kind}.{pool}"


_BROKER_PREFIX = "expound:celery:"


def queue_key(queue: str) -> str:
    """Key of the list in Redis where the tickets of a queue wait."""
    return f"{_BROKER_PREFIX}{queue}"


CELERY_SETTINGS: dict[str, Any] = {
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    # A publish whose reply is lost must not be repeated by the library: a ticket more is harmless,
    # but a retry loop inside a request is not.
    "task_publish_retry": False,
    "broker_connection_retry_on_startup": True,
    # None would give up after 100 tries; a worker must outlive any Redis outage.
    "broker_connection_max_retries": None,
    "broker_pool_acquire_timeout": 5,
    "broker_transport_options": {
        "global_keyprefix": _BROKER_PREFIX,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": False,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # Queues are asked in the order in which a worker names them: gradient work first.
        "queue_order_strategy": "priority",
    },
}
"""Celery settings on which server and worker agree; the rest is each one's own."""


def celery_settings(redis_url: str) -> dict[str, Any]:
    """`CELERY_SETTINGS`, for the Redis of a URL. Raises ValueError as `RedisAddress.parse` does."""
    settings = RedisAddress.parse(redis_url).celery_settings
    shared: dict[str, Any] = CELERY_SETTINGS["broker_transport_options"]
    options = {**shared, **settings["broker_transport_options"]}
    return {**CELERY_SETTINGS, **settings, "broker_transport_options": options}
