"""Guessing which values of the label files are classes, which are void, and the class names."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from clipmask.curation.guessing.instances import refuse_instances
from clipmask.curation.guessing.known import voc_color
from clipmask.curation.guessing.naming import Named, NameFile
from clipmask.curation.guessing.pixels import LabelPixels
from clipmask.curation.guessing.smoothing import (
    HARDLY,
    MANY,
    are_smoothed_greys,
    smoothed_edges,
    tolerance_of,
)
from clipmask.data.datasets.camvid import CLASSES as CAMVID
from clipmask.data.label_format import RGB
from clipmask.errors import UserError, listed

# -1, the usual no-data value of raster tools, and the least values of the signed number types
_NO_DATA = (-1, -9999, -128, -32768, -(2**31))
_LARGEST = (2**16 - 1, 2**31 - 1, 2**32 - 1)  # of number types of 16 and 32 bits
_LEVELS_APART = 16  # least difference of two levels of grey that are classes
Value = TypeVar("Value")
BLACK, VOC_BORDER = (0, 0, 0), (224, 224, 192)


@dataclass(frozen=True)
class GuessedClass:
    """A guessed class: its name, id or colour in the files, and share of the pixels (0..1)."""

    name: str
    id: int | None = None
    color: RGB | None = None
    share: float = 0.0


@dataclass(frozen=True)
class Guess:
    """The guessed content of the label files.

    Attributes:
        encoding: as in a descriptor.
        classes: the classes in the order of their class ids.
        ignore_ids: the ids of void, in files of ids.
        void_colors: the colours of void, in files of colours.
        transparent: the meaning of transparent pixels: void or a class's name; None: there are no
            such pixels.
        tolerance: the largest distance at which a colour counts as the nearest class; above 0 if
            edges are smoothed.
        why: the reasons for "encoding", "classes" and "void", as sentences.
    """

    encoding: Literal["ids", "palette", "rgb"]
    classes: tuple[GuessedClass, ...]
    ignore_ids: tuple[int, ...]
    void_colors: tuple[RGB, ...]
    why: dict[str, str]
    transparent: str | None = None
    tolerance: float = 0.0


def guess_values(pixels: LabelPixels, names: NameFile | None) -> Guess:
    """Guesses the content of label files.

    Args:
        pixels: the statistics of a sample of the files.
        names: the file of class names, if there is one.

    Raises:
        UserError: none of the files could be read, or all pixels are void.
    """
    if not pixels.files:
        why = ""
        if pixels.with_nan:
            why = (
                f": {pixels.with_nan} of them hold NaN, where one class id per pixel is expected;"
                " write 255 there, which is void"
            )
        raise UserError(f"none of the label maps could be read{why}")
    modes = ", ".join(f"{count} of mode {mode}" for mode, count in pixels.modes.most_common())
    seen = f"{pixels.files} label maps were read: {modes}"
    one_channel = pixels.one_channel
    if pixels.lossy:
        why = "; some are JPEGs, so colours that are similar to a class's count as this class"
        guess = _guess_colors(pixels, names, "rgb", seen + why)
    elif (
        one_channel
        and pixels.modes.keys() & {"L"}
        and len(pixels.ids) > 2
        and are_smoothed_greys(pixels)
    ):
        why = "; they are grey with smoothed edges, so they are read as colours"
        guess = _guess_colors(pixels, names, "rgb", seen + why)
    elif one_channel and pixels.one_palette:
        why = "; they have one channel, so their values are ids"
        guess = _guess_ids(pixels, names, seen + why)
    elif one_channel:
        why = "; their palettes differ, so they are read by their colours"
        guess = _guess_colors(pixels, names, "palette", seen + why)
    else:
        guess = _guess_colors(pixels, names, "rgb", seen + ", which hold colours")
    if not guess.classes:
        raise UserError("all pixels of the label maps that were read are void")
    return guess


def _guess_ids(pixels: LabelPixels, names: NameFile | None, why: str) -> Guess:
    found = sorted(pixels.ids)
    named = _named_ids(pixels, names)
    from_list = ""
    if names is not None and _begin_at_one(found, names):
        named = {value + 1: name for value, name in named.items()}
        from_list = f"; {names.path.name} has a name for each of 1 to {len(names.names)}"
    elif names is not None and (levels := _levels(found, names)):
        named = dict(zip(levels, named.values(), strict=True))
        from_list = f"; {names.path.name} has as many names, taken in this order"
    if not named:
        refuse_instances(found)
    void_names = [value for value, name in named.items() if name is None]
    ids = sorted({*found, *(value for value, name in named.items() if name)})
    ignore, reason = _void_id(found, void_names)
    no_data = _without(_no_data(found), {ignore, *named})
    void = {ignore, *void_names, *no_data}
    clear = [value for value in found if value in pixels.clear_ids - named.keys() - void]
    if len(_without(ids, void)) <= len(clear) + 1:
        clear = []  # around a single class, they are its background
    if clear:
        reason += f"; the files mark {listed(clear, 20)} as transparent"
    classes = _without(ids, void | set(clear))
    colors = _palette_colors(pixels, classes)
    total = sum(pixels.ids.values())
    guessed = []
    for place, value in enumerate(classes):
        name = named.get(value) or f"class_{place}"
        color = colors[place] if colors else None
        guessed.append(GuessedClass(name, value, color, pixels.ids.get(value, 0) / total))
    ignore_ids = (ignore, *_without(void_names, {ignore}), *no_data, *clear)
    reasons = {
        "encoding": why,
        "classes": f"ids found: {listed(found, 20)}{from_list}",
        "void": reason,
    }
    return Guess("ids", tuple(guessed), ignore_ids, (), reasons)


def _levels(found: Sequence[int], names: NameFile) -> list[int]:
    """Returns ids that take the names of a list in its order, because they lie beyond it.

    These are the levels of masks such as 0 and 255. The result is empty for other ids, and where
    there are not as many as names.
    """
    ignore, _ = _void_id(found, [])
    ids = _without(found, {ignore})
    fits = names.by_place and len(ids) == len(names.names) and ids and ids[-1] >= len(ids)
    if not fits:
        return []
    return ids


def _begin_at_one(found: Sequence[int], names: NameFile) -> bool:
    """Returns whether names without ids have the ids 1, 2, ... instead of 0, 1, ....

    They do if the id 0 was not found, and the largest id equals the number of names: it would have
    no name if the first name had the id 0. If 0 was found too, either 0 or the largest id has no
    name, and nothing says which.
    """
    ids = _without(found, {255, *_no_data(found)})
    return names.by_place and bool(ids) and min(ids) > 0 and max(ids) == len(names.names)


def _palette_colors(pixels: LabelPixels, ids: Sequence[int]) -> list[RGB] | None:
    """Returns the colour of each id in the palettes.

    The result is None if an id has no colour, if two ids have the same, or if all are grey.
    """
    colors = []
    for value in ids:
        if not pixels.id_colors.get(value):
            return None
        colors.append(min(pixels.id_colors[value]))
    grey = all(red == green == blue for red, green, blue in colors)
    if grey or len(set(colors)) < len(ids):
        return None
    return colors


def _void_id(found: Sequence[int], void_names: Sequence[int]) -> tuple[int, str]:
    """Guesses the id of void; returns it with the reason."""
    if void_names:
        return void_names[0], f"the file of names calls {void_names[0]} void"
    no_data = _no_data(found)
    if no_data:
        return no_data[0], f"{no_data[0]} occurs, which is usually void"
    others = _without(found, {255})
    if 255 not in found:
        return 255, "255, the usual id; it does not occur"
    # In masks of 0 and 255, and in grey levels that are spread up to white, 255 is a class.
    near = any(upper - lower < _LEVELS_APART for lower, upper in itertools.pairwise(others))
    if not others or (others != [0] and max(others) <= 2 * len(others) + 32) or near:
        return 255, "255 occurs, far from the other ids; it is usually void"
    free = next(value for value in range(254, -1, -1) if value not in found)
    return free, f"255 seems to be a class here, as in masks of 0 and 255; {free} does not occur"


def _no_data(found: Sequence[int]) -> list[int]:
    """Returns the ids that stand for pixels without data, in the number types of raster tools.

    The largest value of a type may be a class, as in masks of 0 and 65535; it is no data beside
    several small ids only.
    """
    low = [value for value in _NO_DATA if value in found]
    rest = [value for value in found if value >= 0 and value not in (255, *_LARGEST)]
    if not rest or rest == [0] or max(rest) >= 255:
        return low
    return low + [value for value in _LARGEST if value in found]


def _without(values: Iterable[Value], others: Container[Value]) -> list[Value]:
    """Returns the values that are not among the others, in order."""
    return [value for value in values if value not in others]


def _named_ids(pixels: LabelPixels, names: NameFile | None) -> dict[int, str | None]:
    """Returns the name of each id in a file of names; None for void."""
    if names is None:
        return {}
    by_color = {min(colors): value for value, colors in pixels.id_colors.items()}
    result: dict[int, str | None] = {}
    for place, item in enumerate(names.names):
        value = item.id
        if value is None and item.color is not None:
            value = by_color.get(item.color)
        if value is None:
            value = place
        result[value] = item.name
        if item.is_void:
            result[value] = None
    return result


def _guess_colors(
    pixels: LabelPixels, names: NameFile | None, encoding: Literal["palette", "rgb"], why: str
) -> Guess:
    listed = {}
    if names:
        listed = {item.color: item for item in names.names if item.color}
    is_camvid = (
        not listed
        and len(pixels.colors) > 2
        and set(pixels.colors) - {BLACK} <= set(CAMVID.values())
    )
    known = {}
    if is_camvid:
        known = {color: name for name, color in CAMVID.items()}
    total = sum(pixels.colors.values())
    edges = smoothed_edges(pixels) - listed.keys()
    found = [color for color, _ in pixels.colors.most_common()]
    kept = _without(found, edges)
    if len(kept) > MANY:
        kept = [c for c in kept if c in listed or pixels.colors[c] >= HARDLY * total]
    reason = f"{len(found)} colours were found"
    if len(kept) < len(found):
        reason += (
            f", of which {len(found) - len(kept)} are very rare, as the colours of smoothed edges"
            " are: they count as the nearest class, or as void"
        )
    void, void_reason = _void_colors(pixels, listed, is_camvid)
    order = _without(listed, void) + sorted(_without(kept, {*void, *listed}))
    if known:
        order = [color for color in CAMVID.values() if color in kept]
        reason += "; all are CamVid's, so the names are CamVid's too"
    classes: list[GuessedClass] = []
    for place, color in enumerate(order):
        name = known.get(color, f"class_{place}")
        if color in listed:
            name = listed[color].name
        classes.append(GuessedClass(name, color=color, share=pixels.colors[color] / total))
    transparent = None
    if pixels.transparent and len(classes) < 2:
        transparent = "background"
        classes.insert(0, GuessedClass(transparent))
        reason += "; transparent pixels are the background of the one class"
    elif pixels.transparent:
        transparent = "void"
        void_reason += "; transparent pixels are void too, unless transparent: names a class"
    tolerance = 0.0
    if pixels.lossy or len(kept) < len(found):
        tolerance = tolerance_of([*order, *void])
    reasons = {"encoding": why, "classes": reason, "void": void_reason}
    return Guess(encoding, tuple(classes), (255,), tuple(void), reasons, transparent, tolerance)


def _void_colors(
    pixels: LabelPixels, listed: Mapping[RGB, Named], is_camvid: bool
) -> tuple[list[RGB], str]:
    """Guesses the colours of void; returns them with the reason.

    Args:
        pixels: the statistics of the label maps.
        listed: the colours in the file of names -> the name of each.
        is_camvid: whether all colours are CamVid's.
    """
    named = [color for color, item in listed.items() if item.is_void]
    if named:
        return named, "the file of names calls it void"
    others = set(pixels.colors) - {BLACK, VOC_BORDER}
    if VOC_BORDER in pixels.colors and VOC_BORDER not in listed and others <= _voc_colors():
        reason = "224, 224, 192 is the border in Pascal VOC, and all other colours are VOC's"
        return [VOC_BORDER], reason
    if BLACK in pixels.colors and BLACK not in listed:
        if is_camvid:
            return [BLACK], "black is void in CamVid, and all other colours are CamVid's"
        if len(others) > 1 and pixels.black_is_border:
            return [BLACK], "black occurs as thin lines and edges only, like unlabelled borders"
        return [], "none; if black means unlabelled, move [0, 0, 0] from the classes to here"
    return [], "none was found"


def _voc_colors() -> set[RGB]:
    return set(map(voc_color, range(1, 256)))


def rename(guess: Guess, names: Sequence[str]) -> Guess:
    """Returns a guess with other class names, given in the order of its classes.

    A class with a name such as void or unlabeled becomes void.

    Raises:
        UserError: the number of names differs from the number of classes.
    """
    if len(names) != len(guess.classes):
        values = [item.id if item.color is None else list(item.color) for item in guess.classes]
        shown = ", ".join(map(str, values))
        raise UserError(
            f"--names has {len(names)} names, but {len(guess.classes)} classes were found: {shown}"
        )
    void, classes = [], []
    for name, item in zip(names, guess.classes, strict=True):
        if Named(name).is_void:
            void.append(item)
        else:
            classes.append(replace(item, name=name))
    if not classes:
        raise UserError("--names calls all classes void")
    if not void:
        return replace(guess, classes=tuple(classes))
    why = {**guess.why, "void": "--names says so"}
    ids = tuple(item.id for item in void if item.id is not None)
    colors: tuple[RGB, ...] = ()
    if guess.encoding != "ids":
        colors = tuple(item.color for item in void if item.color is not None)
    kept = _without(guess.ignore_ids, ids)
    transparent = guess.transparent
    if any(item.name == transparent for item in void):
        transparent = "void"
    return replace(
        guess,
        classes=tuple(classes),
        why=why,
        ignore_ids=(*kept, *ids),
        void_colors=(*guess.void_colors, *colors),
        transparent=transparent,
    )
