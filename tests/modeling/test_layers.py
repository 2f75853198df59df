"""Attention against PyTorch's, positions and pooling against their definitions, padding kept
out.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clipmask.modeling.layers import (
    MLP,
    Attention,
    ChannelNorm,
    Positions,
    SeparableBlock,
    as_map,
    cut,
    pool,
    tokens,
    upsample,
    valid_cells,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("queries", [3, 113])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_multi_head_attention(queries: int, masked: bool) -> None:
    ours, theirs = Attention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(
            torch.cat([ours.query.weight, ours.key.weight, ours.value.weight])
        )
        theirs.in_proj_bias.copy_(
            torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]).normal_()
        )
        for layer, bias in zip(
            (ours.query, ours.key, ours.value), theirs.in_proj_bias.chunk(3), strict=True
        ):
            layer.bias.copy_(bias)
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.zero_()
    query, memory = torch.randn(2, queries, 16), torch.randn(2, 7, 16)
    mask = (
        torch.rand(2, queries, 7) > 0.4 if masked else torch.ones(2, queries, 7, dtype=torch.bool)
    )
    mask[..., 0] = True
    expected = theirs(query, memory, memory, attn_mask=~mask.repeat_interleave(4, 0))[0]
    torch.testing.assert_close(ours(query, memory, memory, mask if masked else None), expected)


def test_a_closed_key_has_no_influence() -> None:
    attention, query, memory = Attention(8, 2), torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    mask = torch.tensor([True, True, False, True, True]).expand(1, 1, 5)
    spoiled = memory.clone()
    spoiled[:, 2] = 1e3
    torch.testing.assert_close(
        attention(query, memory, memory, mask), attention(query, spoiled, spoiled, mask)
    )


def test_channel_norm_normalises_each_pixel() -> None:
    x = ChannelNorm(32)(torch.randn(2, 32, 3, 4) * 5 + 3)
    torch.testing.assert_close(x.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var(1, unbiased=False), torch.ones(2, 3, 4), atol=1e-3, rtol=0)


def test_blocks_see_zeros_in_padding_whatever_lies_there() -> None:
    first, second = SeparableBlock(8), SeparableBlock(8)
    image, padded = torch.randn(1, 8, 6, 7), torch.randn(1, 8, 9, 12) * 100
    padded[..., :6, :7] = image
    valid = torch.zeros(1, 9, 12, dtype=torch.bool)
    valid[:, :6, :7] = True
    expected = second(first(image))
    torch.testing.assert_close(second(first(padded, valid), valid)[..., :6, :7], expected)


def test_a_block_reaches_two_cells_far() -> None:
    block, x = SeparableBlock(8), torch.zeros(1, 8, 9, 9)
    touched = x.clone()
    touched[..., 4, 4] = torch.randn(8)
    reached = (block(touched) - block(x)).abs().sum(1)[0] > 1e-6
    assert reached[2:7, 2:7].all()
    assert reached.sum() == 25


def test_mlp_ends_without_activation() -> None:
    assert (MLP(4, 8, 3)(torch.randn(100, 4)) < 0).any()
    assert len(MLP(4, 8, 3)) == 3


def test_valid_cells_round_up() -> None:
    cells = valid_cells([(9, 16), (16, 8)], (2, 2), 8, CPU)
    assert cells.tolist() == [[[True, True], [True, True]], [[True, False], [True, False]]]


def test_positions_do_not_depend_on_the_batch() -> None:
    alone = Positions([(20, 30)], CPU)((3, 4), 8, 16).unflatten(1, (3, 4))
    beside = Positions([(20, 30), (64, 64)], CPU)((8, 8), 8, 16).unflatten(1, (8, 8))
    torch.testing.assert_close(beside[:1, :3, :4], alone)
    assert alone.abs().max() <= 1
    assert len(alone.flatten(0, 2).unique(dim=0)) == 12


def test_pool_skips_padding() -> None:
    x = torch.arange(12.0).view(1, 1, 3, 4)
    valid = torch.ones(1, 3, 4, dtype=torch.bool)
    valid[..., 3] = False
    assert pool(x, 2, valid)[0, 0].tolist() == [[2.5, 4.0], [8.5, 10.0]]
    torch.testing.assert_close(pool(x[..., :3], 2), pool(x, 2, valid)[..., :2])
    assert pool(x, 1) is x
    assert torch.equal(pool(x, 2, torch.zeros_like(valid)), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_upsample_keeps_cells_in_place(factor: int) -> None:
    x = torch.randn(1, 2, 4, 5)
    whole = F.interpolate(x, size=(4 * factor, 5 * factor), mode="bilinear", align_corners=False)
    cut = upsample(x, factor, (4 * factor - factor // 2, 5 * factor))
    torch.testing.assert_close(cut, whole[:, :, : cut.shape[2]])


def test_padding_has_no_share_in_what_is_enlarged() -> None:
    image, padded = torch.randn(1, 3, 4, 5), torch.randn(1, 3, 7, 8) * 100
    padded[..., :4, :5] = image
    valid = torch.zeros(1, 7, 8, dtype=torch.bool)
    valid[:, :4, :5] = True
    torch.testing.assert_close(upsample(padded, 4, (16, 20), valid), upsample(image, 4, (16, 20)))


def test_tokens_of_one_picture_become_a_map_that_torch_knows_for_channels_last() -> None:
    x = torch.randn(1, 12, 8)
    map_ = as_map(x, (3, 4))
    assert torch.equal(tokens(map_), x)
    assert torch.nn.functional.interpolate(map_, scale_factor=2, mode="bilinear").stride(1) == 1


def test_a_cut_map_has_a_channels_last_gradient() -> None:
    whole = torch.randn(2, 8, 5, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    part = cut(whole, (4, 3))
    assert torch.equal(part, whole[..., :4, :3])
    (gradient,) = torch.autograd.grad(part.square().sum(), whole)
    assert gradient.stride(1) == 1
    assert torch.equal(
        gradient != 0,
        torch.zeros(2, 8, 5, 6).index_fill(2, torch.arange(4), 1).bool() & (torch.arange(6) < 3),
    )


def test_positions_of_a_grid_are_made_once() -> None:
    positions = Positions([(20, 30)], CPU)
    assert positions((3, 4), 8, 16) is positions((3, 4), 8, 16)
    assert positions((3, 4), 8, 8).shape == (1, 12, 8)
