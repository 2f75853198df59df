"""Boundary regions and BIoU against their definition, pixel by pixel; the decisions on frame and
void.
"""

from __future__ import annotations

import numpy as np
import pytest

from clipmask.evaluation.boundary import boundary_counts, boundary_region, boundary_width


def region_by_definition(labels: np.ndarray, num_classes: int, distance: int) -> np.ndarray:
    """For each class' mask, its pixels with a known pixel outside the mask within ``distance``
    king's moves.
    """
    known = (labels >= 0) & (labels < num_classes)
    region = np.zeros(labels.shape, dtype=bool)
    for label in range(num_classes):
        mask = labels == label
        for y, x in zip(*np.nonzero(mask), strict=True):
            square = np.s_[
                max(0, y - distance) : y + distance + 1, max(0, x - distance) : x + distance + 1
            ]
            region[y, x] = (known & ~mask)[square].any()
    return region


def random_map(
    rng: np.random.Generator, size: tuple[int, int], num_classes: int, void: float = 0.1
) -> np.ndarray:
    """Blocks of classes, and void: some in blocks, some single pixels."""
    coarse = rng.integers(0, num_classes, (size[0] // 4 + 1, size[1] // 5 + 1))
    coarse[rng.random(coarse.shape) < void] = num_classes
    labels = np.kron(coarse, np.ones((4, 5), dtype=int))[: size[0], : size[1]]
    labels[rng.random(size) < void / 2] = num_classes
    return labels


@pytest.mark.parametrize("distance", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("seed", range(6))
def test_regions_are_those_of_the_definition(distance: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = random_map(rng, tuple(rng.integers(1, 30, 2)), 4)
    assert np.array_equal(
        boundary_region(labels, 4, distance), region_by_definition(labels, 4, distance)
    )


@pytest.mark.parametrize("seed", range(10))
def test_counts_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(20, 70, 2))
    truth, predicted = random_map(rng, size, 3), random_map(rng, size, 3, void=0).astype(np.uint8)
    distance = boundary_width(*size)
    known = np.where(truth < 3, predicted, 3)
    regions = region_by_definition(truth, 3, distance), region_by_definition(known, 3, distance)
    shared, either = boundary_counts(truth, predicted, 3)
    for label in range(3):
        g, p = regions[0] & (truth == label), regions[1] & (known == label)
        assert (shared[label], either[label]) == ((g & p).sum(), (g | p).sum())


def test_width_is_the_papers() -> None:
    assert boundary_width(360, 480) == 12
    assert boundary_width(1024, 2048) == 46
    assert boundary_width(3, 4) == 1


def test_a_shifted_edge_by_hand() -> None:
    """50 x 100 pixels, d = 2: of each class' two columns at the edge one stays, and three are
    touched.
    """
    truth, predicted = np.zeros((50, 100), dtype=int), np.zeros((50, 100), dtype=int)
    truth[:, 40:], predicted[:, 41:] = 1, 1
    shared, either = boundary_counts(truth, predicted, 2)
    assert shared.tolist() == [50, 50]
    assert either.tolist() == [150, 150]


def test_the_frame_is_no_contour() -> None:
    assert not boundary_region(np.ones((9, 9), dtype=int), 2, 2).any()


def test_void_makes_no_contour_but_hides_none() -> None:
    labels = np.zeros((9, 12), dtype=int)
    labels[:, 6:] = 255
    assert not boundary_region(labels, 2, 2).any()
    labels[:, 7:] = 1  # now one column of void lies between two classes
    assert np.flatnonzero(boundary_region(labels, 2, 2)[0]).tolist() == [5, 7]


@pytest.mark.parametrize("num_classes", [2, 255, 256, 300])
def test_the_order_of_the_classes_does_not_matter(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    truth, predicted = (
        random_map(rng, (40, 60), num_classes),
        random_map(rng, (40, 60), num_classes, void=0),
    )
    order = np.append(rng.permutation(num_classes), num_classes)
    straight = boundary_counts(truth, predicted, num_classes)
    mixed = boundary_counts(order[truth], order[predicted], num_classes)
    for counts, others in zip(straight, mixed, strict=True):
        assert np.array_equal(counts, others[order[:-1]])


def test_equal_maps_agree_wherever_there_is_a_contour() -> None:
    labels = random_map(np.random.default_rng(1), (40, 40), 5)
    shared, either = boundary_counts(labels, np.where(labels < 5, labels, 2).astype(np.uint8), 5)
    assert np.array_equal(shared, either)
    assert (either > 0).all()
