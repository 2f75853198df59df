"""The size of test pictures.

torchvision takes as long to import as PyTorch itself, and most commands resize nothing. So it is
imported with the first picture that is resized.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def test_scale(size: Sequence[int], min_size: int, max_size: int) -> float:
    """Returns the scale factor of ``resize_shortest_edge`` for a picture of (height, width)."""
    return min(min_size / min(size), max_size / max(size)) if min_size else 1.0


def resize_shortest_edge(image: Tensor, min_size: int, max_size: int) -> Tensor:
    """Resizes a test picture to a shorter side of ``min_size`` pixels.

    If the longer side would then exceed ``max_size`` pixels, it becomes ``max_size`` instead.

    Args:
        image: uint8 (3, H, W).
        min_size: INPUT.MIN_SIZE_TEST; 0: the picture is not resized.
        max_size: INPUT.MAX_SIZE_TEST.

    Returns:
        uint8 (3, h, w).
    """
    if min_size == 0:
        return image
    height, width = image.shape[-2:]
    scale = test_scale((height, width), min_size, max_size)
    return resize(image, [max(1, round(height * scale)), max(1, round(width * scale))])


def resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes a picture (3, H, W) to ``size``, (height, width): bilinear, with antialiasing."""
    from torchvision.transforms import v2

    resized: Tensor = v2.functional.resize_image(
        image, list(size), interpolation=v2.InterpolationMode.BILINEAR, antialias=True
    )
    return resized
