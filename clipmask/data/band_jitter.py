"""Brightness and contrast augmentation for training pictures whose bands are not red, green, blue.

It takes the place of INPUT.COLOR_AUG's changes for such pictures. Saturation and hue are left out,
because they are defined for colours only.

    brightness   v * b                  b in [1 - 0.25, 1 + 0.25]
    contrast     m + c (v - m)          c in [1 - 0.4, 1 + 0.4], m the mean of the band

v is a value of a band, in [0, 255]. Each of the two changes is applied to half of all pictures. All
bands of a picture share b and c.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from clipmask.data.lighting import apply_table

BRIGHTNESS, CONTRAST = 0.25, 0.4


class ColorOrBandJitter(nn.Module):
    """Applies a colour transform to pictures of three channels, and ``jitter_bands`` to all others.

    Args:
        color: the transform for pictures of three channels.
    """

    def __init__(self, color: nn.Module) -> None:
        super().__init__()
        self.color = color

    def forward(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the changed picture, uint8 (C, H, W), and the labels, which do not change."""
        if len(image) == 3:
            changed: tuple[Tensor, Tensor] = self.color(image, labels)
            return changed
        return tv_tensors.wrap(jitter_bands(image.as_subclass(Tensor)), like=image), labels


def jitter_bands(image: Tensor) -> Tensor:
    """Changes the brightness and the contrast of a picture at random.

    The random numbers come from torch's default CPU generator.

    Args:
        image: uint8 (C, H, W).

    Returns:
        uint8 (C, H, W).
    """
    brighter, harder = (torch.rand(2) < 0.5).tolist()
    brightness, contrast = (
        1 + (2 * torch.rand(2) - 1) * torch.tensor([BRIGHTNESS, CONTRAST])
    ).tolist()
    values = torch.linspace(0, 255, 256).expand(len(image), 256)
    if brighter:
        values = values * brightness
    if harder:
        mean = image.float().mean((1, 2)).unsqueeze(1) * (brightness if brighter else 1)
        values = mean + contrast * (values - mean)
    if not (brighter or harder):
        return image
    return apply_table(image, values.round().clamp(0, 255).to(torch.uint8))
