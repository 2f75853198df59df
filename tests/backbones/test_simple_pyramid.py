"""The pyramid over a plain transformer has the strides that hierarchical backbones have."""

from __future__ import annotations

import pytest
import torch

from clipmask.backbones.simple_pyramid import SimplePyramid, resized_for


def test_maps_have_their_strides_and_learn() -> None:
    pyramid = SimplePyramid(24, 16, [4, 8, 16, 32])
    x = torch.randn(2, 24, 6, 4, requires_grad=True)  # of an image of 96x64
    maps = pyramid(x)
    assert [tuple(map_.shape) for map_ in maps] == [
        (2, 16, 96 // s, 64 // s) for s in (4, 8, 16, 32)
    ]
    sum(map_.square().sum() for map_ in maps).backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in pyramid.parameters()
    )
    assert x.grad is not None


@pytest.mark.parametrize("patch", [14, 16, 32])
def test_images_are_resized_so_that_patches_are_at_stride_16(patch: int) -> None:
    images = torch.rand(1, 3, 64, 96)
    resized = resized_for(images, patch)
    assert (resized.shape[-2] // patch, resized.shape[-1] // patch) == (4, 6)
    assert resized.shape[-2] % patch == resized.shape[-1] % patch == 0
    assert (resized is images) == (patch == 16)
