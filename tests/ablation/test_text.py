"""Controls of the text: no meaning left, the norms and rows of CLIP kept, a draw a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode

from clipmask.errors import UserError
from clipmask.text.sources import FileSource
from clipmask_tools.ablation.text import random_rows, shuffled_rows, write_control
from tests.terms import terms

NAMES = terms(["road", "sky", "tree", "car", "pole"])


def crowded() -> torch.Tensor:
    """Rows as CLIP's are: near one another."""
    torch.manual_seed(0)
    return F.normalize(0.9 * torch.randn(1, 512) + 0.4 * torch.randn(5, 512), dim=1)


def test_random_rows_keep_the_distances_from_the_centre_alone() -> None:
    T = crowded()
    rows = random_rows(T, NAMES, 0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(5))
    distances = (rows - T.mean(0)).norm(dim=1), (T - T.mean(0)).norm(dim=1)
    torch.testing.assert_close(*distances, rtol=0.15, atol=0)
    assert F.cosine_similarity(rows - T.mean(0), T - T.mean(0)).abs().max() < 0.3
    assert torch.equal(random_rows(T, NAMES, 0), rows)
    assert not torch.allclose(random_rows(T, NAMES, 1), rows)


def test_shuffled_rows_are_all_rows_and_none_at_its_place() -> None:
    T = crowded()
    for draw in range(5):
        rows = shuffled_rows(T, NAMES, draw)
        assert sorted(rows[:, 0].tolist()) == sorted(T[:, 0].tolist())
        assert not (rows == T).all(1).any()
    with pytest.raises(UserError, match="two names"):
        shuffled_rows(T[:1], NAMES[:1], 0)


def test_the_file_has_a_row_for_every_name_of_the_datasets(
    tmp_path: Path, small_cfg: CfgNode
) -> None:
    path = tmp_path / "deep" / "text.npz"
    write_control(path, small_cfg, ["toy_street_sem_seg_train", "camvid_sem_seg_val"], "random", 3)
    with np.load(path) as arrays:
        assert {"bicyclist", "road"} <= set(arrays["names"].tolist())
    assert FileSource(path).encode(terms(["road"])).shape == (1, 512)
