"""Results come for all items, and for a process that dies None comes for the item that killed it,
no other.
"""

from __future__ import annotations

import os

from clipmask.curation.checking.pool import map_robustly


def _double(item: int) -> int:
    return 2 * item


def _fragile(item: int) -> int:
    if item in (3, 11):
        os._exit(1)  # as a decoder's crash or the kernel's out-of-memory killer
    return 2 * item


def test_in_this_process() -> None:
    assert list(map_robustly(_double, [4, 5], 0)) == [(0, 8), (1, 10)]
    assert list(map_robustly(_double, [], 2)) == []


def test_a_process_that_dies_takes_nothing_with_it() -> None:
    results = dict(map_robustly(_fragile, range(20), 2))
    assert results == {item: None if item in (3, 11) else 2 * item for item in range(20)}
