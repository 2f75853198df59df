"""How label files are read: which values their pixels may have, and the class of each value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError

RGB = tuple[int, int, int]
Value = int | RGB  # the value of a pixel of a label file

DEFAULT_IGNORE_LABEL = 255
LEAST_ID, MOST_ID = -(1 << 31), (1 << 31) - 1  # the range of pixels in 32-bit integer pictures
TRANSPARENT = 1 << 24  # a transparent pixel, in an array of colours as from ``packed``
_AT_ONCE = 4096  # number of colours that are compared with all listed ones in one step
_NARROW_IDS = 1 << 16  # 8-bit and 16-bit ids use a lookup table, others a binary search


@dataclass(frozen=True)
class LabelFormat:
    """Converts the pixels of label files to class ids. The value is immutable.

    Two formats are equal if they convert every file in the same way.

    Attributes:
        num_classes: K, the number of classes; class ids are 0 .. K-1.
        ignore_label: the id of void in the result, a whole number that is not a class id.
        table: value in the files -> class id or ``ignore_label``. The values are either all ids or
            all colours (r, g, b), each 0..255. None: the files hold class ids and ``ignore_label``.
        others_are_void: True: a value that is not in ``table`` is void. False: it is an error.
            Without a table, other values are always an error.
        tolerance: a colour that is not in ``table`` counts as the nearest colour there, if their
            Euclidean distance in RGB is at most this. ``others_are_void`` applies to colours that
            are farther away.
        transparent: in files of colours, the class id or ``ignore_label`` of pixels whose alpha is
            below 128; None: such pixels are an error.

    Raises:
        UserError: a value contradicts another one; the message names both.
    """

    num_classes: int
    ignore_label: int = DEFAULT_IGNORE_LABEL
    table: Mapping[Value, int] | None = None
    others_are_void: bool = False
    tolerance: float = 0.0
    transparent: int | None = None

    def __post_init__(self) -> None:
        fault = (
            _ignore_fault(self.ignore_label, self.num_classes)
            or self._policy_fault()
            or _table_fault("table", self.table, self.num_classes, self.ignore_label)
        )
        if fault:
            raise UserError(f"label format: {fault}")
        object.__setattr__(self, "ignore_label", int(self.ignore_label))
        if self.table is not None:
            plain = {_plain(value): int(target) for value, target in self.table.items()}
            object.__setattr__(self, "table", MappingProxyType(plain))

    def _policy_fault(self) -> str | None:
        if self.transparent not in (None, self.ignore_label, *range(self.num_classes)):
            return f"transparent is {self.transparent!r}, which is neither a class id nor void"
        if not self.tolerance >= 0:
            return f"tolerance is {self.tolerance!r}; it must be 0 or more"
        return None

    def __hash__(self) -> int:
        items = frozenset((self.table or {}).items())
        return hash((self.num_classes, self.ignore_label, items, *self._policy))

    @property
    def _policy(self) -> tuple[bool, float, int | None]:
        return self.others_are_void, self.tolerance, self.transparent

    def __reduce__(self) -> tuple[Any, ...]:
        # the large lookup table is not pickled; each worker process computes its own
        table = self.table and dict(self.table)
        return LabelFormat, (self.num_classes, self.ignore_label, table, *self._policy)

    @classmethod
    def from_metadata(cls, metadata: Any) -> LabelFormat:
        """Returns the format that the metadata of a registered dataset describe.

        Args:
            metadata: metadata of ``MetadataCatalog``, with ``stuff_classes``. If they have a
                ``label_format``, that is returned. Otherwise ``ignore_label`` (default 255) and one
                of two tables are used: ``label_values``, which lists every value, or
                ``label_mapping``, a table of ids in which all other ids are void.

        Raises:
            UserError: the metadata contradict themselves; the message names the key.
        """
        num_classes = len(metadata.stuff_classes)
        ignore = metadata.get("ignore_label", None)
        if ignore is None:
            ignore = DEFAULT_IGNORE_LABEL
        ready = metadata.get("label_format", None)
        values, mapping = metadata.get("label_values", None), metadata.get("label_mapping", None)
        fault = _ignore_fault(ignore, num_classes)
        if not fault and mapping is not None and values is not None:
            fault = (
                "label_mapping and label_values are both given, but only one can be used: with"
                " label_mapping, all other ids are void; with label_values, they are an error"
            )
        fault = (
            fault
            or _table_fault("label_values", values, num_classes, ignore)
            or _table_fault("label_mapping", mapping, num_classes, ignore, colors=False)
            or _ready_fault(ready, num_classes, ignore)
        )
        if fault:
            raise UserError(fault)
        if isinstance(ready, LabelFormat):
            return ready
        if mapping is not None:
            return cls(num_classes, ignore, mapping, others_are_void=True)
        return cls(num_classes, ignore, values)

    @cached_property
    def holds_class_ids(self) -> bool:
        """Whether the pixel values are class ids, so that other programs can read the files."""
        return self.table is None or all(value == target for value, target in self.table.items())

    @cached_property
    def colored(self) -> bool:
        """Whether the files hold colours rather than ids."""
        return self.table is not None and isinstance(next(iter(self.table)), tuple)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The number type of the result: uint8 if all ids fit into it, else int64."""
        narrow = self.num_classes <= 256 and 0 <= self.ignore_label <= 255
        return np.dtype(np.uint8 if narrow else np.int64)

    @cached_property
    def known(self) -> dict[int, int]:
        """The values that are allowed in a file -> class id or ``ignore_label``.

        Colours are numbers as from ``packed``, or ``TRANSPARENT``.
        """
        if self.table is None:
            return {value: value for value in (*range(self.num_classes), self.ignore_label)}
        known = {}
        for key, target in self.table.items():
            known[packed(key) if isinstance(key, tuple) else key] = target
        if self.transparent is not None:
            known[TRANSPARENT] = self.transparent
        return known

    def place(self, value: int) -> int | None:
        """Returns the class id or ``ignore_label`` of a value in a file.

        The result is None if the value is not allowed.
        """
        labels, wrong = self.decode(np.array([value], np.uint32 if self.colored else np.int64))
        if wrong is not None:
            return None
        return int(labels[0])

    def decode(self, raw: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Converts the values of a label file to class ids.

        Args:
            raw: (H, W) ids; or, if the format is ``colored``, uint32 numbers r + 256 g + 65536 b,
                or ``TRANSPARENT``.

        Returns:
            The label map (H, W) of class ids and ``ignore_label``, of the type ``dtype``; and a
            mask (H, W) of the pixels whose value is not allowed, or None if there is no such pixel.
            At these pixels the label map is undefined.
        """
        if self.table is None:
            labels, wrong = raw.astype(self.dtype), self._outside(raw)
        else:
            found = self._search(raw)
            labels, wrong = found.astype(self.dtype, copy=False), found == self._unknown
        return labels, wrong if wrong.any() else None

    def _outside(self, raw: NDArray[Any]) -> NDArray[np.bool_]:
        """The ids that are neither of a class nor ``ignore_label``."""
        wrong = raw >= self.num_classes
        if raw.dtype.kind == "i":
            wrong |= raw < 0
        wrong &= raw != self.ignore_label
        return wrong

    def _search(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Returns class id, ``ignore_label`` or ``_unknown`` for each pixel."""
        if self.colored or (raw.dtype.itemsize <= 2 and raw.dtype.kind != "i"):
            # the lookup table has an entry for every possible value; "clip" is the fastest mode
            found = self._lookup.take(raw, mode="clip")
            if self.tolerance and (found == self._unknown).any():
                self._look_up_nearest(np.unique(raw[found == self._unknown]))
                found = self._lookup.take(raw, mode="clip")
            return found
        keys, targets = self._sorted
        place = np.searchsorted(keys, raw).clip(max=len(keys) - 1)
        return np.where(keys[place] == raw, targets[place], self._other)

    @cached_property
    def _unknown(self) -> int:
        """A number that is neither a class id nor ``ignore_label``."""
        return self.num_classes + (self.num_classes == self.ignore_label)

    @cached_property
    def _other(self) -> int:
        if self.others_are_void:
            return self.ignore_label
        return self._unknown

    @cached_property
    def _lookup(self) -> NDArray[Any]:
        """The lookup table of all 16 million colours and ``TRANSPARENT``, or of all 16-bit ids.

        With a ``tolerance``, colours that are not listed are ``_unknown`` until the first picture
        that has them.
        """
        size = TRANSPARENT + 1 if self.colored else _NARROW_IDS
        largest = (self.num_classes, self.ignore_label, self._unknown)
        kind = np.result_type(*map(np.min_scalar_type, largest))
        table = np.full(size, self._unknown if self.tolerance else self._other, kind)
        for value, target in self.known.items():
            if 0 <= value < size:
                table[value] = target
        if self.colored and self.transparent is None:
            table[TRANSPARENT] = self._unknown
        return table

    def _look_up_nearest(self, values: NDArray[Any]) -> None:
        """Enters the class ids of colours (N,) into ``_lookup``, by the nearest known colour.

        Of equally near colours, the first in ``table`` counts.
        """
        values = values[values != TRANSPARENT]
        listed = dict(self.known)
        listed.pop(TRANSPARENT, None)
        known = _channels(np.array(list(listed), np.uint32))
        targets = np.array(list(listed.values()), np.int64)
        for start in range(0, len(values), _AT_ONCE):
            part = values[start : start + _AT_ONCE]
            squares = ((_channels(part)[:, None] - known) ** 2).sum(-1)
            near = squares.argmin(1)
            within = squares[np.arange(len(part)), near] <= self.tolerance**2
            self._lookup[part] = np.where(within, targets[near], self._other)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The allowed values in rising order, and the id of each."""
        values = sorted(self.known)
        targets = [self.known[value] for value in values]
        return np.array(values, np.int64), np.array(targets, np.int64)


def _channels(numbers: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Returns red, green and blue (N, 3) of colours (N,) as from ``packed``."""
    return np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16 & 255], -1).astype(np.int64)


def packed(color: RGB) -> int:
    """Returns a colour as one number, r + 256 g + 65536 b."""
    red, green, blue = color
    return red + (green << 8) + (blue << 16)


def unpacked(number: int) -> list[int]:
    """Returns [r, g, b] of a number from ``packed``."""
    return [number & 255, number >> 8 & 255, number >> 16 & 255]


def _plain(value: Any) -> Value:
    """Returns a value of a table with Python's own number types."""
    if not isinstance(value, tuple):
        return int(value)
    red, green, blue = map(int, value)
    return red, green, blue


def _ignore_fault(ignore: Any, num_classes: int) -> str | None:
    """Returns what is wrong with an ``ignore_label``, or None."""
    if not _is_whole(ignore) or 0 <= ignore < num_classes:
        return (
            f"ignore_label is {ignore!r}; it must be a whole number that is not a class id (0 to"
            f" {num_classes - 1})"
        )
    return None


def _ready_fault(ready: Any, num_classes: int, ignore: int) -> str | None:
    """Returns in what ``label_format`` contradicts the other metadata, or None."""
    if ready is None:
        return None
    if not isinstance(ready, LabelFormat):
        return f"label_format is {ready!r}; it must be a clipmask.data.LabelFormat"
    if (ready.num_classes, ready.ignore_label) != (num_classes, ignore):
        return (
            f"label_format has {ready.num_classes} classes and ignore_label {ready.ignore_label},"
            f" but there are {num_classes} stuff_classes, and ignore_label is {ignore}"
        )
    return None


def _table_fault(
    name: str, table: Any, num_classes: int, ignore: int, colors: bool = True
) -> str | None:
    """Returns what is wrong with a table of values, or None.

    Args:
        name: the name of the table, for the message.
        table: the table; None is right.
        num_classes, ignore: as in ``LabelFormat``.
        colors: whether its keys may be colours.
    """
    if table is None:
        return None
    if not isinstance(table, Mapping) or not table:
        what = "ids or (r, g, b)" if colors else "ids"
        return f"{name} is {table!r}; it must be a dict of {what} in the label files to class ids"
    colored = colors and any(isinstance(key, tuple) for key in table)
    for key, target in table.items():
        rule = _broken_rule(key, colored)
        if rule:
            return f"{name} has the key {key!r}; {rule}"
        if not _is_whole(target) or not (0 <= target < num_classes or target == ignore):
            return (
                f"{name} maps {key} to {target!r}, which is neither a class id (0 to"
                f" {num_classes - 1}) nor void"
            )
    return None


def _broken_rule(key: Any, colored: bool) -> str | None:
    """Returns the rule that a key of a table of colours, or of ids, breaks; None if it is right."""
    if not colored:
        right = _is_whole(key) and LEAST_ID <= key <= MOST_ID
        rule = f"an id in a label file must be a whole number, {LEAST_ID} to {MOST_ID}"
    else:
        right = isinstance(key, tuple) and len(key) == 3
        right = right and all(_is_whole(item) and 0 <= item <= 255 for item in key)
        rule = "all keys must be colours, (r, g, b), whole numbers from 0 to 255"
    if right:
        return None
    return rule


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
