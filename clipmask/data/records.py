"""Compact storage of many dataset dicts in memory that the processes of a loader share.

Python stores the reference count of an object in the object itself. A process of a loader that only
reads a list of dicts therefore writes to it, and soon has a copy of the whole list. The bytes of
one array have no reference counts, so they stay shared.
"""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

import numpy as np

Record = dict[str, Any]


class PackedRecords(Sequence[Record]):
    """A sequence of dataset dicts, stored as pickled bytes in one array.

    Each access returns a new dict.

    Args:
        records: the dataset dicts, of plain values; they are copied.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        packed = bytearray()
        ends = [0]
        for record in records:
            packed += pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
            ends.append(len(packed))
        self._bytes = np.frombuffer(bytes(packed), np.uint8)
        self._ends = np.array(ends, np.int64)

    @overload
    def __getitem__(self, number: int) -> Record: ...

    @overload
    def __getitem__(self, number: slice) -> list[Record]: ...

    def __getitem__(self, number: int | slice) -> Record | list[Record]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        place = number + len(self) if number < 0 else number
        if not 0 <= place < len(self):
            raise IndexError(number)
        start, end = self._ends[place : place + 2]
        record: Record = pickle.loads(self._bytes[start:end].data)
        return record

    def __len__(self) -> int:
        return len(self._ends) - 1


@contextmanager
def without_collection() -> Iterator[None]:
    """Switches Python's garbage collector off while the context lasts.

    It speeds up the creation of very many objects, which the collector would scan again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
