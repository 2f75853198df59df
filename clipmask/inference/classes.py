"""The classes of a predictor and their colours, as one immutable value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipmask.errors import UserError
from clipmask.visualizer import palette
from clipmask.vocabulary import Vocabulary, shown_names


@dataclass(frozen=True, eq=False)
class Classes:
    """A vocabulary with a colour for each class.

    A result takes its names and colours from the value with which its labels were predicted. So
    they fit together, even if another thread sets other classes at the same time.

    Attributes:
        vocabulary: the classes.
        colors: [r, g, b], each 0..255, for each class.
    """

    vocabulary: Vocabulary
    colors: list[list[int]]

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, in the order of their ids."""
        return self.vocabulary.names


def check_colors(colors: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Checks colours and returns them by case-folded class name.

    Args:
        colors: class name -> [r, g, b], each 0..255.

    Raises:
        UserError: a colour does not have this form.
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
    """Returns one colour per class.

    It is the colour given for the class name or its first synonym, else one of the fixed palette.

    Args:
        names: the class names.
        given: the result of ``check_colors``.
    """
    own = {}
    for name, shown in zip(names, shown_names(names), strict=True):
        color = given.get(name.casefold()) or given.get(shown.casefold())
        if color:
            own[name] = color
    return palette(names, own)
