"""Where a watch stands, and whether one that broke is taken up again."""

from expound.v1 import explanation_pb2, explanation_service_pb2
from expound_client.events import Event, EventReader
from expound_client.requests import explanation_name, view
from expound_client.stream import Stream
from expound_client.time_limit import TimeLimit


class Watch(Stream):
    """A watch of one explanation, over as many streams as it takes.

    It asks for what comes behind the last event seen, so that nothing is missed or repeated.
    """

    def __init__(
        self,
        name: str,
        reader: EventReader,
        *,
        after_sequence: int,
        limit: TimeLimit,
        values: bool,
    ) -> None:
        super().__init__(explanation_name(name), limit)
        self._reader = reader
        self._sequence = after_sequence
        self._values = values

    def request(self) -> explanation_service_pb2.WatchExplanationRequest:
        """Asks for the next stream."""
        return explanation_service_pb2.WatchExplanationRequest(
            name=self.name, after_sequence=self._sequence, view=view(full=self._values)
        )

    def read(self, message: explanation_pb2.ExplanationEvent) -> Event | None:
        """Reads one event; None for one seen before, or of a kind that is not known."""
        self._retries.heard()
        if message.sequence <= self._sequence:
            return None
        self._sequence = message.sequence
        return self._reader.read(message)
