"""The classes of a dataset as one immutable value, ``Vocabulary``.

A dataset's label space is a list of classes. A class has a name, which may be several synonyms with
one meaning (``car;automobile``). Or it has members: names, any of which its pixels may show
(``vehicles`` includes ``car``, ``truck`` and ``bus``). Every name becomes one row of T:

    synonyms    one row: the mean of the synonyms' embeddings
    members     one row each; the probability of the class is the sum of theirs

Datasets that are trained together share rows: a name that two of them have is one row of T.

No other file knows how synonyms are written as one text, ``a;b``.
"""

from __future__ import annotations

import hashlib
import json
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
    """A name with one meaning; it has one row of T.

    Attributes:
        synonyms: one or more, such as ``("car", "automobile")``; the first is shown to users.
        aliases: other names under which a file of embeddings may have it. They are looked up if the
            file has none of the synonyms.
        prompts: templates for CLIP instead of the config's; ``{}`` stands for the name.
    """

    synonyms: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, aliases: Iterable[str] = (), prompts: Iterable[str] = ()) -> Term:
        """Reads ``car;automobile``.

        Raises:
            UserError: ``text`` is not a string, or holds no word.
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
        """The synonyms as one text, ``car;automobile``, as in metadata, checkpoints and scores."""
        return _SEPARATOR.join(self.synonyms)

    def __str__(self) -> str:
        return self.text


def texts_of(terms: Iterable[Term]) -> list[str]:
    """Returns the text of each name, in order."""
    return [term.text for term in terms]


def hash_of(terms: Iterable[Term]) -> bytes:
    """Returns 32 bytes that are equal for equal names in equal order."""
    return hashlib.sha256(json.dumps(texts_of(terms)).encode()).digest()


@dataclass(frozen=True)
class LabelClass:
    """One class of a dataset.

    Attributes:
        term: its name.
        members: the names that its pixels may show, if it stands for several; empty if its pixels
            show its name.
        color: (r, g, b), 0..255, in the dataset's palette; None if it has none.
        server_id: the id of the class on a benchmark's server; None if there is no server.
    """

    term: Term
    members: tuple[Term, ...] = ()
    color: tuple[int, int, int] | None = None
    server_id: int | None = None

    @property
    def rows(self) -> tuple[Term, ...]:
        """The names whose rows of T make up the class: its members, or its own name."""
        return self.members or (self.term,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The name of the class, and then those of its members."""
        return (self.term.text, *texts_of(self.members))


@dataclass(frozen=True)
class Vocabulary:
    """All classes of a dataset, in the order of their ids.

    Attributes:
        classes: K of them, K > 0. Their names differ, and no name is a member of two classes.
        embeddings: the source of rows of T that the model was not trained with: a file (.npz) or
            ``random``. Empty: the model's own source.

    Raises:
        UserError: there is no class, two have one name, or a name belongs to two classes.
    """

    classes: tuple[LabelClass, ...]
    embeddings: str = ""

    def __post_init__(self) -> None:
        if not self.classes:
            raise UserError("a vocabulary needs one class name at least")
        _refuse_twice(
            self.names,
            "a vocabulary needs different names; {} is there twice",
        )
        _refuse_twice(
            texts_of(self.terms),
            "{} is a member of two classes of one vocabulary: nothing could tell them apart there",
        )

    @classmethod
    def from_names(cls, names: Sequence[str], embeddings: str = "") -> Vocabulary:
        """Makes a vocabulary from plain names.

        Args:
            names: one text for each class; ``a;b`` are synonyms.
            embeddings: see the class.

        Raises:
            UserError: ``names`` is a single text; or an error of the class or of ``Term.parse``.
        """
        if isinstance(names, str):
            raise UserError(
                f"a vocabulary is a list of names; got the text {names!r}: write {[names]}"
            )
        return cls(tuple(LabelClass(Term.parse(name)) for name in names), embeddings)

    @classmethod
    def of(cls, classes: Vocabulary | Sequence[str]) -> Vocabulary:
        """Returns a vocabulary as it is, and one ``from_names`` of names."""
        if isinstance(classes, Vocabulary):
            return classes
        return cls.from_names(classes)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Vocabulary:
        """Makes a vocabulary from the metadata of a dataset or of a checkpoint.

        Args:
            metadata: ``stuff_classes``; and optionally ``class_synonyms`` (they stand in place of
                the name, which becomes an alias), ``class_aliases``, ``class_prompts`` and
                ``class_members`` (class name to a list of texts), ``stuff_colors`` and
                ``server_ids`` (one for each class).

        Raises:
            UserError: an error of the class or of ``Term.parse``.
        """
        names = list(map(str, metadata["stuff_classes"]))
        members = metadata.get("class_members") or {}
        colors = _colors(metadata.get("stuff_colors"), len(names))
        server_ids = [None] * len(names)
        ids = metadata.get("server_ids")
        if isinstance(ids, Sequence) and len(ids) == len(names):
            server_ids = list(ids)
        classes = []
        for name, color, server_id in zip(names, colors, server_ids, strict=True):
            parts = tuple(_term(part, metadata) for part in members.get(name, ()))
            classes.append(LabelClass(_term(name, metadata), parts, color, server_id))
        return cls(tuple(classes))

    def metadata(self) -> dict[str, Any]:
        """Returns plain values from which ``from_metadata`` makes an equal vocabulary.

        This is the form in which checkpoints keep it.
        """
        terms: dict[str, Term] = {}
        for item in self.classes:
            terms |= {term.text: term for term in (item.term, *item.members)}
        plain: dict[str, Any] = {
            "stuff_classes": list(self.names),
            "stuff_colors": self.colors,
            "class_aliases": {
                text: list(term.aliases) for text, term in terms.items() if term.aliases
            },
        }
        server_ids = [item.server_id for item in self.classes]
        if None not in server_ids:
            plain["server_ids"] = server_ids
        prompts = {text: list(term.prompts) for text, term in terms.items() if term.prompts}
        members = {name: list(parts) for name, *parts in self.label_space if parts}
        if prompts:
            plain["class_prompts"] = prompts
        if members:
            plain["class_members"] = members
        return plain

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the classes with their synonyms, such as ``car;automobile``."""
        return tuple(item.term.text for item in self.classes)

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The names to show to users, see ``shown_names``."""
        return tuple(shown_names(self.names))

    @cached_property
    def colors(self) -> list[list[int]] | None:
        """[r, g, b] of each class in the dataset's palette; None if a class has no colour."""
        return complete_colors(item.color for item in self.classes)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The R names whose rows of T a prediction needs, class after class."""
        return tuple(term for item in self.classes for term in item.rows)

    @cached_property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """For each class the indices of its names in ``terms``."""
        places, start = [], 0
        for item in self.classes:
            places.append(tuple(range(start, start + len(item.rows))))
            start += len(item.rows)
        return tuple(places)

    def with_server_ids(self, ids: Sequence[int]) -> Vocabulary:
        """Returns the same classes with ids of a benchmark's server, one for each class."""
        classes = [
            replace(item, server_id=number) for item, number in zip(self.classes, ids, strict=True)
        ]
        return replace(self, classes=tuple(classes))

    @cached_property
    def label_space(self) -> tuple[tuple[str, ...], ...]:
        """The name and the members of each class.

        Labels of two datasets mean the same if and only if this is equal.
        """
        return tuple(item.texts for item in self.classes)

    def using(self, embeddings: str) -> Vocabulary:
        """Returns the same classes with another source of embeddings; see the class."""
        return replace(self, embeddings=embeddings)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.classes, self.embeddings))  # cached, because every step needs it

    def __getstate__(self) -> dict[str, Any]:
        # Cached properties are left out.
        return {"classes": self.classes, "embeddings": self.embeddings}


def complete_colors(
    colors: Iterable[tuple[int, int, int] | None],
) -> list[list[int]] | None:
    """Returns the colours as lists [r, g, b]; None if a class has no colour."""
    complete = []
    for color in colors:
        if color is None:
            return None
        complete.append(list(color))
    return complete


def shown_names(names: Sequence[str]) -> list[str]:
    """Returns each name's first synonym, or the whole name where two first synonyms are equal."""
    first = list(map(first_synonym, names))
    counts = Counter(first)
    return [short if counts[short] == 1 else name for short, name in zip(first, names, strict=True)]


def first_synonym(name: str) -> str:
    """Returns the first synonym of a class name: ``car`` of ``car;automobile``."""
    return name.split(_SEPARATOR)[0].strip() or name


def different(vocabularies: Iterable[Vocabulary]) -> tuple[Vocabulary, ...]:
    """Returns the different vocabularies, each once, in order.

    Two vocabularies are the same if their ``label_space`` is equal.
    """
    found: dict[tuple[tuple[str, ...], ...], Vocabulary] = {}
    for vocabulary in vocabularies:
        found.setdefault(vocabulary.label_space, vocabulary)
    return tuple(found.values())


def union(vocabularies: Iterable[Vocabulary]) -> tuple[Term, ...]:
    """Returns the different names of several vocabularies, each once, in order of occurrence.

    A name gets the aliases of all vocabularies that have it, and the prompts of the first
    vocabulary that has prompts for it.
    """
    found: dict[str, Term] = {}
    for vocabulary in vocabularies:
        for term in vocabulary.terms:
            before = found.get(term.text, term)
            aliases = tuple(dict.fromkeys((*before.aliases, *term.aliases)))
            found[term.text] = Term(term.synonyms, aliases, before.prompts or term.prompts)
    return tuple(found.values())


def _term(name: str, metadata: Mapping[str, Any]) -> Term:
    """Returns a class's or member's name with what the metadata know of it."""
    aliases, prompts, synonyms = (
        (metadata.get(f"class_{key}") or {}).get(name, ())
        for key in ("aliases", "prompts", "synonyms")
    )
    if not synonyms:
        return Term.parse(name, aliases, prompts)
    return Term.parse(_SEPARATOR.join(synonyms), (*aliases, name), prompts)


def _refuse_twice(texts: Iterable[str], message: str) -> None:
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice:
        raise UserError(message.format(repr(twice[0])))


def _colors(value: Any, count: int) -> list[tuple[int, int, int] | None]:
    """Returns one colour a class; all None unless ``value`` is a list of ``count`` triples."""
    try:
        table = np.asarray(value, dtype=np.uint8)
    except (TypeError, ValueError, OverflowError):
        return [None] * count
    if table.shape != (count, 3):
        return [None] * count
    return [(red, green, blue) for red, green, blue in table.tolist()]
