"""The implementations that the contract tests run on: ours, and Detectron2's where it is
installed.
"""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest

INSTALLED = importlib.util.find_spec("detectron2") is not None


NAMES = (
    "META_ARCH_REGISTRY",
    "BACKBONE_REGISTRY",
    "Backbone",
    "ShapeSpec",
    "DatasetCatalog",
    "MetadataCatalog",
    "DatasetEvaluator",
    "SemSegEvaluator",
)


def implementation(name: str) -> Any:
    """Returns the eight names of one implementation, and the class of its registries."""
    if name == "builtin":
        from clipmask.builtin import backbone, catalog, evaluation

        modules: list[Any] = [backbone, catalog, evaluation]
    else:
        from detectron2 import data, evaluation, layers, modeling

        modules = [data, evaluation, layers, modeling]
    found = {
        key: getattr(module, key) for module in modules for key in NAMES if hasattr(module, key)
    }
    assert set(found) == set(NAMES)
    return SimpleNamespace(Registry=type(found["META_ARCH_REGISTRY"]), **found)


needs_detectron2 = pytest.mark.skipif(not INSTALLED, reason="Detectron2 is not installed")
_sides = pytest.mark.parametrize(
    "d2", ["builtin", pytest.param("detectron2", marks=needs_detectron2)], indirect=True
)


def both(test: Any) -> Any:
    """Runs a contract test on each implementation; ``pytest -m contract`` runs these tests
    alone.
    """
    return pytest.mark.contract(_sides(test))
