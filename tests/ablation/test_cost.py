"""Costs: of the model that the config says, on an image of its dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from clipmask import build_model
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask_tools.ablation.cost import measure_cost
from tests.ablation.made import CLASSES, write_pictures


@pytest.fixture
def cfg(small_cfg: CfgNode, tmp_path: Path) -> Iterator[CfgNode]:
    """The small model and a dataset of 64x48 pictures."""
    write_pictures(tmp_path)
    record = {
        "file_name": str(tmp_path / "val/0.png"),
        "sem_seg_file_name": str(tmp_path / "val/0_labels.png"),
    }
    DatasetCatalog.register("cost_val", lambda: [record])
    MetadataCatalog.get("cost_val").set(stuff_classes=CLASSES, ignore_label=255)
    small_cfg.DATASETS.TEST = small_cfg.DATASETS.TRAIN = ("cost_val",)
    small_cfg.INPUT.MIN_SIZE_TEST = 0
    yield small_cfg
    DatasetCatalog.remove("cost_val")
    MetadataCatalog.remove("cost_val")


def test_parameters_are_those_of_the_model(cfg: CfgNode) -> None:
    cost = measure_cost(cfg)
    model = build_model(cfg)
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.size == (48, 64)
    cfg.MODEL.BACKBONE.FREEZE_AT = 2
    frozen = measure_cost(cfg)
    assert frozen.trainable < frozen.parameters
    assert cost.trainable == cost.parameters
    assert frozen.flops == cost.flops


def test_operations_grow_with_the_image_and_what_is_done_with_it(cfg: CfgNode) -> None:
    def flops(key: str = "", value: object = None) -> int:
        own = cfg.clone()
        if key:
            own.merge_from_list([key, value])
        return measure_cost(own).flops

    plain = flops()
    assert flops("INPUT.MIN_SIZE_TEST", 96) > 3 * plain
    assert flops("MODEL.CLIPMASK.INJECTION", "none") < plain
    assert flops("MODEL.CLIPMASK.MAX_IMAGE_KEYS", 4) < flops("MODEL.CLIPMASK.MAX_IMAGE_KEYS", 0)
    assert plain == flops()
