"""What every test starts from: a fixed seed, two threads, small models, and the real data where there is any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask import ClipMask, build_model, load_cfg

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("road", "sky", "tree", "car", "pole")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real pictures, embeddings and weights; CI and developers set CLIPMASK_TEST_DATA, users need not."""
    folder = os.environ.get("CLIPMASK_TEST_DATA")
    if not folder:
        pytest.skip("CLIPMASK_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture
def small_cfg() -> CfgNode:
    """The toy config, narrower still."""
    return load_cfg(
        ROOT / "configs" / "toy.yaml",
        ["MODEL.CLIPMASK.HIDDEN_DIM", "16", "MODEL.CLIPMASK.NUM_HEADS", "2", "MODEL.CLIPMASK.FFN_DIM", "32"]
        + ["MODEL.CLIPMASK.NUM_QUERIES", "8", "MODEL.CLIPMASK.DEC_LAYERS", "3"],
    )


@pytest.fixture
def small_model(small_cfg: CfgNode) -> ClipMask:
    """A model of a few thousand weights over five classes, in evaluation mode."""
    return build_model(small_cfg, NAMES).eval()


@pytest.fixture
def make_inputs() -> Callable[..., list[dict[str, Any]]]:
    """Makes inputs of given sizes with blocky random labels, some of them void (255)."""

    def make(*sizes: tuple[int, int], classes: int = len(NAMES), seed: int = 0) -> list[dict[str, Any]]:
        generator = torch.Generator().manual_seed(seed)
        inputs = []
        for height, width in sizes:
            coarse = torch.randint(0, classes + 1, (height // 16 + 1, width // 16 + 1), generator=generator)
            labels = coarse.repeat_interleave(16, 0).repeat_interleave(16, 1)[:height, :width]
            image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
            inputs.append({"image": image, "sem_seg": labels.masked_fill(labels == classes, 255).to(torch.uint8)})
        return inputs

    return make


@pytest.fixture
def d2(request: pytest.FixtureRequest) -> Any:
    """One implementation of the eight names, see tests/contract.py."""
    from tests.contract import implementation

    return implementation(request.param)
