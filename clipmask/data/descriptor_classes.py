"""The classes of a descriptor: their keys, and the checks that compare them with each other."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipmask.data.descriptor_fields import Fields
from clipmask.data.label_format import RGB
from clipmask.vocabulary import Term

CLASS_KEYS = ("name", "color", "id", "synonyms", "includes", "prompts")


@dataclass(frozen=True)
class DescribedClass:
    """One class of a descriptor.

    Attributes:
        name: the class name, used in all output.
        ids: the pixel values of the class in label files that hold ids, one or more; default: the
            position of the class in the list.
        colors: (r, g, b), each 0..255; none, one or more. Overlays use the first.
        synonyms: other names; their text embeddings are averaged with that of ``name``.
        includes: names of the things that the class contains; the probability of the class is the
            sum of theirs.
        prompts: sentences for CLIP that replace those of the config; ``{}`` stands for the name.
    """

    name: str
    ids: tuple[int, ...]
    colors: tuple[RGB, ...] = ()
    synonyms: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    @property
    def id(self) -> int:
        """The first of ``ids``."""
        return self.ids[0]

    @property
    def color(self) -> RGB | None:
        """The first of ``colors``, or None."""
        if not self.colors:
            return None
        return self.colors[0]


def read_classes(
    fields: Fields,
    encoding: str,
    ignore_ids: Sequence[int],
    void_colors: Sequence[RGB],
    transparent: str | None,
) -> tuple[DescribedClass, ...]:
    """Returns the classes; no two share a name, an id or a colour, and none is void.

    Args:
        encoding, ignore_ids, void_colors: the values of these keys.
        transparent: the class of transparent pixels, which needs no colour; ``void``; or None.
    """
    value = fields.content.get("classes")
    if not isinstance(value, list) or not value:
        fields.fail(
            f"classes is {'missing' if value is None else repr(value)}; list the classes in the"
            " order of their ids, such as [road, sky]"
        )
    classes = tuple(_class(fields, item, place) for place, item in enumerate(value))
    _once(fields, "the name", [(item.name, *item.synonyms) for item in classes])
    _once(fields, "the name", [item.includes or (item.name,) for item in classes])
    if encoding == "ids":
        _once(fields, "the id", [item.ids for item in classes])
        for item in classes:
            if {*item.ids} & {*ignore_ids}:
                fields.fail(
                    f"classes: {item.name!r} has the id {min({*item.ids} & {*ignore_ids})},"
                    " which is ignore_id too; give ignore_id another value"
                )
    _refuse_colorless(fields, classes, encoding, transparent)
    _once(fields, "the color", [item.colors for item in classes])
    for item in classes:
        for color in {*item.colors} & {*void_colors}:
            fields.fail(f"void_colors has {list(color)}, which is the color of class {item.name!r}")
    if transparent not in (None, "void", *(item.name for item in classes)):
        fields.fail(f"transparent is {transparent!r}; it must be void or the name of a class")
    return classes


def _refuse_colorless(
    fields: Fields, classes: Sequence[DescribedClass], encoding: str, transparent: str | None
) -> None:
    """Refuses classes without a colour, if colours are needed or other classes have one."""
    colorless = [
        item.name
        for item in classes
        if not item.colors and (encoding == "ids" or item.name != transparent)
    ]
    if encoding != "ids":
        why = f"encoding {encoding} reads labels by their colors"
    elif len(colorless) < len(classes):
        why = "other classes have one"
    else:
        return
    if colorless:
        fields.fail(
            f"classes: no color for {', '.join(map(repr, colorless))}, but {why}; write color:"
            " [r, g, b], or '#rrggbb' in quotes (without quotes, YAML reads it as a comment)"
        )


def _class(fields: Fields, value: Any, place: int) -> DescribedClass:
    where = f"classes[{place}]"
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        hint = "; write it in quotes" if isinstance(value, bool | int | float) else ""
        fields.fail(
            f"{where} is {value!r}; it must be a name, or"
            f" {{name: ..., color: [r, g, b], ...}}{hint}"
        )
    fields.refuse_unknown(given, CLASS_KEYS, f"{where}: ")
    name = given.get("name")
    if not isinstance(name, str) or not name.strip(" ;"):
        fields.fail(
            f"{where}: name is {'missing' if name is None else repr(name)}; it must be a text"
            " (in quotes, if YAML reads it as something else)"
        )
    first, *others = Term.parse(name).synonyms
    return DescribedClass(
        name=first,
        ids=fields.read_ids(given.get("id", place), f"{where}: id"),
        colors=_class_colors(fields, given.get("color"), f"{where}: color"),
        synonyms=(*others, *_texts(fields, given.get("synonyms"), f"{where}: synonyms")),
        includes=_texts(fields, given.get("includes"), f"{where}: includes"),
        prompts=_texts(fields, given.get("prompts"), f"{where}: prompts"),
    )


def _texts(fields: Fields, value: Any, where: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(
        isinstance(text, str) and text.strip() for text in texts
    ):
        fields.fail(f"{where} is {value!r}; it must be a list of texts")
    return tuple(text.strip() for text in texts)


def _class_colors(fields: Fields, value: Any, where: str) -> tuple[RGB, ...]:
    """Returns the colours of a class, which may have none, one, or a list of colours."""
    if value is None:
        return ()
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(item, list | tuple | str) for item in value)
    ):
        return tuple(fields.read_color(item, where) for item in value)
    return (fields.read_color(value, where),)


def _once(fields: Fields, what: str, groups: Sequence[Sequence[Any]]) -> None:
    """Refuses a value that occurs twice in the groups; each group belongs to one class."""
    counts = Counter(itertools.chain.from_iterable(groups))
    for value, count in counts.items():
        if count > 1:
            shown = list(value) if isinstance(value, tuple) else repr(value)
            fields.fail(f"classes: {what} {shown} is there twice; no two classes may share it")
