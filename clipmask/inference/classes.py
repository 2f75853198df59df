"""The classes that a predictor looks for, as one value that never changes, and their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipmask.errors import UserError
from clipmask.visualizer import palette
from clipmask.vocabulary import Vocabulary, shown_names


@dataclass(frozen=True, eq=False)
class Classes:
    """A vocabulary and how its classes are drawn.

    A result takes its names and its colours from the same value that its labels were predicted
    for, so they belong together whatever other threads set meanwhile.

    Attributes:
        vocabulary: the classes.
        colors: [r, g, b], 0..255, of each.
    """

    vocabulary: Vocabulary
    colors: list[list[int]]

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, in the order of their ids."""
        return self.vocabulary.names


def check_colors(colors: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Returns colours by case-folded class name.

    Args:
        colors: class name to [r, g, b], 0..255.

    Raises:
        UserError: a colour is no such triple.
    """
    checked = {}
    for name, color in colors.items():
        numbers = [int(value) for value in color if isinstance(value, int | np.integer)]
        triple = len(color) == 3 and len(numbers) == 3
        if not triple or not all(0 <= number <= 255 for number in numbers):
            raise UserError(
                f"colour of {name!r}: {color!r} is not [r, g, b] with whole numbers from 0 to 255"
            )
        checked[name.casefold()] = numbers
    return checked


def choose_colors(names: Sequence[str], given: Mapping[str, list[int]]) -> list[list[int]]:
    """Returns one colour a class: the one given for its name or its first synonym, else one of the
    fixed palette.

    Args:
        names: of the classes.
        given: from ``check_colors``.
    """
    own = {}
    for name, shown in zip(names, shown_names(names), strict=True):
        color = given.get(name.casefold()) or given.get(shown.casefold())
        if color:
            own[name] = color
    return palette(names, own)
