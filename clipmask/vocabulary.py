"""The classes of a dataset as names: one immutable value that everything else takes as an argument.

A dataset's label space is a list of classes. A class has a name, which may be several synonyms for
one meaning (``car;automobile``), or it has members, names of which its pixels may show any
(``vehicles`` includes ``car``, ``truck`` and ``bus``). Every name becomes one row of T:

    synonyms    one row: the mean of the synonyms' embeddings
    members     one row each; the probability of the class is the sum of theirs

Datasets that are trained together share rows: a name that two of them have is one row, whatever
class it stands for.

This file alone knows how synonyms are written as one text, ``a;b``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from clipmask.errors import UserError

_SEPARATOR = ";"


@dataclass(frozen=True)
class Term:
    """A name with one meaning, and so one row of T.

    Attributes:
        synonyms: one word or more, such as ``("car", "automobile")``; the first is shown.
        aliases: other names that a file of embeddings may know it by; asked where it has none of
            the synonyms.
        prompts: sentences for CLIP in place of the config's templates; ``{}`` in them is the name.
    """

    synonyms: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, aliases: Iterable[str] = (), prompts: Iterable[str] = ()) -> Term:
        """Reads ``car;automobile``.

        Raises:
            UserError: it is no text, or holds no word.
        """
        if not isinstance(text, str):
            raise UserError(f"a class name is a text; got {text!r}")
        parts = tuple(part.strip() for part in text.split(_SEPARATOR) if part.strip())
        if not parts:
            raise UserError(
                f"the class name {text!r} holds no word: write a name, or synonyms such as"
                " 'car;automobile'"
            )
        return cls(parts, tuple(aliases), tuple(prompts))

    @property
    def text(self) -> str:
        """The synonyms as one text, ``car;automobile``: the name in metadata, checkpoints and
        scores.
        """
        return _SEPARATOR.join(self.synonyms)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class LabelClass:
    """One class of a dataset.

    Attributes:
        term: its name.
        members: what its pixels may show, if it stands for several things; empty: what its name
            says.
        color: [r, g, b], 0..255, in the dataset's own palette; None: it has none.
        server_id: the id that a benchmark's server knows the class by; None: there is no server.
    """

    term: Term
    members: tuple[Term, ...] = ()
    color: tuple[int, int, int] | None = None
    server_id: int | None = None

    @property
    def rows(self) -> tuple[Term, ...]:
        """The names whose rows of T make up the class: its members, or itself."""
        return self.members or (self.term,)


@dataclass(frozen=True)
class Vocabulary:
    """All classes of a dataset, in the order of their ids.

    Attributes:
        classes: K of them, K > 0; their names differ, and no name is a member of two.
        embeddings: where rows of T come from that the model was not trained with: a file (.npz) or
            ``random``; empty: the model's own source.

    Raises:
        UserError: there is no class, two have one name, or a name belongs to two classes.
    """

    classes: tuple[LabelClass, ...]
    embeddings: str = ""

    def __post_init__(self) -> None:
        if not self.classes:
            raise UserError("a vocabulary needs one class name at least")
        _refuse_twice(
            (item.term.text for item in self.classes),
            "a vocabulary needs different names; {} is there twice",
        )
        _refuse_twice(
            (term.text for term in self.terms),
            "{} is a member of two classes of one vocabulary: nothing could tell them apart there",
        )

    @classmethod
    def from_names(cls, names: Sequence[str], embeddings: str = "") -> Vocabulary:
        """Makes one of plain names.

        Args:
            names: one text a class; ``a;b`` are synonyms.
            embeddings: see the class.

        Raises:
            UserError: ``names`` is one text, or see the class and ``Term.parse``.
        """
        if isinstance(names, str):
            raise UserError(
                f"a vocabulary is a list of names; got the text {names!r}: write {[names]}"
            )
        return cls(tuple(LabelClass(Term.parse(name)) for name in names), embeddings)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Vocabulary:
        """Makes one of a dataset's metadata, or of those in a checkpoint.

        Args:
            metadata: ``stuff_classes``, and where they are there ``class_aliases``,
                ``class_prompts`` and ``class_members`` (class name to a list of texts),
                ``stuff_colors`` and ``server_ids`` (one a class).

        Raises:
            UserError: see the class and ``Term.parse``.
        """
        names = [str(name) for name in metadata["stuff_classes"]]
        aliases, prompts, members = (
            metadata.get(f"class_{key}") or {} for key in ("aliases", "prompts", "members")
        )
        colors = _colors(metadata.get("stuff_colors"), len(names))
        ids = metadata.get("server_ids")
        server_ids = (
            list(ids)
            if isinstance(ids, Sequence) and len(ids) == len(names)
            else [None] * len(names)
        )
        classes = []
        for name, color, server_id in zip(names, colors, server_ids, strict=True):
            term = Term.parse(name, aliases.get(name, ()), prompts.get(name, ()))
            parts = tuple(
                Term.parse(part, aliases.get(part, ()), prompts.get(part, ()))
                for part in members.get(name, ())
            )
            classes.append(LabelClass(term, parts, color, server_id))
        return cls(tuple(classes))

    def metadata(self) -> dict[str, Any]:
        """Returns plain values from which ``from_metadata`` makes an equal vocabulary."""
        terms = {term.text: term for item in self.classes for term in (item.term, *item.members)}
        plain: dict[str, Any] = {
            "stuff_classes": list(self.names),
            "stuff_colors": None,
            "class_aliases": {
                text: list(term.aliases) for text, term in terms.items() if term.aliases
            },
        }
        if all(item.color is not None for item in self.classes):
            plain["stuff_colors"] = [list(item.color or ()) for item in self.classes]
        if all(item.server_id is not None for item in self.classes):
            plain["server_ids"] = [item.server_id for item in self.classes]
        prompts = {text: list(term.prompts) for text, term in terms.items() if term.prompts}
        members = {
            item.term.text: [term.text for term in item.members]
            for item in self.classes
            if item.members
        }
        return (
            plain
            | ({"class_prompts": prompts} if prompts else {})
            | ({"class_members": members} if members else {})
        )

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes' names with their synonyms, ``car;automobile``."""
        return tuple(item.term.text for item in self.classes)

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """What people read: each class's first synonym, or all of them where two classes would be
        called alike.
        """
        return tuple(shown_names(self.names))

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The R names whose rows of T a prediction needs, class after class."""
        return tuple(term for item in self.classes for term in item.rows)

    @cached_property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """For each class the places of its names among ``terms``."""
        places, start = [], 0
        for item in self.classes:
            places.append(tuple(range(start, start + len(item.rows))))
            start += len(item.rows)
        return tuple(places)

    def with_server_ids(self, ids: Sequence[int]) -> Vocabulary:
        """Returns the same classes with these ids of a benchmark's server, one a class."""
        classes = [
            replace(item, server_id=number) for item, number in zip(self.classes, ids, strict=True)
        ]
        return replace(self, classes=tuple(classes))

    @cached_property
    def label_space(self) -> tuple[tuple[str, ...], ...]:
        """What makes two datasets' labels mean the same: for each class its name and its members'
        names.
        """
        return tuple(
            (item.term.text, *(term.text for term in item.members)) for item in self.classes
        )

    def using(self, embeddings: str) -> Vocabulary:
        """Returns the same classes with rows from another source; see the class."""
        return replace(self, embeddings=embeddings)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.classes, self.embeddings))  # asked for at every step

    def __getstate__(self) -> dict[str, Any]:
        # what is cached is made again
        return {"classes": self.classes, "embeddings": self.embeddings}


def shown_names(names: Sequence[str]) -> list[str]:
    """Returns the first synonym of each class name; the whole name where two classes would be
    called alike.
    """
    first = [name.split(_SEPARATOR)[0].strip() or name for name in names]
    counts = Counter(first)
    return [short if counts[short] == 1 else name for short, name in zip(first, names, strict=True)]


def different(vocabularies: Iterable[Vocabulary]) -> tuple[Vocabulary, ...]:
    """Returns the vocabularies whose classes differ, each once and in order.

    Those with the same names and members in the same order are one, whatever else is known of their
    classes.
    """
    found: dict[tuple[tuple[str, ...], ...], Vocabulary] = {}
    for vocabulary in vocabularies:
        found.setdefault(vocabulary.label_space, vocabulary)
    return tuple(found.values())


def union(vocabularies: Iterable[Vocabulary]) -> tuple[Term, ...]:
    """Returns the different names of several vocabularies, each once, in the order in which they
    first occur.

    Aliases of a name are those of all vocabularies that have it; prompts are those of the first
    that gives some.
    """
    found: dict[str, Term] = {}
    for vocabulary in vocabularies:
        for term in vocabulary.terms:
            before = found.get(term.text, term)
            aliases = tuple(dict.fromkeys((*before.aliases, *term.aliases)))
            found[term.text] = Term(term.synonyms, aliases, before.prompts or term.prompts)
    return tuple(found.values())


def _refuse_twice(texts: Iterable[str], message: str) -> None:
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice:
        raise UserError(message.format(repr(twice[0])))


def _colors(value: Any, count: int) -> list[tuple[int, int, int] | None]:
    """One colour a class; None for all where ``value`` is no list of ``count`` triples."""
    try:
        table = np.asarray(value, dtype=np.uint8)
    except (TypeError, ValueError, OverflowError):
        return [None] * count
    if table.shape != (count, 3):
        return [None] * count
    return [(red, green, blue) for red, green, blue in table.tolist()]
