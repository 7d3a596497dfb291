"""shap's explainers, imported so that their first use does not take seconds.

shap has numba compile four small functions when a PartitionExplainer first runs, which takes far
longer than they ever would as they are. They are therefore left as plain Python. Where shap was
imported before this module they are compiled, and give the same numbers.
"""

import warnings
from typing import Any

import numba

_numba: Any = numba.config  # numba sets its attributes as it reads the environment
_disable_jit = _numba.DISABLE_JIT
_numba.DISABLE_JIT = True
try:
    with warnings.catch_warnings():
        # shap's plots, which nobody asked for, use matplotlib as it will not be for ever.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        from shap import KernelExplainer, PartitionExplainer
finally:
    _numba.DISABLE_JIT = _disable_jit

__all__ = ["KernelExplainer", "PartitionExplainer"]
