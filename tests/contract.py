"""The implementations that the contract tests run on: ours, and Detectron2's where it is installed."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest

INSTALLED = importlib.util.find_spec("detectron2") is not None


def implementation(name: str) -> Any:
    """Returns the eight names of one implementation, with catalogs that no other test writes to."""
    if name == "builtin":
        from clipmask.builtin import backbone, catalog, evaluation

        return SimpleNamespace(
            Registry=type(backbone.META_ARCH_REGISTRY),
            META_ARCH_REGISTRY=backbone.META_ARCH_REGISTRY,
            BACKBONE_REGISTRY=backbone.BACKBONE_REGISTRY,
            Backbone=backbone.Backbone,
            ShapeSpec=backbone.ShapeSpec,
            DatasetCatalog=catalog.DatasetCatalog,
            MetadataCatalog=catalog.MetadataCatalog,
            DatasetEvaluator=evaluation.DatasetEvaluator,
            SemSegEvaluator=evaluation.SemSegEvaluator,
        )
    from detectron2 import data, evaluation, layers, modeling

    return SimpleNamespace(
        Registry=type(modeling.META_ARCH_REGISTRY),
        META_ARCH_REGISTRY=modeling.META_ARCH_REGISTRY,
        BACKBONE_REGISTRY=modeling.BACKBONE_REGISTRY,
        Backbone=modeling.Backbone,
        ShapeSpec=layers.ShapeSpec,
        DatasetCatalog=data.DatasetCatalog,
        MetadataCatalog=data.MetadataCatalog,
        DatasetEvaluator=evaluation.DatasetEvaluator,
        SemSegEvaluator=evaluation.SemSegEvaluator,
    )


both = pytest.mark.parametrize(
    "d2",
    [
        "builtin",
        pytest.param("detectron2", marks=pytest.mark.skipif(not INSTALLED, reason="Detectron2 is not installed")),
    ],
    indirect=True,
)
