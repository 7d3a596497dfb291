"""What the model says of each input, and which of its classes are to be explained."""

from collections.abc import Sequence

import torch
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import explanation_pb2
from expound_worker.methods.method import MethodError
from expound_worker.models.model import Model

TOP_CLASSES = 5


def predict(
    model: Model, logits: Tensor, target: explanation_pb2.Target
) -> list[explanation_pb2.Prediction]:
    """Gives each input's most probable classes, the explained ones among them.

    Args:
        model: the model.
        logits: (N, classes), what the model gives for the inputs.
        target: which classes will be explained.

    Returns:
        N predictions, classes by falling probability.

    Raises:
        MethodError: the model gave NaN or infinity, or the target is not one of its classes.
    """
    scores = logits.double().cpu()
    if not bool(torch.isfinite(scores).all()):
        raise MethodError(Reason.NOT_FINITE, f"model {model.name} gave NaN or infinity")
    probabilities = scores.softmax(dim=1)
    count = min(model.class_count, max(TOP_CLASSES, target.top_k))
    wanted = set() if target.WhichOneof("target") == "top_k" else {class_index(model, target)}
    all_best = torch.topk(probabilities, count).indices.tolist()
    predictions = []
    for row, chances, best in zip(scores.numpy(), probabilities.numpy(), all_best, strict=True):
        classes = best + sorted(wanted - set(best))
        predictions.append(
            explanation_pb2.Prediction(
                classes=[
                    explanation_pb2.ClassScore(
                        index=index,
                        label=model.label(index),
                        probability=float(chances[index]),
                        logit=float(row[index]),
                    )
                    for index in classes
                ]
            )
        )
    return predictions


def explained(
    model: Model,
    predictions: Sequence[explanation_pb2.Prediction],
    target: explanation_pb2.Target,
) -> list[list[explanation_pb2.ClassScore]]:
    """The classes to explain, for each input, best first. Raises MethodError as `predict` does."""
    if target.WhichOneof("target") == "top_k":
        return [list(prediction.classes[: target.top_k]) for prediction in predictions]
    index = class_index(model, target)
    return [
        [score for score in prediction.classes if score.index == index]
        for prediction in predictions
    ]


def class_index(model: Model, target: explanation_pb2.Target) -> int:
    """Index of a target given by index or label. Raises MethodError when there is no such class.

    The server has checked it against the model's card; the card may have changed since.
    """
    if target.WhichOneof("target") == "class_index":
        index = target.class_index
        if index < model.class_count:
            return index
    elif target.label in model.labels:
        return model.labels.index(target.label)
    name = target.WhichOneof("target")
    raise MethodError(Reason.INVALID_FIELD, f"target.{name}: model {model.name} has no such class")
