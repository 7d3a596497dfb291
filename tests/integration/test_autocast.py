"""A model with autocast: gradients and the scores beside their maps are float32 all the same."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from expound_client import Client
from expound_client import methods as m
from tests import photos
from tests.service import MODELS, Service

_ENTRY = """
[models.{name}]
builder = "networks:handwritten"
seed = 2
input = {{ shape = [3, 32, 32], mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }}
"""
_METHODS = [
    m.IntegratedGradients(n_steps=8),
    m.GradientShap(n_samples=8),
    m.DeepLift(),
    m.DeepShap(),
    m.LayerConductance(n_steps=8),
]


def test_gradient_methods_explain_the_float32_scores(tmp_path: Path) -> None:
    shutil.copy(MODELS.parent / "networks.py", tmp_path)
    models = tmp_path / "models.toml"
    fast = _ENTRY.format(name="fast") + 'autocast = "bfloat16"\n'
    models.write_text(_ENTRY.format(name="exact") + fast)
    with Service(models) as service, Client(service.address) as client:
        exact, found = (
            client.explain(photos.chelsea(), model=name, methods=_METHODS, target=3).result(120)
            for name in ("exact", "fast")
        )
    for name in (method.name for method in _METHODS):
        one, other = exact[name], found[name]
        assert np.allclose(other.values, one.values, rtol=1e-4, atol=1e-5), name
        assert other.output == pytest.approx(one.output, rel=1e-5), name
        assert other.warnings == one.warnings, name
