"""Changes of hue: what ``torchvision.transforms.v2.ColorJitter(hue=...)`` does, in a quarter of its
time.

torchvision goes to hue, saturation and value and back. A change of hue keeps the largest and the
smallest channel of a pixel, so only what lies between has to be found. The result is torchvision's
but for one value in twenty thousand, where the rounding of a 32-bit float tips it to the next of
the 256 levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

MOST = 1 / 6  # of the circle: ``shift_hue`` finds further ways round it wrong


class HueJitter(nn.Module):
    """Shifts the hue of a picture by a random amount; takes the place of
    ``v2.ColorJitter(hue=limit)``.

    Args:
        limit: the shift is drawn between -limit and limit, shares of the circle; at most ``MOST``.
    """

    def __init__(self, limit: float) -> None:
        super().__init__()
        assert 0 <= limit <= MOST
        self.limit = limit

    def forward(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the changed picture, uint8 (3, H, W), and the labels as they are."""
        # Drawn as ColorJitter draws it, so that a seed leads to the same pictures as with it.
        shift = v2.ColorJitter.get_params(None, None, None, [-self.limit, self.limit])[-1]
        return tv_tensors.wrap(shift_hue(image, shift), like=image), labels


def shift_hue(image: Tensor, shift: float) -> Tensor:
    """Shifts all hues.

    With M and m the largest and the smallest channel of a pixel, its hue h counts sixths of the
    circle from red (green is at 2, blue at 4). A channel at c becomes m + (M - m) clamp(2 - d, 0,
    1), d the distance of h + 6 shift and c on the circle.

    Args:
        image: uint8 (3, H, W), RGB.
        shift: share of the circle, -``MOST`` to ``MOST``; positive turns red to yellow.

    Returns:
        uint8 (3, H, W).
    """
    red, green, blue = image
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    spread = (high - low).float()  # (H, W)
    most_red, most_green = high == red, high == green
    red, green, blue = image.float()
    hue = torch.where(
        most_red,
        green - blue,
        torch.where(
            most_green, (blue - red).add_(spread, alpha=2), (red - green).add_(spread, alpha=4)
        ),
    )
    hue.div_(spread.clamp(min=1)).add_(6 * shift)  # -2 .. 6
    centres = hue.new_tensor([0.0, 2.0, 4.0]).view(3, 1, 1)
    # 2 - d: a way a of at most 6 round the circle ends at the distance d = 3 - |a - 3|.
    share = (hue - centres).abs_().sub_(3).abs_().sub_(1).clamp_(0, 1)  # (3, H, W)
    # rounded as torchvision does
    return share.mul_(spread).add_(low).mul_(255.999 / 255).to(torch.uint8)
