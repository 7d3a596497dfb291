"""Maps that an answer came without, since no message would hold them: they are streamed."""

from expound.v1 import explanation_pb2, explanation_service_pb2
from expound_client.stream import Stream
from expound_client.time_limit import TimeLimit


def without_maps(answer: explanation_pb2.Explanation) -> list[explanation_pb2.MethodResult]:
    """The results of an answer whose maps are not all there."""
    return [
        result
        for result in answer.results
        if not all(each.HasField("values") or each.picture for each in result.attributions)
    ]


class MapStream(Stream):
    """The attributions of one result of an answer, over as many streams as it takes.

    It asks for what comes behind the last one that came, so that none is missed or repeated.
    """

    def __init__(self, name: str, result: explanation_pb2.MethodResult, limit: TimeLimit) -> None:
        """Empties the result, into which the attributions are put again, with their maps."""
        super().__init__(name, limit)
        self._result = result
        del result.attributions[:]

    def request(self) -> explanation_service_pb2.StreamAttributionsRequest:
        """Asks for the next stream."""
        return explanation_service_pb2.StreamAttributionsRequest(
            name=self.name, key=self._result.key, skip=len(self._result.attributions)
        )

    def read(self, attribution: explanation_pb2.Attribution) -> None:
        """Puts the next attribution into the result."""
        self._retries.heard()
        self._result.attributions.append(attribution)
