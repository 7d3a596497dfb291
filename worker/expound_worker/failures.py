"""Exceptions to the errors that callers are told."""

import logging
import secrets

import torch
from google.rpc import status_pb2

from expound.reasons import Reason, status
from expound.v1 import explanation_pb2
from expound_worker.images import InputError
from expound_worker.methods.method import MethodError
from expound_worker.models.output import OutputError
from expound_worker.process.accelerator import end_if_lost

logger = logging.getLogger(__name__)


def method_path(request: explanation_pb2.ExplainRequest, index: int) -> str:
    """Path of a method's message in its request: "methods[2].lime"."""
    return f"methods[{index}].{request.methods[index].WhichOneof('method')}"


def describe(error: Exception, path: str = "") -> status_pb2.Status:
    """The status of an exception; one that nobody foresaw gets an id, and goes to the log.

    An error that means that the device is lost ends the process.

    Args:
        error: the exception.
        path: `method_path` of the method that failed, to which the fields that it names belong.
    """
    end_if_lost(error)
    if isinstance(error, MethodError):
        field = error.metadata.get("field")
        if field and path and not isinstance(error, InputError):
            field = f"{path}.{field}"
        violations = [(field, error.message)] if field else None
        return status(error.reason, error.message, metadata=error.metadata, violations=violations)
    if isinstance(error, torch.OutOfMemoryError):
        return status(
            Reason.OUT_OF_MEMORY,
            "the device has not enough memory for this; ask for fewer samples or inputs",
        )
    if isinstance(error, OutputError):
        return status(Reason.MODEL_ERROR, str(error))
    incident = secrets.token_hex(8)
    logger.error("error %s", incident, exc_info=error)
    return status(
        Reason.MODEL_ERROR,
        f"the method failed on this model with {type(error).__name__}; error {incident} in the "
        "worker's log says more",
        metadata={"incident": incident},
    )
