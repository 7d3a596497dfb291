"""One map: which parts of one input speak for or against one target."""

import base64
import html
import io
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from expound.pictures import from_picture
from expound.tensors import from_tensor
from expound.v1 import explanation_pb2, tensor_pb2
from expound_client import pictures
from expound_client.errors import ExpoundError
from expound_client.images import SeenImage
from expound_client.inputs import ImageLike, to_input
from expound_client.pictures import Sign

_Element = TypeVar("_Element", bound=np.generic)


class Score(StrEnum):
    """Which score of the model is explained."""

    LOGIT = "LOGIT"
    """The raw output of the class (gradient methods)."""
    PROBABILITY = "PROBABILITY"
    """The softmax probability of the class (perturbation methods)."""


@dataclass(frozen=True)
class ClassScore:
    """One class and its score.

    Attributes:
        index: index of the class, from 0.
        label: its label; its index where the model has no labels.
        probability: softmax probability, 0 to 1.
        logit: raw output of the model for it.
    """

    index: int
    label: str
    probability: float
    logit: float

    @classmethod
    def from_proto(cls, message: explanation_pb2.ClassScore) -> Self:
        """Reads the message of the contract."""
        return cls(message.index, message.label, message.probability, message.logit)


@dataclass(frozen=True, eq=False)
class Attribution:
    """One map, with its proof.

    Attributes:
        key: key of the method in the request.
        method: name of the method.
        input_index: index of the input in the request, from 0.
        target: what is explained.
        score: which score of the target; the unit of all that follows.
        output: the score at the input.
        baseline_output: the score at the baseline; None for methods that have none.
        evaluations: forward passes of one image that it took.
        convergence_delta: ``sum(values) - (output - baseline_output)``; None for methods that do
            not promise completeness.
        completeness_error: size of `convergence_delta` relative to
            ``output - baseline_output``, what the values must sum to; of LRP, the relevance lost or
            gained on its way, relative to `output`. None for methods that do not promise
            completeness.
        n_steps: points on the path of path methods, as many as were needed; None for others.
        standard_error: largest of `standard_errors`; None for methods that have none.
        segments: (H, W) int32, segment of every pixel, from 0; None without segments.
        weights: (segments,) float64, weight of every segment; None without segments.
        standard_errors: (segments,) float64, standard error of every weight; None without.
        intercept: weight of the empty image in a fitted surrogate; None for other methods.
        r_squared: weighted R² of a fitted surrogate, at most 1; None for other methods.
        layer: layer of layer methods, by its name in the model card; empty for others.
        layer_reason: how that layer came to be chosen; empty for others.
        warnings: what a reader of the map should know.
        seen: the input as the network saw it.
    """

    key: str
    method: str
    input_index: int
    target: ClassScore
    score: Score
    output: float
    baseline_output: float | None
    evaluations: int
    convergence_delta: float | None
    completeness_error: float | None
    n_steps: int | None
    standard_error: float | None
    segments: NDArray[np.int32] | None = field(repr=False)
    weights: NDArray[np.float64] | None = field(repr=False)
    standard_errors: NDArray[np.float64] | None = field(repr=False)
    intercept: float | None
    r_squared: float | None
    layer: str
    layer_reason: str
    warnings: tuple[str, ...]
    _sent_values: NDArray[np.float32] | None = field(repr=False)
    seen: SeenImage = field(repr=False)

    @classmethod
    def from_proto(
        cls,
        message: explanation_pb2.Attribution,
        key: str,
        method: str,
        seen: SeenImage,
        segments: NDArray[np.int32] | None = None,
    ) -> Self:
        """Reads the message of the contract.

        Args:
            message: the message.
            key: key of its method.
            method: name of its method.
            seen: the input that it explains.
            segments: those sent before, for partial maps that do not repeat them.
        """
        return cls(
            key=key,
            method=method,
            input_index=message.input_index,
            target=ClassScore.from_proto(message.target),
            score=Score(explanation_pb2.Score.Name(message.score).removeprefix("SCORE_")),
            output=message.output,
            baseline_output=_optional(message, "baseline_output"),
            evaluations=message.evaluations,
            convergence_delta=_optional(message, "convergence_delta"),
            completeness_error=_optional(message, "completeness_error"),
            n_steps=message.n_steps if message.HasField("n_steps") else None,
            standard_error=_optional(message, "standard_error"),
            segments=_array(message.segments, np.int32)
            if message.HasField("segments")
            else segments,
            weights=_array(message.weights, np.float64),
            standard_errors=_array(message.standard_errors, np.float64),
            intercept=_optional(message, "intercept"),
            r_squared=_optional(message, "r_squared"),
            layer=message.layer,
            layer_reason=message.layer_reason,
            warnings=tuple(message.warnings),
            _sent_values=from_picture(message.picture, message.picture_scale)
            if message.picture
            else _array(message.values, np.float32),
            seen=seen,
        )

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """The map in model input space, float32, (C, H, W) or (H, W); positive speaks for.

        Raises:
            ExpoundError: the map was not sent: in events, results come without their maps.
        """
        if self._sent_values is not None:
            return self._sent_values
        if self.segments is None or self.weights is None:
            raise ExpoundError(
                f"the map of {self.key} was not sent with this event; result() has it"
            )
        return self.weights[self.segments].astype(np.float32)

    @cached_property
    def standard_error_map(self) -> NDArray[np.float32]:
        """Standard error of the segment of every pixel, float32, (H, W), in the score's unit.

        Raises:
            ExpoundError: the weights have no standard errors, or the segments were not sent.
        """
        _, errors, segments = self._weighted_segments()
        return errors[segments].astype(np.float32)

    def heatmap(
        self,
        *,
        sign: Sign = "all",
        outlier_perc: float = pictures.OUTLIER_PERC,
        colors: str | None = None,
        color_bar: bool = False,
    ) -> Image.Image:
        """Draws the map alone; see `pictures.heatmap`."""
        return pictures.heatmap(
            self.values, sign=sign, outlier_perc=outlier_perc, colors=colors, color_bar=color_bar
        )

    def overlay(
        self,
        image: ImageLike | None = None,
        *,
        sign: Sign = "all",
        outlier_perc: float = pictures.OUTLIER_PERC,
        opacity: float = pictures.OPACITY,
        even: bool = False,
        colors: str | None = None,
        color_bar: bool = False,
    ) -> Image.Image:
        """Draws the map over the part of the image that the network saw; see `pictures.overlay`.

        Args:
            image: the image, where it was not this client that sent it; it is resized and cropped
                as the model's card says. None: the image that was explained.
            sign: which values are drawn.
            outlier_perc: see `pictures.normalize`.
            opacity: how much of the image the strongest colour covers, 0 to 1.
            even: whether every colour covers as much.
            colors: see `pictures.heatmap`.
            color_bar: whether a colour bar stands below.

        Raises:
            ExpoundError: the image, or the model's preprocessing, is not known.
        """
        return pictures.overlay(
            self.values,
            self._image(image),
            sign=sign,
            outlier_perc=outlier_perc,
            opacity=opacity,
            even=even,
            colors=colors,
            color_bar=color_bar,
        )

    def masked(
        self,
        image: ImageLike | None = None,
        *,
        sign: Sign = "absolute",
        outlier_perc: float = pictures.OUTLIER_PERC,
    ) -> Image.Image:
        """Draws the image, dark where the map is weak; see `pictures.masked` and `overlay`."""
        return pictures.masked(
            self.values, self._image(image), sign=sign, outlier_perc=outlier_perc
        )

    def alpha_scaled(
        self,
        image: ImageLike | None = None,
        *,
        sign: Sign = "absolute",
        outlier_perc: float = pictures.OUTLIER_PERC,
    ) -> Image.Image:
        """Draws the image, transparent where the map is weak.

        See `pictures.alpha_scaled` and `overlay`.
        """
        return pictures.alpha_scaled(
            self.values, self._image(image), sign=sign, outlier_perc=outlier_perc
        )

    def error_bars(
        self, image: ImageLike | None = None, *, count: int = pictures.COUNT
    ) -> Image.Image:
        """Draws the largest weights with their 95 % intervals, beside the image of their segments.

        Where the image is not known, the segments are shown in the heat map. See
        `pictures.error_bars`. The partial maps of events can be drawn too, while they sharpen::

            for event in explanation.watch():
                for partial in getattr(event, "partials", ()):
                    if partial.standard_errors is not None:  # few evaluations do not tell them
                        partial.error_bars().save(f"{event.key}.png")

        Args:
            image: as for `overlay`.
            count: how many segments are drawn, those of largest absolute weight; from 1.

        Raises:
            InvalidArgumentError: `count` is below 1.
            ExpoundError: the weights have no standard errors, or the segments were not sent.
        """
        weights, errors, segments = self._weighted_segments()
        drawn_in = self.heatmap() if image is None and not self.seen.known else self._image(image)
        return pictures.error_bars(weights, errors, segments, drawn_in, count=count)

    def picture(self) -> Image.Image:
        """The overlay where the image is known, else the heat map."""
        return self.overlay() if self.seen.known else self.heatmap()

    def _weighted_segments(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
        """The weights, their standard errors and the segments; raises ExpoundError without them."""
        if self.weights is None:
            raise ExpoundError(
                f"{self.key} has no weights of segments: {self.method} gives none, or they were "
                "not sent with this event"
            )
        if self.standard_errors is None:
            raise ExpoundError(
                f"{self.key} has no standard errors of its weights: {self.method} gives none, or "
                "made too few evaluations to tell them"
            )
        if self.segments is None:
            raise ExpoundError(
                f"the segments of {self.key} were not sent with this event; result() has them"
            )
        return self.weights, self.standard_errors, self.segments

    def _image(self, given: ImageLike | None) -> Image.Image:
        seen = self.seen if given is None else SeenImage(to_input(given), self.seen.model)
        return seen.image

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.picture().save(buffer, format="PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        encoded = base64.b64encode(self._repr_png_()).decode()
        caption = f"{self.key}: {self.target.label} ({self.target.probability:.1%})"
        return (
            f'<figure style="display:inline-block;margin:4px">'
            f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )


def _optional(message: explanation_pb2.Attribution, name: str) -> float | None:
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]


def _array(tensor: tensor_pb2.Tensor, dtype: type[_Element]) -> NDArray[_Element] | None:
    """The elements of a tensor; None for an absent one."""
    return from_tensor(tensor).astype(dtype) if tensor.data else None
