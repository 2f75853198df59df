"""Mask losses against PyTorch's own, against hand-computed values, and good against bad."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clipmask.config import get_cfg
from clipmask.losses.mask_losses import BinaryCrossEntropy, Dice, MaskLoss, configured_losses


def test_bce_is_pytorchs_where_everything_is_labelled() -> None:
    logits, coverage = torch.randn(2, 3, 4, 50), torch.rand(2, 1, 4, 50)
    expected = F.binary_cross_entropy_with_logits(
        logits, coverage.expand_as(logits), reduction="none"
    ).mean(-1)
    torch.testing.assert_close(
        BinaryCrossEntropy(1.0).paired(logits, coverage, torch.ones(2, 1, 1, 50)), expected
    )


def every_loss() -> list[MaskLoss]:
    cfg = get_cfg()
    cfg.MODEL.CLIPMASK.BCE_WEIGHT = cfg.MODEL.CLIPMASK.DICE_WEIGHT = 1.0
    return configured_losses(cfg)


@pytest.fixture(params=every_loss(), ids=lambda loss: loss.name)
def loss(request: pytest.FixtureRequest) -> MaskLoss:
    chosen: MaskLoss = request.param
    return chosen


def test_void_cells_change_nothing(loss: MaskLoss) -> None:
    logits, coverage, weight = (
        torch.randn(1, 1, 2, 30),
        torch.rand(1, 1, 2, 30),
        torch.rand(1, 1, 1, 30),
    )
    weight[..., 20:] = 0
    spoiled = logits.clone()
    spoiled[..., 20:] = 1e4
    torch.testing.assert_close(
        loss.paired(spoiled, coverage, weight), loss.paired(logits, coverage, weight)
    )


def test_losses_vanish_at_the_truth_and_fall_towards_it(loss: MaskLoss) -> None:
    coverage = (torch.rand(1, 1, 3, 400) > 0.5).float()
    weight = torch.ones(1, 1, 1, 400)
    truth = coverage * 2 - 1
    far, near, at = (loss.paired(scale * truth, coverage, weight) for scale in (-1.0, 1.0, 30.0))
    assert (far > near).all()
    assert (near > at).all()
    assert (at < 1e-3).all()


def test_dice_by_hand() -> None:
    # p = 1/2 on 4 cells, the class on 2 of them: 1 - (2 * 1 + 1) / (2 + 2 + 1)
    coverage = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 4)
    result = Dice(1.0).paired(torch.zeros(1, 1, 1, 4), coverage, torch.ones(1, 1, 1, 4))
    torch.testing.assert_close(result, torch.full((1, 1, 1), 0.4))


def test_products_equal_pairs(loss: MaskLoss) -> None:
    logits, coverage, weight = torch.randn(2, 5, 40), torch.rand(2, 3, 40), torch.rand(2, 1, 40)
    every = loss.pairwise(logits, coverage * weight, weight)
    for query in range(5):
        chosen = logits[:, None, query : query + 1].expand(-1, 1, 3, -1)
        paired = loss.paired(chosen, coverage[:, None], weight[:, None])[:, 0]
        torch.testing.assert_close(every[:, query], paired)


def test_an_image_without_labels_has_no_bce() -> None:
    result = BinaryCrossEntropy(1.0).paired(
        torch.randn(1, 1, 2, 9), torch.zeros(1, 1, 2, 9), torch.zeros(1, 1, 1, 9)
    )
    assert (result == 0).all()
