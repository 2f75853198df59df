"""A predictor of a small model with drawn weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.inference import Predictor


@pytest.fixture
def predictor(checkpoint: Path) -> Predictor:
    return Predictor.from_checkpoint(checkpoint)
