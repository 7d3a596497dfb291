"""From a request to what is stored and queued: checked, resolved and fingerprinted."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from expound import records
from expound.v1 import explanation_pb2, method_pb2
from expound_server import validation
from expound_server.catalogue import Catalogue
from expound_server.errors import InvalidRequest, ModelNotFound, NoWorker
from expound_server.evaluations import evaluations
from expound_server.quotas import check_evaluations
from expound_server.submission import Submission
from expound_server.tenants import Tenant

_Field = Literal["wait", "validate_only", "request_id", "methods", "timeout", "ttl"]
# How the call is made is no part of what it asks for.
_OF_THE_CALL: tuple[_Field, ...] = ("wait", "validate_only", "request_id")


async def prepare(
    request: explanation_pb2.ExplainRequest, tenant: Tenant, catalogue: Catalogue
) -> Submission:
    """Checks a request and fills in its defaults.

    Raises:
        InvalidRequest: with everything that is wrong with it.
        ModelNotFound: no live worker serves the model.
        NoWorker: no worker lives.
        MethodNotImplemented: the workers of the model lack a method.
        MethodUnsupported: a method cannot explain the model.
        QuotaExceeded: it takes more evaluations than the tenant's requests may.
    """
    request.DiscardUnknownFields()
    validation.resolve(request)
    violations = list(validation.violations(request))
    try:
        model = await catalogue.model(request.model)
    except (ModelNotFound, NoWorker):
        if violations:
            raise InvalidRequest(violations) from None
        raise
    if not violations:
        validation.check_methods(request.methods, model)
    violations += validation.model_violations(request, model)
    if violations:
        raise InvalidRequest(violations)
    planned = evaluations(request, model)
    check_evaluations(planned.total, tenant)
    inputs = [item.SerializeToString(deterministic=True) for item in request.inputs]
    request.ClearField("inputs")
    weights = records.weights(model.version, model.digest)
    return Submission(
        tenant=tenant,
        request=request,
        inputs=inputs,
        digest=_digest(request, inputs),
        model=model.name,
        pool=model.pool,
        group="" if request.deterministic else _group(request, model.name),
        questions=() if request.fresh else _questions(request, inputs, model.name, weights),
        weights=weights,
        lasting=max(planned.gradient, len(inputs)) > max(model.execution.chunk_size, 1),
    )


def _group(request: explanation_pb2.ExplainRequest, model: str) -> str:
    shared = explanation_pb2.ExplainRequest(
        model=model, methods=request.methods, seed=request.seed, output=request.output
    )
    return hashlib.sha256(shared.SerializeToString(deterministic=True)).hexdigest()


def _questions(
    request: explanation_pb2.ExplainRequest, inputs: Sequence[bytes], model: str, weights: str
) -> list[str]:
    """What each method asks, whatever it is called, and whatever is asked beside it."""
    same = _digest(request, inputs, ("methods", "timeout", "ttl"))
    salt = f"{same}\n{model}\n{weights}".encode()
    questions = []
    for method in request.methods:
        unnamed = method_pb2.Method()
        unnamed.CopyFrom(method)
        unnamed.ClearField("key")
        asked = unnamed.SerializeToString(deterministic=True)
        questions.append(hashlib.sha256(salt + asked).hexdigest())
    return questions


def _digest(
    request: explanation_pb2.ExplainRequest,
    inputs: Sequence[bytes],
    apart_from: Sequence[_Field] = (),
) -> str:
    asked = explanation_pb2.ExplainRequest()
    asked.CopyFrom(request)
    for field in (*_OF_THE_CALL, *apart_from):
        asked.ClearField(field)
    digest = hashlib.sha256(asked.SerializeToString(deterministic=True))
    for item in inputs:
        digest.update(hashlib.sha256(item).digest())
    return digest.hexdigest()
