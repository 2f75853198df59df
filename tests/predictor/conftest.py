"""A checkpoint of a small random model, as a training leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from tests.checkpoints import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path, small_cfg: CfgNode) -> Path:
    return write_checkpoint(tmp_path / "model.pth", small_cfg)
