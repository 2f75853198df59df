"""Numbers of instances are told from ids of classes."""

from __future__ import annotations

import pytest

from clipmask.curation.guessing.instances import refuse_instances
from clipmask.errors import UserError


@pytest.mark.parametrize(
    ("found", "step"),
    [
        ([0, 7, 11000, 26000, 26001], 1000),
        ([26001, 26002], 1000),
        ([0, 7 * 256, 21 * 256, 26 * 256 + 1, 26 * 256 + 2], 256),
        ([1 * 256 + 1, 1 * 256 + 2, 2 * 256 + 1], 256),
    ],
)
def test_instances_are_refused_with_the_way_out(found: list[int], step: int) -> None:
    with pytest.raises(UserError, match=rf"class \* {step} \+ instance.*--labels.*// {step}"):
        refuse_instances(found)


@pytest.mark.parametrize(
    "found",
    [
        [0, 1, 2, 255],
        [],
        list(range(0, 20000, 100)),
        [0, 1000, 2000, 3000],
        [0, 256, 512],
        [3, 300, 301, 512, 513],  # ids below 256, so no class is multiplied
        [261, 262, 700],
    ],
)
def test_ids_of_classes_are_taken(found: list[int]) -> None:
    refuse_instances(found)
