"""Pictures that were saved again look alike, others don't."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from clipmask.curation.checking.likeness import alike_groups, are_alike, likeness


def _detailed(seed: int) -> np.ndarray:
    """A picture with less at higher frequencies, as photographs have."""
    rng, pixels = np.random.default_rng(seed), np.zeros((192, 256, 3))
    for cells, weight in ((4, 0.5), (8, 0.3), (16, 0.2)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += weight * np.asarray(coarse.resize((256, 192), Image.Resampling.BICUBIC))
    return pixels.astype(np.uint8)


def _again(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_compressed_and_resized_pictures_are_alike_and_others_not() -> None:
    for seed in range(20):
        pixels = _detailed(seed)
        own = likeness(pixels)
        small = np.asarray(Image.fromarray(pixels).resize((128, 96), Image.Resampling.BICUBIC))
        assert are_alike(own, likeness(_again(pixels, 80)))
        assert are_alike(own, likeness(small))
        assert not are_alike(own, likeness(_detailed(seed + 100)))


def test_flat_pictures_of_different_colours_are_not_alike() -> None:
    red, blue = (np.full((8, 8, 3), color, np.uint8) for color in ((200, 0, 0), (0, 0, 200)))
    assert not are_alike(likeness(red), likeness(blue))


def test_groups_are_those_of_comparing_all() -> None:
    pictures = [_detailed(seed) for seed in range(30)]
    items = [
        likeness(pixels)
        for pixels in [*pictures, _again(pictures[3], 90), _again(pictures[20], 70)]
    ]
    assert alike_groups(items) == [[3, 30], [20, 31]]
    assert alike_groups([]) == []
