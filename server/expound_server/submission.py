"""What a server stores and queues for one request."""

from collections.abc import Sequence
from dataclasses import dataclass

from expound.v1 import explanation_pb2
from expound_server.tenants import Tenant


@dataclass(frozen=True)
class Submission:
    """A resolved request, ready to be stored.

    Attributes:
        tenant: who asks.
        request: the request without its inputs.
        inputs: its inputs, serialised.
        digest: equal for requests that ask for the same.
        model: resource name of its model.
        pool: pool of the workers that serve it.
        group: equal for requests that a worker can run as one batch: the same model, methods,
            parameters and seed, whatever the inputs and targets; "" for one that runs alone.
        questions: what each method asks, equal for methods that one answer does for; none where
            the request wants its own.
        weights: what the model is made with, as `expound.records.weights` names it.
        lasting: whether its predictions and gradients take longer than a chunk of a job.
    """

    tenant: Tenant
    request: explanation_pb2.ExplainRequest
    inputs: Sequence[bytes]
    digest: str
    model: str
    pool: str
    group: str
    questions: Sequence[str]
    weights: str
    lasting: bool
