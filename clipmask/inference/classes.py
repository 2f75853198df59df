"""The classes of a predictor and their colours: one immutable value, and the choice of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipmask.errors import MissingText, UserError
from clipmask.inference.exported import ExportedModel
from clipmask.modeling import ClipMask
from clipmask.recent import Recent
from clipmask.visualizer import palette
from clipmask.vocabulary import Vocabulary, shown_names, texts_of

logger = logging.getLogger(__name__)

KEPT_VOCABULARIES = 256  # whose classes are kept


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


class ChosenClasses:
    """The classes of a predictor's results; several threads may use it at once.

    Args:
        model: it says which vocabularies it can use; the first is its own.
        random: whether the model was trained with MODEL.CLIP.EMBEDDINGS random.

    Attributes:
        current: the classes of calls that name none.
    """

    def __init__(self, model: ClipMask | ExportedModel, random: bool) -> None:
        self._model, self._random = model, random
        terms = model.vocabulary.terms
        if isinstance(model, ClipMask):
            terms = model.text.terms
        self._trained = frozenset(texts_of(terms))
        self._preparing = threading.Lock()  # so that only one thread loads CLIP
        self._given_colors: dict[str, list[int]] = {}
        self._known: Recent[Vocabulary, Classes] = Recent(KEPT_VOCABULARIES)
        self.current = self.of(model.vocabulary)

    def of(self, vocabulary: Vocabulary | Sequence[str] | None) -> Classes:
        """Returns a vocabulary, or names, with colours; None: ``current``.

        Raises:
            UserError: the model can't use the vocabulary, see ``ClipMask.set_vocabulary``.
        """
        if vocabulary is None:
            return self.current
        vocabulary = Vocabulary.of(vocabulary)
        return self._known.get(vocabulary, lambda: self._make(vocabulary))

    def set_colors(self, colors: Mapping[str, Sequence[int]]) -> None:
        """Sets colours by class name, see ``Predictor.set_colors``."""
        self._given_colors = check_colors(colors)
        self._known = Recent(KEPT_VOCABULARIES)
        self.current = self.of(self.current.vocabulary)

    def _make(self, vocabulary: Vocabulary) -> Classes:
        try:
            with self._preparing:
                self._model.check_vocabulary(vocabulary)
        except MissingText as error:
            learned = isinstance(self._model, ClipMask) and self._model.text.learner is not None
            if vocabulary.embeddings or learned:
                raise
            raise MissingText(
                f"{error}. A file with the embeddings of these names is enough: --embeddings"
                " FILE.npz"
            ) from error
        if self._random:
            known = all(term.text in self._trained for term in vocabulary.terms)
            if not known or vocabulary.embeddings not in ("", "random"):
                logger.warning(
                    "this model was trained with MODEL.CLIP.EMBEDDINGS random: it knows no meaning"
                    " of new class names, so its result for them is arbitrary"
                )
        return Classes(vocabulary, choose_colors(vocabulary.names, self._given_colors))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_preparing": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = {**state, "_preparing": threading.Lock()}


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
