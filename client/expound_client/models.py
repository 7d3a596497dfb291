"""Cards of models: what their workers say of them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from expound.v1 import model_service_pb2


class Support(StrEnum):
    """How far a method can be trusted on a model."""

    UNSPECIFIED = "UNSPECIFIED"
    """It is not known: the worker has not probed the model yet, or could not."""
    SUPPORTED = "SUPPORTED"
    """It does what it promises."""
    APPROXIMATE = "APPROXIMATE"
    """It does so up to the error that is given."""
    UNSUPPORTED = "UNSUPPORTED"
    """It is refused, for the reason given."""


@dataclass(frozen=True)
class Layer:
    """A layer with a spatial output: dotted name, class and output (channels, height, width)."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    default: bool


@dataclass(frozen=True)
class Capability:
    """What a method can do on a model, as the worker's probe has found.

    Attributes:
        method: name of the method.
        support: how far it can be trusted.
        reason: why no further, and what to use instead; how the error was measured.
        error: its relative error in the probe: how far its values are from adding up; None for
            methods that promise no sum.
    """

    method: str
    support: Support
    reason: str
    error: float | None


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an upright RGB image before the network, in numbers.

    Attributes:
        resize: length in pixels to which the shorter side is brought before the centre is
            cropped; 0: the image is resized to the input's height and width.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean: subtracted from each channel, in units of [0, 1].
        std: by which each channel is then divided.
    """

    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Execution:
    """How a worker runs a model: measured when it was loaded, or asked for in its entry.

    Attributes:
        batch_size: images in one forward pass.
        chunk_size: images in one chunk of a perturbation job.
        memory_format: layout of the inputs of passes without gradients: "contiguous" or
            "channels_last".
        precision: element type that they compute at: "float32", "bfloat16" or "float16".
        compiled: whether `torch.compile` has made them.
        error: by how much their logits differed from the network's own, of the largest.
        threads: cores that compute, on the CPU.
    """

    batch_size: int
    chunk_size: int
    memory_format: str
    precision: str
    compiled: bool
    error: float
    threads: int


@dataclass(frozen=True)
class Model:
    """Card of a model.

    Attributes:
        name: its name, as `Client.explain` takes it.
        version: version of its entry.
        digest: SHA-256 of its weights, hexadecimal.
        pool: pool of the workers that serve it.
        input_shape: shape of one input (C, H, W).
        class_count: number of classes.
        labels: labels of the classes by index; empty where it has none, and in lists.
        layers: its layers with a spatial output, in the order in which they run; empty in lists.
        capabilities: what each method can do on it, by the method's name.
        preprocessing_description: what happens to an image before the network, in words.
        preprocessing: the same in numbers; None where the worker does not tell.
        device: device it runs on.
        dtype: element type of its weights.
        parameter_count: number of its parameters.
        execution: how its worker runs it; None where the worker does not tell.
    """

    name: str
    version: str
    digest: str
    pool: str
    input_shape: tuple[int, ...]
    class_count: int
    labels: tuple[str, ...] = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)
    capabilities: dict[str, Capability] = field(repr=False)
    preprocessing_description: str
    preprocessing: Preprocessing | None = field(repr=False)
    device: str
    dtype: str
    parameter_count: int
    execution: Execution | None = field(repr=False)

    @classmethod
    def from_proto(cls, card: model_service_pb2.Model) -> Self:
        """Reads the message of the contract."""
        return cls(
            name=card.name.removeprefix("models/"),
            version=card.version,
            digest=card.digest,
            pool=card.pool,
            input_shape=tuple(card.input_shape),
            class_count=card.class_count,
            labels=tuple(card.labels),
            layers=tuple(
                Layer(layer.name, layer.kind, tuple(layer.output_shape), layer.default)
                for layer in card.layers
            ),
            capabilities={each.method: _capability(each) for each in card.capabilities},
            preprocessing_description=card.preprocessing,
            preprocessing=_preprocessing(card),
            device=card.device,
            dtype=card.dtype,
            parameter_count=card.parameter_count,
            execution=_execution(card),
        )


def _capability(message: model_service_pb2.Capability) -> Capability:
    name = model_service_pb2.Capability.Support.Name(message.support)
    return Capability(
        method=message.method,
        support=Support(name.removeprefix("SUPPORT_")),
        reason=message.reason,
        error=message.error if message.HasField("error") else None,
    )


def _preprocessing(card: model_service_pb2.Model) -> Preprocessing | None:
    if not card.HasField("preprocessing_steps"):
        return None
    steps = card.preprocessing_steps
    return Preprocessing(steps.resize, steps.interpolation, tuple(steps.mean), tuple(steps.std))


def _execution(card: model_service_pb2.Model) -> Execution | None:
    if not card.HasField("execution"):
        return None
    run = card.execution
    return Execution(
        run.batch_size,
        run.chunk_size,
        run.memory_format,
        run.precision,
        run.compiled,
        run.error,
        run.threads,
    )
