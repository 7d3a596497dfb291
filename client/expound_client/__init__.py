"""Client SDK and command line of Expound.

from expound_client import Client, methods as m

with Client("localhost:50051") as client:
    explanation = client.explain("cat.jpg", model="efficientnet_lite0",
                                 methods=["saliency", m.Lime(n_samples=500)])
    result = explanation.result(timeout_s=120)
    result["lime"].overlay().save("lime.png")
"""

from expound_client import errors, methods, pictures
from expound_client.aio import AsyncClient, AsyncExplanation
from expound_client.attribution import Attribution, ClassScore, Score
from expound_client.client import Client
from expound_client.errors import ExpoundError
from expound_client.events import (
    Event,
    MethodProgressed,
    MethodStateChanged,
    PredictionsReady,
    StateChanged,
)
from expound_client.explanation import Explanation
from expound_client.inputs import ImageLike
from expound_client.models import Capability, Execution, Layer, Model, Preprocessing, Support
from expound_client.requests import MethodLike
from expound_client.results import (
    ExplanationResult,
    MethodResult,
    Prediction,
    Progress,
    Provenance,
    State,
)
from expound_client.targets import Target

__all__ = [
    "AsyncClient",
    "AsyncExplanation",
    "Attribution",
    "Capability",
    "ClassScore",
    "Client",
    "Event",
    "Execution",
    "Explanation",
    "ExplanationResult",
    "ExpoundError",
    "ImageLike",
    "Layer",
    "MethodLike",
    "MethodProgressed",
    "MethodResult",
    "MethodStateChanged",
    "Model",
    "Prediction",
    "PredictionsReady",
    "Preprocessing",
    "Progress",
    "Provenance",
    "Score",
    "State",
    "StateChanged",
    "Support",
    "Target",
    "errors",
    "methods",
    "pictures",
]
