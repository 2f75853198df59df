"""Semantic injection: the formula, the effect of T, padding and the bound on image keys."""

from __future__ import annotations

import torch

from clipmask.modeling.layers import sine_positions, tokens, valid_cells
from clipmask.modeling.text_fusion import SemanticInjection

CPU = torch.device("cpu")


def test_the_formula_with_every_pixel_as_key() -> None:
    module = SemanticInjection(16, 12, 2, max_image_keys=0)
    r, T = torch.randn(1, 16, 4, 6), torch.randn(3, 12)
    places = sine_positions([(32, 48)], (4, 6), 8, 16, CPU)
    keys = module.norm_keys(torch.cat([module.text(T)[None], module.image(tokens(r))], 1))
    with_places = keys.clone()
    with_places[:, 3:] += places
    expected = module.norm(tokens(r) + module.attention(tokens(r) + places, with_places, keys))
    torch.testing.assert_close(tokens(module(r, T, [(32, 48)], 8)), expected)


def test_text_changes_the_result_and_its_order_does_not() -> None:
    module = SemanticInjection(16, 12, 2, max_image_keys=16)
    r, T = torch.randn(2, 16, 4, 6), torch.randn(3, 12)
    sizes = [(32, 48)] * 2
    result = module(r, T, sizes, 8)
    assert not torch.allclose(result, module(r, torch.randn(3, 12), sizes, 8), atol=1e-3)
    torch.testing.assert_close(result, module(r, T[[2, 0, 1]], sizes, 8))


def test_padding_changes_nothing() -> None:
    module = SemanticInjection(16, 12, 2, max_image_keys=0)
    r, T = torch.randn(1, 16, 4, 6), torch.randn(3, 12)
    padded = torch.randn(2, 16, 8, 8)
    padded[0, :, :4, :6] = r[0]
    sizes = [(32, 48), (64, 64)]
    together = module(padded, T, sizes, 8, valid_cells(sizes, (8, 8), 8, CPU))
    torch.testing.assert_close(together[:1, :, :4, :6], module(r, T, sizes[:1], 8))


def test_the_number_of_image_keys_is_bounded() -> None:
    module = SemanticInjection(16, 12, 2, max_image_keys=50)
    for height, width in ((7, 7), (64, 128), (1, 500), (333, 17)):
        factor = module._key_factor(height, width)
        assert -(-height // factor) * -(-width // factor) <= 50
        assert factor == 1 or -(-height // (factor - 1)) * -(-width // (factor - 1)) > 50
