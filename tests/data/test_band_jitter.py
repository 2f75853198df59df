"""Brightness and contrast of bands; pictures in colour go another way, unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from clipmask.data.band_jitter import ColorOrBandJitter, jitter_bands
from clipmask.data.lighting import LightingJitter


@pytest.mark.parametrize("bands", [1, 2, 4, 8])
def test_bands_change_together_and_keep_their_order(bands: int) -> None:
    image = torch.randint(60, 180, (1, 8, 9), dtype=torch.uint8).repeat(bands, 1, 1)
    changed = 0
    for seed in range(12):
        torch.manual_seed(seed)
        result = jitter_bands(image)
        assert result.shape == image.shape
        assert result.dtype == torch.uint8
        assert (result == result[:1]).all()
        order = image[0].flatten().argsort()
        assert (result[0].flatten()[order].int().diff() >= 0).all()
        changed += not torch.equal(result, image)
    assert 4 <= changed <= 12


def test_pictures_in_colour_are_changed_by_the_other_transform() -> None:
    class Add(torch.nn.Module):
        def forward(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return image + 1, labels

    image, labels = tv_tensors.Image(torch.zeros(3, 4, 5, dtype=torch.uint8)), torch.zeros(4, 5)
    assert (ColorOrBandJitter(Add())(image, labels)[0] == 1).all()


@pytest.mark.parametrize("bands", [1, 5])
def test_light_changes_any_number_of_bands(bands: int) -> None:
    image = tv_tensors.Image(torch.randint(0, 256, (bands, 16, 17), dtype=torch.uint8))
    changed, _ = LightingJitter(1.0)(image, torch.zeros(16, 17))
    assert changed.shape == image.shape
