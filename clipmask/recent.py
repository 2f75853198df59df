"""The values that were made last, by their keys: a cache of bounded size that threads may share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps the values of the last keys, and forgets the oldest.

    Threads that ask for one new key at the same time may each make its value; all of them get a
    whole one. There is no lock, so that modules that hold a cache can be copied and pickled.

    Args:
        most: values that are kept, at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: dict[Key, Value] = {}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Returns the value of a key; ``make`` is called where none is kept."""
        if key in self._made:
            try:
                return self._made[key]
            except KeyError:  # another thread's new value has just pushed it out
                pass
        value = make()
        self._made[key] = value
        for oldest in list(self._made)[: -self._most]:
            self._made.pop(oldest, None)
        return value

    def clear(self) -> None:
        """Forgets all of them."""
        self._made = {}

    def __len__(self) -> int:
        return len(self._made)
