"""Lighting augmentation: other light, weather and cameras, without moving any edge.

At dusk, in haze or through a cheap lens, a street shows the same classes with other pixel values.
If the training images come from few drives, a network also learns the light of these drives; this
augmentation prevents that. Its changes are larger than those of INPUT.COLOR_AUG, which stay within
what one camera sees on one day.

    exposure       v ** gamma                gamma log-uniform in [1 / 2.5, 2.5]: night-dark to
                   washed out
    white balance  v * gain_c                gain of each channel log-uniform in [1 / 1.2, 1.2]
    haze           (1 - a) v + a b           a in [0, 0.5], b in [0.4, 1]: less contrast, towards a
                   grey veil
    blur           a Gaussian                sigma in [0.3, 1.5] pixels
    noise          + n, normal               standard deviation in [0, 0.06], grey or coloured

v is in [0, 1]. Exposure, white balance and haze change each value independently, so all three
together are one lookup table of 256 values for each channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

GAMMA, GAIN = 2.5, 1.2
HAZE, VEIL = 0.5, 0.4
SIGMA = (0.3, 1.5)
NOISE = 0.06


class LightingJitter(nn.Module):
    """Applies each of the five changes with a probability, in the order of the module's table.

    Args:
        probability: the probability of each change, in [0, 1].
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        assert 0 <= probability <= 1
        self.probability = probability

    def forward(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the changed picture, uint8 (3, H, W), and the labels, which do not change."""
        exposed, balanced, hazy, blurred, noisy = (torch.rand(5) < self.probability).tolist()
        changed: Tensor = image.as_subclass(Tensor)
        if exposed or balanced or hazy:
            values = torch.linspace(0, 1, 256).expand(len(image), 256)
            if exposed:
                values = values ** _log_uniform(GAMMA)
            if balanced:
                values = values * _log_uniform(GAIN, len(image)).unsqueeze(1)
            if hazy:
                share, veil = torch.rand(2)
                share, veil = share * HAZE, VEIL + (1 - VEIL) * veil
                values = (1 - share) * values + share * veil
            changed = apply_table(changed, values.mul(255).round_().clamp_(0, 255).to(torch.uint8))
        if blurred:
            sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * torch.rand(()).item()
            changed = v2.functional.gaussian_blur_image(changed, [7, 7], [sigma, sigma])
        if noisy:
            changed = _add_noise(changed)
        return tv_tensors.wrap(changed, like=image), labels


def apply_table(image: Tensor, table: Tensor) -> Tensor:
    """Replaces every value of a picture by its entry in a lookup table.

    Args:
        image: uint8 (C, H, W).
        table: uint8 (C, 256).

    Returns:
        uint8 (C, H, W).
    """
    return torch.stack([row[channel.int()] for channel, row in zip(image, table, strict=True)])


def _add_noise(image: Tensor) -> Tensor:
    """Adds noise to a picture (3, H, W), with the same strength everywhere.

    The noise is grey for half of all images and coloured for the other half.
    """
    strength = 255 * NOISE * torch.rand(()).item()
    channels = len(image) if torch.rand(()).item() < 0.5 else 1
    noise = torch.randn(channels, *image.shape[1:]) * strength
    return (image + noise).round_().clamp_(0, 255).to(torch.uint8)


def _log_uniform(limit: float, count: int = 1) -> Tensor:
    """Draws (count,) factors, log-uniformly between 1 / ``limit`` and ``limit``."""
    return torch.exp((2 * torch.rand(count) - 1) * math.log(limit))
