"""Saved states give the same numbers again."""

from __future__ import annotations

import random

import numpy as np
import torch

from clipmask.engine.random_state import (
    draw_seed,
    get_random_state,
    preserved_random_state,
    seed_everything,
    set_random_state,
)
from clipmask.weights.checkpoint import canonical


def _draw() -> tuple[float, float, float, float]:
    return (
        random.random(),
        np.random.normal(),  # noqa: NPY002
        torch.rand(1).item(),
        random.gauss(0, 1),
    )


def test_state_brings_back_the_numbers_also_after_a_checkpoint() -> None:
    seed_everything(3)
    _draw()
    state = canonical(get_random_state())
    first = _draw()
    set_random_state(state)
    assert _draw() == first


def test_seeds_differ_and_repeat() -> None:
    seed_everything(3)
    first = _draw()
    seed_everything(4)
    assert _draw() != first
    seed_everything(3)
    assert _draw() == first


def test_draws_inside_change_nothing_outside() -> None:
    seed_everything(3)
    first = _draw()
    seed_everything(3)
    with preserved_random_state():
        _draw()
    assert _draw() == first


def test_drawn_seeds_are_not_all_the_same() -> None:
    seeds = {draw_seed() for _ in range(4)}
    assert len(seeds) > 1
    assert min(seeds) >= 0
