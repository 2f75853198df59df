"""Orders of samples: permutations by epoch, shares by weight, any position at any time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from clipmask.data.order import EpochOrder, WeightedOrder

SIZES, WEIGHTS = (7, 30, 3), (2.0, 1.0, 1.0)


def dataset(number: int) -> int:
    return 0 if number < 7 else 1 if number < 37 else 2


def test_every_epoch_shows_every_sample_once_in_another_order() -> None:
    order = EpochOrder(9, seed=1)
    epochs = [
        [order(position) for position in range(9 * epoch, 9 * epoch + 9)] for epoch in range(3)
    ]
    assert all(sorted(epoch) == [*range(9)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=20))
def test_a_position_has_its_sample_whenever_it_is_asked_for(positions: list[int]) -> None:
    """As resumed runs and other processes ask."""
    order, asked = WeightedOrder(SIZES, WEIGHTS, seed=4), WeightedOrder(SIZES, WEIGHTS, seed=4)
    in_turn = [order(position) for position in range(301)]
    assert [asked(position) for position in positions] == [
        in_turn[position] for position in positions
    ]


@given(st.integers(0, 2000), st.integers(8, 64))
def test_every_stretch_has_the_shares(start: int, length: int) -> None:
    order = WeightedOrder(SIZES, WEIGHTS, seed=0)
    counts = Counter(dataset(order(position)) for position in range(start, start + length))
    for index, share in enumerate((0.5, 0.25, 0.25)):
        assert abs(counts[index] - share * length) < 4


def test_each_dataset_goes_through_all_of_its_samples() -> None:
    order = WeightedOrder(SIZES, WEIGHTS, seed=0)
    numbers = [order(position) for position in range(400)]
    for index, size in enumerate(SIZES):
        own = [number for number in numbers if dataset(number) == index]
        for epoch in range(len(own) // size):
            assert len({*own[epoch * size : (epoch + 1) * size]}) == size
