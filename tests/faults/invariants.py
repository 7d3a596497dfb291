"""What must hold of every explanation, whatever has happened."""

import redis

from expound import records, tasks
from expound_client import Event, MethodStateChanged, StateChanged

_TERMINAL = {"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}


def check_events(events: list[Event]) -> None:
    """Raises AssertionError for a gap, a repeat, a second end or an attempt that goes back."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    states = [event.state.name for event in events if isinstance(event, StateChanged)]
    assert [state in _TERMINAL for state in states] == [False] * (len(states) - 1) + [True]
    assert events[-1] is [event for event in events if isinstance(event, StateChanged)][-1]
    changes = [event for event in events if isinstance(event, MethodStateChanged)]
    for key in {change.key for change in changes}:
        of_method = [change for change in changes if change.key == key]
        attempts = [change.attempt for change in of_method]
        assert attempts == sorted(attempts)
        ends = [change for change in of_method if change.state.name in _TERMINAL]
        assert ends == of_method[-1:]


def check_nothing_left(client: redis.Redis) -> None:
    """Raises AssertionError for a lease, a checkpoint, work that waits or counts as in flight."""
    left: list[bytes] = client.keys(f"{records.PREFIX}*")  # type: ignore[assignment]  # sync client
    waiting = ("leases", "jobs:", "ready:", "wake:", "open:")
    unended = [
        key
        for key in (name.decode().removeprefix(records.PREFIX) for name in left)
        if key.startswith(waiting) or ":checkpoint:" in key
    ]
    assert not unended, f"left in Redis: {unended}"
    for kind in (tasks.GRADIENT, tasks.PERTURBATION):
        assert client.llen(tasks.queue_key(tasks.queue(kind, tasks.DEFAULT_POOL))) == 0
