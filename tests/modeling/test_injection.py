"""Semantic injection: the formulas, the effect of T, padding of both kinds and the bound on image
keys.
"""

from __future__ import annotations

import pytest
import torch

from clipmask.modeling.injection import ChannelInjection, Injection, TokenInjection
from clipmask.modeling.layers import Positions, tokens, valid_cells

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("kind", [TokenInjection, ChannelInjection])


def test_the_formula_with_every_pixel_as_key() -> None:
    module = TokenInjection(16, 12, 2, max_image_keys=0)
    r, T = torch.randn(1, 16, 4, 6), torch.randn(3, 12)
    places = Positions([(32, 48)], CPU)((4, 6), 8, 16)
    keys = module.norm_keys(torch.cat([module.text(T)[None], module.image(tokens(r))], 1))
    with_places = keys.clone()
    with_places[:, 3:] += places
    expected = module.norm(tokens(r) + module.attention(tokens(r) + places, with_places, keys))
    torch.testing.assert_close(tokens(module(r, T, Positions([(32, 48)], CPU), 8)), expected)


def test_text_changes_the_result_and_its_order_does_not() -> None:
    module = TokenInjection(16, 12, 2, max_image_keys=16)
    r, T = torch.randn(2, 16, 4, 6), torch.randn(3, 12)
    sizes = [(32, 48)] * 2
    result = module(r, T, Positions(sizes, CPU), 8)
    assert not torch.allclose(
        result, module(r, torch.randn(3, 12), Positions(sizes, CPU), 8), atol=1e-3
    )
    torch.testing.assert_close(result, module(r, T[[2, 0, 1]], Positions(sizes, CPU), 8))


def test_padding_changes_nothing() -> None:
    module = TokenInjection(16, 12, 2, max_image_keys=0)
    r, T = torch.randn(1, 16, 4, 6), torch.randn(3, 12)
    padded = torch.randn(2, 16, 8, 8)
    padded[0, :, :4, :6] = r[0]
    sizes = [(32, 48), (64, 64)]
    together = module(padded, T, Positions(sizes, CPU), 8, valid_cells(sizes, (8, 8), 8, CPU))
    torch.testing.assert_close(together[:1, :, :4, :6], module(r, T, Positions(sizes[:1], CPU), 8))


def test_the_number_of_image_keys_is_bounded() -> None:
    module = TokenInjection(16, 12, 2, max_image_keys=50)
    for height, width in ((7, 7), (64, 128), (1, 500), (333, 17)):
        factor = module._key_factor(height, width)
        assert -(-height // factor) * -(-width // factor) <= 50
        assert factor == 1 or -(-height // (factor - 1)) * -(-width // (factor - 1)) > 50


def test_the_formula_over_channels() -> None:
    module = ChannelInjection(16, 12, 2, max_image_keys=0)
    r, T = torch.randn(2, 16, 4, 6), torch.randn(2, 3, 12)
    sizes = [(32, 48)] * 2
    places, cells = Positions(sizes, CPU)((4, 6), 8, 16), tokens(r)
    t = module.norm_keys(module.text(T).mean(1, keepdim=True)).expand(-1, 24, -1)
    joined = torch.cat([t, module.norm_keys(module.image(cells))], dim=-1)  # (B, N, 2 C)
    weight = torch.cat([module.join_text.weight, module.join_image.weight], dim=1)
    queries = torch.nn.functional.linear(joined, weight, module.join_text.bias)
    expected = module.norm(cells + module.attention(queries + places, cells + places, cells))
    torch.testing.assert_close(tokens(module(r, T, Positions(sizes, CPU), 8)), expected)


def test_over_channels_a_fixed_vocabulary_is_a_bias() -> None:
    """Why it is refused: the same result without text, from another bias."""
    module = ChannelInjection(16, 12, 2, max_image_keys=0)
    r, T = torch.randn(2, 16, 4, 6), torch.randn(3, 12)
    expected = module(r, T, Positions([(32, 48)] * 2, CPU), 8)
    with torch.no_grad():
        module.join_text.bias += module.join_text.weight @ module.norm_keys(module.text(T).mean(0))
        module.join_text.weight.zero_()
    torch.testing.assert_close(
        module(r, torch.randn(3, 12), Positions([(32, 48)] * 2, CPU), 8), expected
    )


@BOTH
def test_each_image_sees_its_own_text(kind: type[Injection]) -> None:
    module = kind(16, 12, 2, max_image_keys=16)
    r, T, sizes = (
        torch.randn(1, 16, 4, 6).expand(2, -1, -1, -1),
        torch.randn(2, 3, 12),
        [(32, 48)] * 2,
    )
    result = module(r, T, Positions(sizes, CPU), 8)
    assert not torch.allclose(result[0], result[1], atol=1e-4)
    for image in range(2):
        torch.testing.assert_close(
            result[image], module(r[:1], T[image], Positions(sizes[:1], CPU), 8)[0]
        )


@BOTH
@pytest.mark.parametrize("sizes", [[(32, 48), (32, 48)], [(32, 48), (24, 32)]])
def test_padding_of_texts_and_their_order_change_nothing(
    kind: type[Injection], sizes: list[tuple[int, int]]
) -> None:
    module = kind(16, 12, 2, max_image_keys=16)
    r, T = torch.randn(2, 16, 4, 6), torch.randn(2, 3, 12)
    valid = None if sizes[0] == sizes[1] else valid_cells(sizes, (4, 6), 8, CPU)
    expected = module(r, T, Positions(sizes, CPU), 8, valid)
    longer = torch.cat([T, 100 * torch.randn(2, 4, 12)], dim=1)
    text_valid = torch.arange(7).expand(2, -1) < 3
    torch.testing.assert_close(
        module(r, longer, Positions(sizes, CPU), 8, valid, text_valid), expected
    )
    torch.testing.assert_close(
        module(r, T[:, [2, 0, 1]], Positions(sizes, CPU), 8, valid), expected
    )
