"""Other light, other weather, another camera: changes of training images that keep every edge where
it is.

A street at dusk, in haze or through a cheap lens shows the same classes in other numbers. Where
training images come from few drives, a network learns their light along with the streets; these
changes take that crutch away. They are wider than INPUT.COLOR_AUG's, which stays within what one
camera sees on one day.

    exposure       v ** gamma                gamma log-uniform in [1 / 2.5, 2.5]: night-dark to
                   washed out
    white balance  v * gain_c                gain of each channel log-uniform in [1 / 1.2, 1.2]
    haze           (1 - a) v + a b           a in [0, 0.5], b in [0.4, 1]: less contrast, towards a
                   grey veil
    blur           a Gaussian                sigma in [0.3, 1.5] pixels
    noise          + n, normal               standard deviation in [0, 0.06], grey or coloured

with v in [0, 1]. Exposure, white balance and haze change each value by itself, so that the three
are one table of 256 values a channel, read once.
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
    """Draws each of the five changes with the same probability, and applies those drawn in the
    order above.

    Args:
        probability: of each change, in [0, 1].
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        assert 0 <= probability <= 1
        self.probability = probability

    def forward(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the changed picture, uint8 (3, H, W), and the labels as they are."""
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
    """Replaces every value by what the table has for it.

    Args:
        image: uint8 (C, H, W).
        table: uint8 (C, 256).

    Returns:
        uint8 (C, H, W).
    """
    return torch.stack([row[channel.int()] for channel, row in zip(image, table, strict=True)])


def _add_noise(image: Tensor) -> Tensor:
    """Adds noise to (3, H, W): grey or coloured, each for half of all images, of one strength over
    the image.
    """
    strength = 255 * NOISE * torch.rand(()).item()
    channels = len(image) if torch.rand(()).item() < 0.5 else 1
    noise = torch.randn(channels, *image.shape[1:]) * strength
    return (image + noise).round_().clamp_(0, 255).to(torch.uint8)


def _log_uniform(limit: float, count: int = 1) -> Tensor:
    """(count,) factors between 1 / ``limit`` and ``limit``, as likely to divide as to multiply."""
    return torch.exp((2 * torch.rand(count) - 1) * math.log(limit))
