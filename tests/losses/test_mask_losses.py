"""Mask losses against PyTorch's own, against hand-computed values, and good against bad."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from clipmask.losses.mask_losses import paired_bce, paired_dice, weighted_means


def test_bce_is_pytorchs_where_everything_is_labelled() -> None:
    logits, coverage = torch.randn(2, 3, 4, 50), torch.rand(2, 1, 4, 50)
    expected = F.binary_cross_entropy_with_logits(
        logits, coverage.expand_as(logits), reduction="none"
    ).mean(-1)
    torch.testing.assert_close(paired_bce(logits, coverage, torch.ones(2, 1, 1, 50)), expected)


def test_void_cells_change_nothing() -> None:
    logits, coverage, weight = (
        torch.randn(1, 1, 2, 30),
        torch.rand(1, 1, 2, 30),
        torch.rand(1, 1, 1, 30),
    )
    weight[..., 20:] = 0
    spoiled = logits.clone()
    spoiled[..., 20:] = 1e4
    for loss in (paired_bce, paired_dice):
        torch.testing.assert_close(loss(spoiled, coverage, weight), loss(logits, coverage, weight))


def test_losses_vanish_at_the_truth_and_fall_towards_it() -> None:
    coverage = (torch.rand(1, 1, 3, 400) > 0.5).float()
    weight = torch.ones(1, 1, 1, 400)
    truth = coverage * 2 - 1
    for loss in (paired_bce, paired_dice):
        far, near, at = (loss(scale * truth, coverage, weight) for scale in (-1.0, 1.0, 30.0))
        assert (far > near).all()
        assert (near > at).all()
        assert (at < 1e-3).all()


def test_dice_by_hand() -> None:
    # p = 1/2 on 4 cells, the class on 2 of them: 1 - (2 * 1 + 1) / (2 + 2 + 1)
    coverage = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 4)
    result = paired_dice(torch.zeros(1, 1, 1, 4), coverage, torch.ones(1, 1, 1, 4))
    torch.testing.assert_close(result, torch.full((1, 1, 1), 0.4))


def test_products_equal_pairs() -> None:
    logits, coverage, weight = torch.randn(2, 5, 40), torch.rand(2, 3, 40), torch.rand(2, 1, 40)
    bce, dice = weighted_means(logits, coverage * weight, weight, dice=True)
    assert dice is not None
    for query in range(5):
        chosen = logits[:, None, query : query + 1].expand(-1, 1, 3, -1)
        torch.testing.assert_close(
            bce[:, query], paired_bce(chosen, coverage[:, None], weight[:, None])[:, 0]
        )
        torch.testing.assert_close(
            dice[:, query], paired_dice(chosen, coverage[:, None], weight[:, None])[:, 0]
        )


def test_an_image_without_labels_has_no_bce() -> None:
    result = paired_bce(torch.randn(1, 1, 2, 9), torch.zeros(1, 1, 2, 9), torch.zeros(1, 1, 1, 9))
    assert (result == 0).all()
