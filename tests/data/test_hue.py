"""The own change of hue is torchvision's, and takes its place without a seed's pictures
changing.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from clipmask.data.hue import MOST, HueJitter, shift_hue


def many_colours() -> torch.Tensor:
    """Each fifth level of every channel, all combinations, with 255 among them: (3, 52 * 52,
    52).
    """
    levels = torch.arange(0, 256, 5, dtype=torch.uint8)
    return torch.cartesian_prod(levels, levels, levels).T.reshape(3, -1, len(levels)).contiguous()


@given(shift=st.floats(-MOST, MOST))
@settings(max_examples=30)
def test_colours_become_what_torchvision_makes_of_them(shift: float) -> None:
    colours = many_colours()
    apart = (shift_hue(colours, shift).int() - v2.functional.adjust_hue(colours, shift).int()).abs()
    assert apart.max() <= 1
    # Where a sixth of the circle or none of it leads to whole levels, a float's rounding tips more
    # of them.
    assert (apart > 0).float().mean() < (2e-3 if 1e-4 < abs(shift) < MOST - 1e-4 else 0.5)


def test_no_shift_changes_nothing_and_a_third_of_the_circle_moves_the_primaries() -> None:
    colours = many_colours()
    assert torch.equal(shift_hue(colours, 0.0), colours)
    red, yellow, grey = ([255, 0, 0], [255, 255, 0], [90, 90, 90])
    picture = torch.tensor([red, yellow, grey], dtype=torch.uint8).T[:, None]
    assert shift_hue(picture, MOST)[:, 0].T.tolist() == [yellow, [0, 255, 0], grey]
    assert shift_hue(shift_hue(picture, MOST), MOST)[:, 0].T[0].tolist() == [0, 255, 0]


def test_chance_is_drawn_as_torchvision_draws_it() -> None:
    image, labels = many_colours(), torch.zeros(3)
    for seed in range(5):
        torch.manual_seed(seed)
        expected, after = v2.ColorJitter(hue=0.05)(image), torch.rand(())
        torch.manual_seed(seed)
        changed, same = HueJitter(0.05)(image, labels)
        assert torch.rand(()) == after
        assert same is labels
        assert (changed.int() - expected.int()).abs().max() <= 1


def test_a_shift_that_would_go_wrong_is_refused() -> None:
    with pytest.raises(AssertionError):
        HueJitter(0.2)
