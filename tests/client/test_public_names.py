"""What users may import, and nothing else."""

import expound_client
from expound import parameters
from expound_client import methods


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(expound_client.__all__) == expound_client.__all__
    assert expound_client.__all__ == [
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
    assert all(hasattr(expound_client, name) for name in expound_client.__all__)


def test_there_is_a_class_for_every_method_of_the_contract_in_its_order() -> None:
    assert list(methods.METHODS) == parameters.method_names()
