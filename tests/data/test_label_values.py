"""Exact tables of ids and colours."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmask.data.label_values import LabelValues, packed, unpacked

CHANNEL = st.integers(0, 255)


@given(st.dictionaries(st.tuples(CHANNEL, CHANNEL, CHANNEL), st.integers(0, 65535), min_size=1, max_size=20))
def test_every_colour_is_found_and_no_other(table: dict[tuple[int, int, int], int]) -> None:
    values = LabelValues(table)
    raw = np.array([packed(color) for color in table])
    assert values.find(raw).tolist() == [value + 1 for value in table.values()]
    others = np.array([number for number in (0, 1, 65536, 2**24 - 1) if tuple(unpacked(number)) not in table], int)
    assert not values.find(others).any()


def test_ids(tmp_path: object) -> None:
    values = LabelValues({7: 0, 65535: 255})
    assert not values.colored
    assert values.find(np.array([[7, 8, 65535]], np.uint16)).tolist() == [[1, 0, 256]]


def test_tables_are_equal_by_content_and_travel_small() -> None:
    values = LabelValues({(1, 2, 3): 0, (0, 0, 0): 255})
    values.find(np.zeros((1, 1), np.uint32))
    content = pickle.dumps(values)
    assert len(content) < 1000  # not the table of 16 million
    assert pickle.loads(content) == values == {(1, 2, 3): 0, (0, 0, 0): 255}
    assert values != LabelValues({(1, 2, 3): 1})


@pytest.mark.parametrize("color", [(0, 0, 0), (1, 2, 3), (255, 254, 253)])
def test_a_colour_is_one_number_and_back(color: tuple[int, int, int]) -> None:
    assert tuple(unpacked(packed(color))) == color
