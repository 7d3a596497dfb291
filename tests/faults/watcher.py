"""Watches an explanation beside the test."""

import threading

from expound_client import Event, Explanation, MethodStateChanged


class Watcher(threading.Thread):
    """Collects the events of an explanation, from now on and to the end."""

    def __init__(self, explanation: Explanation) -> None:
        super().__init__(daemon=True)
        self.events: list[Event] = []
        self._explanation = explanation
        self.start()

    def run(self) -> None:
        """Watches to the end."""
        for event in self._explanation.watch():
            self.events.append(event)

    def attempts(self, key: str) -> list[tuple[str, int]]:
        """The states of a method with their attempts."""
        changes = [event for event in self.events if isinstance(event, MethodStateChanged)]
        return [(event.state.name, event.attempt) for event in changes if event.key == key]

    def has_seen(self, count: int) -> bool:
        """Whether it has seen so many events."""
        return len(self.events) >= count
