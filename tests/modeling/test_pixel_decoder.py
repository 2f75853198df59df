"""The pixel decoder: grids of any image size, padding kept out, ablations that remove what they
name.
"""

from __future__ import annotations

import pytest
import torch

from clipmask.modeling.pixel_decoder import PixelDecoder

CHANNELS = {"res2": 4, "res3": 6, "res4": 8, "res5": 10}
STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


def decoder(
    scales: tuple[str, ...] = ("res3", "res4", "res5"), injection: str = "tokens"
) -> PixelDecoder:
    return PixelDecoder(
        CHANNELS,
        STRIDES,
        scales,
        dim=16,
        mask_dim=8,
        text_dim=12,
        num_heads=2,
        max_image_keys=0,
        injection=injection,
    ).eval()


def features(height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {n: torch.randn(batch, CHANNELS[n], height // s, width // s) for n, s in STRIDES.items()}


def test_grids_cover_the_image_and_no_padding() -> None:
    result = decoder()(features(352, 544), torch.randn(3, 12), [(333, 517)])
    assert result.pixels.shape == (1, 8, 84, 130)
    assert [tuple(scale.shape[2:]) for scale in result.scales] == [(42, 65), (21, 33), (11, 17)]
    assert result.valid == (None, None, None, None)


def test_features_of_padding_change_nothing() -> None:
    module, T = decoder(), torch.randn(3, 12)
    small = features(64, 64)
    large = {name: torch.randn(2, *map_.shape[1:]) for name, map_ in features(128, 96).items()}
    for name, map_ in small.items():
        large[name][0, :, : map_.shape[2], : map_.shape[3]] = map_[0]
    alone = module(dict(small), T, [(64, 64)])
    beside = module(dict(large), T, [(64, 64), (128, 96)])
    for one, other in zip(
        (*alone.scales, alone.pixels), (*beside.scales, beside.pixels), strict=True
    ):
        rows, columns = one.shape[-2:]
        torch.testing.assert_close(other[:1, :, :rows, :columns], one)


@pytest.mark.parametrize(
    ("dim", "mask_dim", "heads", "fewer"),
    [(16, 16, 4, 4), (16, 8, 4, 2), (24, 16, 4, 2), (64, 4, 4, 1)],
)
def test_narrow_maps_have_fewer_heads(dim: int, mask_dim: int, heads: int, fewer: int) -> None:
    module = PixelDecoder(
        CHANNELS,
        STRIDES,
        ("res3",),
        dim=dim,
        mask_dim=mask_dim,
        text_dim=12,
        num_heads=heads,
        max_image_keys=0,
    )
    assert [module.inject[name].attention.num_heads for name in ("res3", "fused")] == [heads, fewer]


def test_without_injection_text_plays_no_part() -> None:
    module, maps = decoder(injection="none"), features(64, 64)
    first, second = (module(dict(maps), torch.randn(3, 12), [(64, 64)]).pixels for _ in range(2))
    torch.testing.assert_close(first, second)
    assert len(module.inject) == 0


@pytest.mark.parametrize("injection", ["tokens", "channels"])
def test_with_injection_text_reaches_every_output(injection: str) -> None:
    module, maps = decoder(injection=injection), features(64, 64)
    first, second = (module(dict(maps), torch.randn(1, 3, 12), [(64, 64)]) for _ in range(2))
    for one, other in zip(
        (*first.scales, first.pixels), (*second.scales, second.pixels), strict=True
    ):
        assert not torch.allclose(one, other, atol=1e-4)


def test_fewer_scales() -> None:
    result = decoder(scales=("res4",))(features(64, 96), torch.randn(3, 12), [(64, 96)])
    assert [tuple(scale.shape[2:]) for scale in result.scales] == [(4, 6)]
    assert result.pixels.shape[2:] == (16, 24)


def test_padding_of_texts_reaches_no_output() -> None:
    module, maps, sizes = decoder(), features(64, 64, batch=2), [(64, 64)] * 2
    T = torch.randn(2, 2, 12)
    alone = module(dict(maps), T, sizes)
    padded = module(
        dict(maps),
        torch.cat([T, torch.randn(2, 5, 12)], dim=1),
        sizes,
        torch.arange(7).expand(2, -1) < 2,
    )
    torch.testing.assert_close(padded.pixels, alone.pixels, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # of modules that take lists
def test_hooks_see_what_modules_return_and_gradients_pass() -> None:
    module, kept = decoder(), {}
    for name, part in module.named_modules():
        part.register_forward_hook(
            lambda _, __, out, name=name: kept.setdefault(name, (out, _copy(out))) and None
        )
        part.register_full_backward_hook(lambda *_: None)
    maps = {name: map_.requires_grad_() for name, map_ in features(64, 96, 2).items()}
    result = module(maps, torch.randn(3, 12).requires_grad_(), [(64, 96), (50, 90)])
    (result.pixels.sum() + sum(scale.sum() for scale in result.scales)).backward()
    # they do not run themselves
    containers = (torch.nn.ModuleDict, torch.nn.ModuleList, torch.nn.ParameterList)
    assert len(kept) == sum(not isinstance(part, containers) for part in module.modules())
    for name, (output, copy) in kept.items():
        if isinstance(output, torch.Tensor):
            assert torch.equal(output, copy), f"{name}: its result was written over"


def _copy(value: object) -> object:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value
