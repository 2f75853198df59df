"""How the label files of a dataset are read: what their pixels may hold, and the class that each
value stands for.
"""

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
Value = int | RGB  # what a pixel of a label file holds

DEFAULT_IGNORE_LABEL = 255
LEAST_ID, MOST_ID = -(1 << 31), (1 << 31) - 1  # what a pixel of an integer picture can hold
TRANSPARENT = 1 << 24  # stands for a transparent pixel where others are colours, as from ``packed``
_AT_ONCE = 4096  # colours that are compared with all listed ones at a time
_NARROW_IDS = 1 << 16  # ids of 8 and 16 bits are looked up in a table, others are searched for


@dataclass(frozen=True)
class LabelFormat:
    """How label files are read. The value is immutable; two are equal if they read every file
    alike.

    Attributes:
        num_classes: K; class ids are 0 .. K-1.
        ignore_label: the id of void in what is read: a whole number that is no class id.
        table: value in the files -> class id or ``ignore_label``. Values are ids, or (r, g, b) of
            0..255, all of one kind. None: the files hold class ids and ``ignore_label``.
        others_are_void: what a value that is not in ``table`` means: void, or (False) an error.
            Without a table other values are always an error.
        tolerance: a colour that is not in ``table`` counts as the nearest colour of it, where that
            is no farther than this (Euclidean distance in RGB); ``others_are_void`` speaks of the
            colours beyond.
        transparent: the class id or ``ignore_label`` of pixels whose alpha is below 128, in files
            of colours; None: an error.

    Raises:
        UserError: a value contradicts another one; the message says which.
    """

    num_classes: int
    ignore_label: int = DEFAULT_IGNORE_LABEL
    table: Mapping[Value, int] | None = None
    others_are_void: bool = False
    tolerance: float = 0.0
    transparent: int | None = None

    def __post_init__(self) -> None:
        fault = _ignore_fault(self.ignore_label, self.num_classes)
        if not fault and self.transparent not in (
            None,
            self.ignore_label,
            *range(self.num_classes),
        ):
            fault = f"transparent is {self.transparent!r}, which is neither a class id nor void"
        if not fault and not self.tolerance >= 0:
            fault = f"tolerance is {self.tolerance!r}; it must be 0 or more"
        if not fault and self.table is not None:
            fault = _table_fault("table", self.table, self.num_classes, self.ignore_label)
        if fault:
            raise UserError(f"label format: {fault}")
        object.__setattr__(self, "ignore_label", int(self.ignore_label))
        if self.table is not None:
            plain = {_plain(value): int(target) for value, target in self.table.items()}
            object.__setattr__(self, "table", MappingProxyType(plain))

    def __hash__(self) -> int:
        items = None if self.table is None else frozenset(self.table.items())
        return hash((self.num_classes, self.ignore_label, items, *self._policy))

    @property
    def _policy(self) -> tuple[bool, float, int | None]:
        return self.others_are_void, self.tolerance, self.transparent

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker process makes its own lookup table
        table = None if self.table is None else dict(self.table)
        return LabelFormat, (self.num_classes, self.ignore_label, table, *self._policy)

    @classmethod
    def from_metadata(cls, metadata: Any) -> LabelFormat:
        """Returns the format that a registered dataset's metadata describe.

        Args:
            metadata: of ``MetadataCatalog``, with ``stuff_classes``. ``label_format`` is taken as
                it is. Otherwise ``ignore_label`` (default 255) and one of two tables count:
                ``label_values``, in which every value is listed, or ``label_mapping``, from ids,
                which sends all other ids to void.

        Raises:
            UserError: the metadata contradict themselves; the message names the key.
        """
        num_classes = len(metadata.stuff_classes)
        ignore = metadata.get("ignore_label", None)
        ignore = DEFAULT_IGNORE_LABEL if ignore is None else ignore
        ready, values, mapping = (
            metadata.get(key, None) for key in ("label_format", "label_values", "label_mapping")
        )
        fault = _ignore_fault(ignore, num_classes)
        if not fault and mapping is not None and values is not None:
            fault = (
                "label_mapping and label_values are both there; the first sends all other ids to"
                " void, the second none"
            )
        for key, table in (("label_values", values), ("label_mapping", mapping)):
            if not fault and table is not None:
                fault = _table_fault(key, table, num_classes, ignore, colors=key == "label_values")
        if not fault and ready is not None:
            fault = _ready_fault(ready, num_classes, ignore)
        if fault:
            raise UserError(fault)
        if ready is not None:
            assert isinstance(ready, LabelFormat)
            return ready
        return cls(num_classes, ignore, mapping if values is None else values, mapping is not None)

    @cached_property
    def holds_class_ids(self) -> bool:
        """Whether the files hold class ids and ``ignore_label`` as they are, so that others may
        read them too.
        """
        return self.table is None or all(value == target for value, target in self.table.items())

    @cached_property
    def colored(self) -> bool:
        """Whether the files hold colours rather than ids."""
        return self.table is not None and isinstance(next(iter(self.table)), tuple)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of label maps as they are read: uint8 where all class ids and ``ignore_label``
        fit, else int64.
        """
        narrow = self.num_classes <= 256 and 0 <= self.ignore_label <= 255
        return np.dtype(np.uint8 if narrow else np.int64)

    @cached_property
    def known(self) -> dict[int, int]:
        """What may stand in a file (colours as from ``packed``, or ``TRANSPARENT``) -> class id or
        ``ignore_label``.
        """
        if self.table is None:
            return {value: value for value in (*range(self.num_classes), self.ignore_label)}
        known = {
            packed(key) if isinstance(key, tuple) else key: target
            for key, target in self.table.items()
        }
        return known if self.transparent is None else {**known, TRANSPARENT: self.transparent}

    def place(self, value: int) -> int | None:
        """Returns the class id or ``ignore_label`` that a value in a file stands for; None: it must
        not occur.
        """
        labels, wrong = self.decode(np.array([value], np.uint32 if self.colored else np.int64))
        return None if wrong is not None else int(labels[0])

    def decode(self, raw: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Looks every pixel up.

        Args:
            raw: (H, W) ids; or, where the format is ``colored``, r + 256 g + 65536 b or
                ``TRANSPARENT``, uint32.

        Returns:
            (H, W) class ids and ``ignore_label``, of ``dtype``; and a mask (H, W) of the pixels
            whose value must not occur, None if there is no such pixel. What the first holds at
            these pixels is undefined.
        """
        if self.table is None:
            return self._unchanged(raw)
        found = self._search(raw)
        wrong = found == self._unknown
        return found.astype(self.dtype, copy=False), wrong if wrong.any() else None

    def _unchanged(self, raw: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        wrong = raw >= self.num_classes
        if raw.dtype.kind == "i":
            wrong |= raw < 0
        wrong &= raw != self.ignore_label
        return raw.astype(self.dtype), wrong if wrong.any() else None

    def _search(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Returns class id, ``ignore_label`` or ``_unknown`` for each pixel."""
        if self.colored or (raw.dtype.itemsize <= 2 and raw.dtype.kind != "i"):
            # all are in the table; clip is the fast mode
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
        """A number that is neither class id nor ``ignore_label``."""
        return next(
            number
            for number in range(self.num_classes, self.num_classes + 2)
            if number != self.ignore_label
        )

    @cached_property
    def _other(self) -> int:
        return self.ignore_label if self.others_are_void else self._unknown

    @cached_property
    def _lookup(self) -> NDArray[Any]:
        """The result for each colour (16 million, and ``TRANSPARENT``) or id of at most 16 bits.

        With a ``tolerance``, colours that are not listed are ``_unknown`` until they are first
        seen.
        """
        size = TRANSPARENT + 1 if self.colored else _NARROW_IDS
        kind = np.result_type(
            *map(np.min_scalar_type, (self.num_classes, self.ignore_label, self._unknown))
        )
        table = np.full(size, self._unknown if self.tolerance else self._other, kind)
        for value, target in self.known.items():
            if 0 <= value < size:
                table[value] = target
        if self.colored and self.transparent is None:
            table[TRANSPARENT] = self._unknown
        return table

    def _look_up_nearest(self, values: NDArray[Any]) -> None:
        """Writes what colours (N,) stand for into ``_lookup``; of equally near ones the first in
        ``table`` counts.
        """
        values = values[values != TRANSPARENT]
        listed = {value: target for value, target in self.known.items() if value != TRANSPARENT}
        known = _channels(np.array(list(listed), np.uint32))
        targets = np.array(list(listed.values()), np.int64)
        for part in np.array_split(values, -(-len(values) // _AT_ONCE)) if len(values) else ():
            squares = ((_channels(part)[:, None] - known) ** 2).sum(-1)
            near = squares.argmin(1)
            within = squares[np.arange(len(part)), near] <= self.tolerance**2
            self._lookup[part] = np.where(within, targets[near], self._other)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The listed values in order, and what each stands for."""
        values = sorted(self.known)
        return np.array(values, np.int64), np.array(
            [self.known[value] for value in values], np.int64
        )


def _channels(numbers: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Returns (N, 3), red, green, blue, of colours as from ``packed``."""
    return np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16 & 255], -1).astype(np.int64)


def packed(color: RGB) -> int:
    """Returns a colour as one number, r + 256 g + 65536 b."""
    red, green, blue = color
    return red + (green << 8) + (blue << 16)


def unpacked(number: int) -> list[int]:
    """Returns [r, g, b] of a number from ``packed``."""
    return [number & 255, number >> 8 & 255, number >> 16 & 255]


def _plain(value: Any) -> Value:
    """Returns a value of a table as plain Python numbers."""
    if not isinstance(value, tuple):
        return int(value)
    red, green, blue = map(int, value)
    return red, green, blue


def _ignore_fault(ignore: Any, num_classes: int) -> str | None:
    """Says what is wrong with an ``ignore_label``."""
    if not _is_whole(ignore) or 0 <= ignore < num_classes:
        return (
            f"ignore_label is {ignore!r}; it must be a whole number that is no class id (0 to"
            f" {num_classes - 1})"
        )
    return None


def _ready_fault(ready: Any, num_classes: int, ignore: int) -> str | None:
    """Says what is wrong with ``label_format`` beside the other metadata."""
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
    """Says what is wrong with the table called ``name``; ``colors``: its keys may be colours."""
    if not isinstance(table, Mapping) or not table:
        what = "ids or (r, g, b) in the label files" if colors else "ids in the label files"
        return f"{name} is {table!r}; it must be a dict of {what} to class ids"
    colored = colors and any(isinstance(key, tuple) for key in table)
    for key, target in table.items():
        fault = _color_fault(key) if colored else _id_fault(key)
        if fault:
            return f"{name} has the key {key!r}; {fault}"
        if not _is_whole(target) or not (0 <= target < num_classes or target == ignore):
            return (
                f"{name} sends {key} to {target!r}, which is neither a class id (0 to"
                f" {num_classes - 1}) nor void"
            )
    return None


def _id_fault(key: Any) -> str | None:
    right = _is_whole(key) and LEAST_ID <= key <= MOST_ID
    return None if right else f"an id in a label file is a whole number, {LEAST_ID} to {MOST_ID}"


def _color_fault(key: Any) -> str | None:
    right = (
        isinstance(key, tuple)
        and len(key) == 3
        and all(_is_whole(item) and 0 <= item <= 255 for item in key)
    )
    return None if right else "beside colours all keys are (r, g, b), whole numbers from 0 to 255"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
