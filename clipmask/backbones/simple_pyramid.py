"""A simple feature pyramid: maps of strides 4, 8, 16 and 32 for a plain vision transformer.

It follows Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", 2022
(ViTDet), Sec. 3. A plain transformer has one map, at stride 16. Transposed convolutions enlarge it
by 4 and by 2, pooling halves it, and it is also used as it is. Each of the four maps then passes a
1x1 and a 3x3 convolution with layer norms over the channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 16  # pixels per cell of the transformer's map
_EPS = 1e-5  # of the layer norms


class SimplePyramid(nn.Module):
    """Makes maps at several strides from one map at stride 16.

    Args:
        channels: channels of the transformer's map.
        width: channels of each map of the pyramid.
        strides: some of 4, 8, 16 and 32.
    """

    def __init__(self, channels: int, width: int, strides: list[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level(channels, width, stride) for stride in strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Makes the pyramid.

        Args:
            x: (B, channels, H / 16, W / 16).

        Returns:
            (B, width, H / stride, W / stride) for each stride.
        """
        return [level(x) for level in self.levels]


def _level(channels: int, width: int, stride: int) -> nn.Sequential:
    from timm.layers import LayerNorm2d

    resized: list[nn.Module] = []
    if stride == 4:
        resized = [
            nn.ConvTranspose2d(channels, channels // 2, 2, stride=2),
            LayerNorm2d(channels // 2, eps=_EPS),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 2, channels // 4, 2, stride=2),
        ]
        channels //= 4
    elif stride == 8:
        resized = [nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)]
        channels //= 2
    elif stride == 32:
        resized = [nn.MaxPool2d(2, stride=2)]
    return nn.Sequential(
        *resized,
        nn.Conv2d(channels, width, 1, bias=False),
        LayerNorm2d(width, eps=_EPS),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        LayerNorm2d(width, eps=_EPS),
    )


def resized_for(images: Tensor, patch: int) -> Tensor:
    """Resizes images so that patches of ``patch`` pixels make a map at stride 16.

    Args:
        images: (B, 3, H, W), H and W multiples of 16.
        patch: the side of the transformer's patches in pixels.

    Returns:
        (B, 3, H * patch / 16, W * patch / 16): as many patches as patches of 16 pixels would be in
        ``images``.
    """
    if patch == STRIDE:
        return images
    size = [side // STRIDE * patch for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)
