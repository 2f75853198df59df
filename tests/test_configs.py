"""Every config file builds its model; the leaves are small."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask import build_model, load_cfg
from clipmask.d2 import DatasetCatalog
from clipmask.engine.checkpoint import load_checkpoint
from tests.conftest import NAMES, ROOT

FILES = sorted((ROOT / "configs").rglob("*.yaml"))
RUNNABLE = [path for path in FILES if path.name != "base.yaml"]


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_builds(path: Path) -> None:
    cfg = load_cfg(path, ["MODEL.BACKBONE.WEIGHTS", "random", "MODEL.CLIP.EMBEDDINGS", "random"])
    if path.name != "custom.yaml":  # whose datasets --dataset names
        assert len(build_model(cfg).class_names) > 1
    assert set((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) <= set(DatasetCatalog.list())
    assert build_model(cfg, NAMES).class_names == NAMES


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_leaves_open_with_their_command(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    words = "--dataset my.yaml" if path.name == "custom.yaml" else f"--config-file {path.relative_to(ROOT)}"
    assert first == f"# python train_net.py {words}"


def test_custom_data_start_from_the_model_that_comes_along() -> None:
    """Its architecture is that of the file, so that nothing but T stays behind."""
    cfg = load_cfg(ROOT / "configs" / "custom.yaml", ["MODEL.CLIP.EMBEDDINGS", "random"])
    weights = load_checkpoint(cfg.MODEL.WEIGHTS)["model"]
    own = build_model(cfg, NAMES, text_width=512).state_dict()
    assert {name for name in own if name not in weights or weights[name].shape != own[name].shape} == {
        "text.embedding",
        "text.vocabulary",  # the model is older than that
    }
    assert weights.keys() <= own.keys()
