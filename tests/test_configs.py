"""Every config file builds its model; the leaves are small."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask import build_model, load_cfg
from clipmask.d2 import DatasetCatalog
from tests.conftest import NAMES, ROOT

FILES = sorted((ROOT / "configs").rglob("*.yaml"))
RUNNABLE = [path for path in FILES if path.name != "base.yaml"]


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_builds(path: Path) -> None:
    cfg = load_cfg(path, ["MODEL.BACKBONE.WEIGHTS", "random", "MODEL.CLIP.EMBEDDINGS", "random"])
    model = build_model(cfg)
    assert len(model.class_names) > 1
    assert set((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) <= set(DatasetCatalog.list())
    assert build_model(cfg, NAMES).class_names == NAMES


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_leaves_open_with_their_command(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first == f"# python train_net.py --config-file {path.relative_to(ROOT)}"
