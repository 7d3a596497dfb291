"""Answers of methods to `Attribution` messages."""

import numpy as np
from numpy.typing import NDArray

from expound.pictures import from_picture, to_picture
from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2, tensor_pb2
from expound_worker.images import doubts
from expound_worker.methods.method import Answer, MethodError
from expound_worker.models.preprocessing import Preprocessing

_PROOFS = (
    "output", "baseline_output", "convergence_delta", "completeness_error", "standard_error",
    "weights", "standard_errors", "intercept", "r_squared",
)  # fmt: skip
MAX_RESULT_BYTES = 2**28
"""Of one method. Redis takes no value of twice as much, and drops the connection that sends one."""
_COARSE = 0.05
"""Error of rounding, as a share of the range of a map, above which the map has a warning."""


class Attributions:
    """Those of one method of an explanation, packed as its caller wants them.

    Attributes:
        result: the method's result, which holds them.
    """

    def __init__(
        self, request: explanation_pb2.ExplainRequest, preprocessing: Preprocessing
    ) -> None:
        """Begins without any; the preprocessing is that of the model."""
        self.result = explanation_pb2.MethodResult()
        self._output = request.output
        self._doubts = [
            doubts(source, index, preprocessing) for index, source in enumerate(request.inputs)
        ]
        self._bytes = 0

    def add(self, answer: Answer, input_index: int, target: explanation_pb2.ClassScore) -> None:
        """Adds an answer. Raises MethodError as `to_attribution`, or for more than can be kept."""
        attribution = to_attribution(answer, input_index, target, self._output)
        attribution.warnings.extend(self._doubts[input_index])
        self._bytes += attribution.ByteSize()
        if self._bytes > MAX_RESULT_BYTES:
            raise MethodError(
                Reason.MESSAGE_TOO_LARGE,
                f"the maps of the method take more than the {MAX_RESULT_BYTES} bytes that are kept "
                "of one; ask for fewer inputs or targets, or for FLOAT16 or PNG",
            )
        self.result.attributions.append(attribution)


def to_attribution(
    answer: Answer,
    input_index: int,
    target: explanation_pb2.ClassScore,
    output: explanation_pb2.OutputOptions,
) -> explanation_pb2.Attribution:
    """Packs an answer as the caller wants it.

    Raises:
        MethodError: the map, as the caller wants it, or a number that it is judged by, is NaN or
            infinity, and so is no explanation.
    """
    values = _as_wanted(answer.values, output)
    if not np.isfinite(values).all():
        raise MethodError(Reason.NOT_FINITE, "the attribution holds NaN or infinity")
    _check_proof(answer)
    attribution = _without_maps(answer, input_index, target)
    sent = _send(values, attribution, output)
    if answer.segments is not None:
        attribution.segments.CopyFrom(to_tensor(answer.segments))
    attribution.warnings.extend(_warnings(answer, values, sent))
    return attribution


def _warnings(answer: Answer, values: NDArray[np.float32], sent: NDArray[np.floating]) -> list[str]:
    """What the map as the caller wants it, before and after it is rounded, does not show."""
    if not answer.values.any():
        return [
            "the map is zero everywhere: this method finds nothing that speaks for or against the "
            "target"
        ]
    if not values.any():
        return [
            "the map is zero everywhere, for its channels cancel one another: ask for them with "
            "CHANNELS_KEEP, as a tensor"
        ]
    if np.ptp(values) == 0:
        return [
            "the map is the same everywhere: this method finds nothing that tells one part of the "
            "image from another"
        ]
    if np.abs(sent - values).max() > _COARSE * np.ptp(values):
        return [
            "the map's values lie so close to zero or to one another that little of them is left "
            "as they are sent: ask for FLOAT32 values"
        ]
    return []


def _check_proof(answer: Answer) -> None:
    """Raises MethodError when a number beside the map is NaN or infinity."""
    for name in _PROOFS:
        value = getattr(answer, name)
        if value is not None and not np.isfinite(value).all():
            raise MethodError(
                Reason.NOT_FINITE,
                f"its {name} is NaN or infinity: the model gives such scores between the baseline "
                "and the image; choose another baseline, or a method without one",
            )


def to_partial(
    answer: Answer, input_index: int, target: explanation_pb2.ClassScore, with_segments: bool
) -> explanation_pb2.Attribution:
    """Packs an estimate that is still under way: weights, and segments the first time."""
    attribution = _without_maps(answer, input_index, target)
    if with_segments and answer.segments is not None:
        attribution.segments.CopyFrom(to_tensor(answer.segments))
    return attribution


def _without_maps(
    answer: Answer, input_index: int, target: explanation_pb2.ClassScore
) -> explanation_pb2.Attribution:
    attribution = explanation_pb2.Attribution(
        input_index=input_index,
        target=target,
        layer=answer.layer,
        layer_reason=answer.layer_reason,
        convergence_delta=answer.convergence_delta,
        completeness_error=answer.completeness_error,
        n_steps=answer.n_steps,
        standard_error=answer.standard_error,
        evaluations=answer.evaluations,
        output=answer.output,
        baseline_output=answer.baseline_output,
        score=answer.score,
        intercept=answer.intercept,
        r_squared=answer.r_squared,
        warnings=answer.warnings,
    )
    if answer.weights is not None:
        attribution.weights.CopyFrom(to_tensor(answer.weights))
    if answer.standard_errors is not None:
        attribution.standard_errors.CopyFrom(to_tensor(answer.standard_errors))
        attribution.standard_error = float(answer.standard_errors.max())
    return attribution


def _as_wanted(
    values: NDArray[np.float32], output: explanation_pb2.OutputOptions
) -> NDArray[np.float32]:
    summed_channels = output.channels == explanation_pb2.OutputOptions.CHANNELS_SUM
    if values.ndim == 2 or not (summed_channels or _is_picture(output)):
        return values
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for it
        summed: NDArray[np.float32] = values.sum(axis=0)
    return summed


def _is_picture(output: explanation_pb2.OutputOptions) -> bool:
    return output.encoding == explanation_pb2.OutputOptions.ENCODING_PNG


def _send(
    values: NDArray[np.float32],
    attribution: explanation_pb2.Attribution,
    output: explanation_pb2.OutputOptions,
) -> NDArray[np.floating]:
    """Packs the map, and gives it as its reader will have it. Raises MethodError as `_rounded`."""
    if _is_picture(output):
        attribution.picture, attribution.picture_scale = to_picture(values)
        return from_picture(attribution.picture, attribution.picture_scale)
    sent = _rounded(values, output)
    attribution.values.CopyFrom(to_tensor(sent))
    return sent


def _rounded(
    values: NDArray[np.float32], output: explanation_pb2.OutputOptions
) -> NDArray[np.floating]:
    """Raises MethodError where they are too large for their element type."""
    if output.values_dtype != tensor_pb2.DATA_TYPE_FLOAT16:
        return values
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise MethodError(
            Reason.NOT_FINITE,
            f"the attribution reaches {np.abs(values).max():.3g}, which FLOAT16 does not hold: "
            "ask for FLOAT32",
        )
    return rounded
