"""Statistics, against numbers computed by hand."""

from __future__ import annotations

import math

import pytest

from clipmask_tools.ablation.compare import paired, summarize


def test_a_paired_interval() -> None:
    """Differences 1, 2, 3: mean 2, deviation 1; t of 97.5 % at 2 degrees is 4.3027, so the half is
    4.3027 / sqrt 3.
    """
    difference = paired({0: 11.0, 1: 22.0, 2: 33.0, 9: 5.0}, {2: 30.0, 1: 20.0, 0: 10.0, 8: 1.0})
    assert difference == pytest.approx((2.0, 2 - 2.48414, 2 + 2.48414, 3), abs=1e-4)
    assert not difference.clear


def test_what_a_seed_does_to_both_cancels() -> None:
    difference = paired({0: 50.0, 1: 60.0, 2: 71.0}, {0: 52.0, 1: 62.0, 2: 73.0})
    assert difference == pytest.approx((-2, -2, -2, 3))
    assert difference.clear


def test_one_seed_tells_no_interval() -> None:
    difference = paired({0: 1.0}, {0: 3.0})
    assert difference.mean == -2
    assert math.isnan(difference.low)
    assert not difference.clear
    assert math.isnan(paired({0: 1.0}, {1: 3.0}).mean)


def test_mean_and_deviation() -> None:
    assert summarize({0: 2.0, 1: 4.0, 2: 9.0}) == pytest.approx((5.0, 3.60555, 3), abs=1e-5)
    assert summarize({0: 2.0, 1: math.nan})[::2] == (2.0, 1)
    assert math.isnan(summarize({0: 2.0}).deviation)
    assert summarize({}).number == 0
