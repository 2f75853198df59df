"""The mask decoder: its contract, classes permuted with T, attention that is never closed."""

from __future__ import annotations

import pytest
import torch

from clipmask.modeling.layers import Positions
from clipmask.modeling.mask_decoder import CosineClassifier, LinearClassifier, MaskDecoder
from clipmask.modeling.pixel_decoder import PixelFeatures


def decoder(text_queries: bool = False, queries: int = 5) -> MaskDecoder:
    return MaskDecoder(
        dim=16,
        mask_dim=8,
        text_dim=12,
        num_queries=queries,
        num_layers=4,
        num_scales=3,
        num_heads=2,
        ffn_dim=32,
        dropout=0.0,
        classifier=CosineClassifier(16, 12),
        text_queries=text_queries,
    )


def positions(batch: int) -> Positions:
    return Positions([(128, 192)] * batch, torch.device("cpu"))


def features(batch: int = 2) -> PixelFeatures:
    scales = tuple(torch.randn(batch, 16, 16 // 2**i, 24 // 2**i) for i in range(3))
    return PixelFeatures(
        scales, (8, 16, 32), torch.randn(batch, 8, 32, 48), 4, positions(batch), (None,) * 4
    )


def test_contract() -> None:
    module = decoder()
    training = module(features(), torch.randn(3, 12))
    assert training.pred_logits.shape == (5, 2, 5, 4)
    assert training.mask_embed.shape == (5, 2, 5, 8)
    assert training.pred_masks.shape == (2, 5, 32, 48)


def test_evaluation_gives_the_last_prediction_of_training() -> None:
    module, maps, T = decoder(), features(), torch.randn(3, 12)
    training = module(maps, T)
    evaluation = module.eval()(maps, T)
    assert len(evaluation.pred_logits) == 1
    torch.testing.assert_close(evaluation.pred_logits[0], training.pred_logits[-1])
    torch.testing.assert_close(evaluation.pred_masks, training.pred_masks)


def test_batch_equals_single() -> None:
    module, maps, T = decoder().eval(), features(), torch.randn(3, 12)
    alone = maps._replace(
        scales=tuple(s[1:] for s in maps.scales), pixels=maps.pixels[1:], positions=positions(1)
    )
    torch.testing.assert_close(
        module(maps, T).pred_masks[1:], module(alone, T).pred_masks, rtol=1e-4, atol=1e-4
    )


def test_permuting_the_vocabulary_permutes_the_logits() -> None:
    module, maps, T = decoder().eval(), features(), torch.randn(3, 12)
    order = torch.tensor([2, 0, 1])
    plain, permuted = module(maps, T), module(maps, T[order])
    torch.testing.assert_close(permuted.pred_logits[..., :3], plain.pred_logits[..., order])
    torch.testing.assert_close(permuted.pred_masks, plain.pred_masks)


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_text_queries_take_any_vocabulary(classes: int) -> None:
    result = decoder(text_queries=True)(features(), torch.randn(classes, 12))
    assert result.pred_logits.shape[-2:] == (5, classes + 1)


def test_a_query_with_an_empty_mask_may_look_everywhere() -> None:
    pixels = torch.ones(1, 2, 6)
    embed = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert MaskDecoder._open_cells(embed, pixels, None).all()
    valid = torch.tensor([[[True, True, True, False, False, False]]])
    assert torch.equal(MaskDecoder._open_cells(embed, pixels, valid), valid.expand(1, 2, -1))


def test_cosine_logits_ignore_the_length_of_text() -> None:
    module, x, T = CosineClassifier(16, 12), torch.randn(2, 5, 16), torch.randn(3, 12)
    torch.testing.assert_close(module(x, T), module(x, T * 7))
    assert module(x, T)[..., :3].abs().max() <= 1 / 0.07 + 1e-4


def test_linear_logits_ignore_text() -> None:
    module, x = LinearClassifier(16, 3), torch.randn(2, 5, 16)
    torch.testing.assert_close(module(x, torch.randn(3, 12)), module(x, torch.randn(8, 12)))
