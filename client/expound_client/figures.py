"""The figures that stand beside a map, in words: its proof, its cost and its parameters."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from expound.v1 import method_pb2, tensor_pb2
from expound_client.attribution import Attribution
from expound_client.method import choices


def seconds(duration_s: float | None) -> str:
    """A duration; a dash for none."""
    if duration_s is None:
        return "-"
    return f"{duration_s * 1000:.0f} ms" if duration_s < 1 else f"{duration_s:.1f} s"


def figures(attribution: Attribution) -> list[tuple[str, str]]:
    """Names and values of all figures of a map, the proof first."""
    score = attribution.score.capitalize()
    listed: list[tuple[str, str]] = []
    if attribution.completeness_error is not None:
        listed.append(("Completeness error, relative", f"{attribution.completeness_error:.2g}"))
    if attribution.convergence_delta is not None:
        listed.append(("Convergence delta", f"{attribution.convergence_delta:+.2g}"))
    if attribution.standard_error is not None:
        listed.append(("Largest standard error", f"± {attribution.standard_error:.2g}"))
    if attribution.r_squared is not None:
        listed.append(("Fit of the surrogate (R²)", f"{attribution.r_squared:.3f}"))
    listed.append((score, f"{attribution.output:.4g}"))
    if attribution.baseline_output is not None:
        listed.append((f"{score} at the baseline", f"{attribution.baseline_output:.4g}"))
    if attribution.weights is not None:
        listed.append(("Segments", f"{len(attribution.weights):,}"))
    if attribution.layer:
        listed.append(("Layer", attribution.layer))
    if attribution.n_steps is not None:
        listed.append(("Steps on the path", f"{attribution.n_steps:,}"))
    listed.append(("Evaluations", f"{attribution.evaluations:,}"))
    return listed


def parameters(method: method_pb2.Method) -> list[tuple[str, str]]:
    """Names and values of the parameters that a method ran with: "segmentation.slic.n_segments"."""
    name = method.WhichOneof("method")
    return list(_parameters(getattr(method, name), "")) if name else []


def _parameters(message: Message, path: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        field_path = f"{path}{field.name}"
        items = enumerate(value) if field.is_repeated else [(None, value)]
        for index, item in items:
            item_path = field_path if index is None else f"{field_path}[{index}]"
            if field.enum_type is not None:
                names = {number: name for name, number in choices(field.enum_type).items()}
                yield item_path, names.get(item, str(item))
            elif isinstance(item, tensor_pb2.Tensor):
                kind = tensor_pb2.DataType.Name(item.dtype).removeprefix("DATA_TYPE_").lower()
                yield item_path, f"{kind} {tuple(item.shape)}"
            elif not isinstance(item, Message):
                yield item_path, _plain(item)
            elif item.ListFields():
                yield from _parameters(item, f"{item_path}.")
            else:
                yield path.rstrip(".") or item_path, field.name


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower()
