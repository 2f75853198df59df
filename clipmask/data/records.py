"""Many dataset dicts in little memory, which the processes of a loader share.

Python counts the references to each object in the object itself. A loader's process that only reads
a list of dicts therefore writes to it, and soon has a copy of all of it. Bytes in one array are not
touched.
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
    """Dataset dicts as pickled bytes in one array; each access makes a dict anew.

    Args:
        records: of plain values, which are copied.
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
    """Lets many objects be made without Python's search for cycles, which goes over all of them
    again and again and doubles the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
