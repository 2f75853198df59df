"""Which values of the label files are classes, which one is void, and what the classes are
called.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipmask.curation.guessing.instances import refuse_instances
from clipmask.curation.guessing.known import voc_color
from clipmask.curation.guessing.naming import Named, NameFile
from clipmask.curation.guessing.pixels import LabelPixels
from clipmask.data.datasets.camvid import CLASSES as CAMVID
from clipmask.data.label_format import RGB
from clipmask.errors import UserError

BLACK, VOC_BORDER = (0, 0, 0), (224, 224, 192)
_MANY = 64  # colours, from which those that hardly occur are taken for smoothed edges
_HARDLY = 0.001  # share of all pixels
_SELDOM = 0.03  # share of all pixels that a smoothed edge's colour may have
# distance in RGB from the line between two colours, up to which one counts as their blend
_BLEND = 12.0
_MOST_TOLERANCE = 60.0
_MAIN, _CELL = 0.005, 16  # of them: the least share, and the side of a cell of colours counted
_AREA = 0.3  # share of a colour's pixels amid their own colour, from which no edge makes it
_APART = 40.0  # distance in RGB of two classes in files of a lossy format


@dataclass(frozen=True)
class GuessedClass:
    """A class: its name, what it is in the files, and its share of the pixels that were looked at,
    0 to 1.
    """

    name: str
    id: int | None = None
    color: RGB | None = None
    share: float = 0.0


@dataclass(frozen=True)
class Guess:
    """What the label files seem to hold.

    Attributes:
        encoding: as in a descriptor.
        classes: in the order of class ids.
        ignore_ids: of void, where files hold ids.
        void_colors: of void, where they hold colours.
        transparent: what transparent pixels are: void, a class's name, or None where there are
            none.
        tolerance: the distance up to which a colour counts as the nearest class; above 0 where
            edges are smoothed.
        why: sentences that say what was concluded from what: "encoding", "classes" and "void".
    """

    encoding: Literal["ids", "palette", "rgb"]
    classes: tuple[GuessedClass, ...]
    ignore_ids: tuple[int, ...]
    void_colors: tuple[RGB, ...]
    why: dict[str, str]
    transparent: str | None = None
    tolerance: float = 0.0


def guess_values(pixels: LabelPixels, names: NameFile | None) -> Guess:
    """Concludes what label files hold.

    Args:
        pixels: what was found in a sample of them.
        names: what a file beside them says.

    Raises:
        UserError: none of the files could be read, or all pixels are void.
    """
    if not pixels.files:
        raise UserError("none of the label maps that were tried could be read")
    modes = ", ".join(f"{count} of mode {mode}" for mode, count in pixels.modes.most_common())
    seen = f"{pixels.files} label maps were read: {modes}"
    one_channel = pixels.one_channel
    if pixels.lossy:
        why = "; some are JPEGs, so colours near a class's count as it"
        guess = _guess_colors(pixels, names, "rgb", seen + why)
    elif (
        one_channel
        and pixels.modes.keys() & {"L"}
        and len(pixels.ids) > 2
        and smoothed_edges(pixels)
    ):
        guess = _guess_colors(
            pixels, names, "rgb", seen + "; greys with smoothed edges, so they are read as colours"
        )
    elif one_channel and pixels.one_palette:
        guess = _guess_ids(pixels, names, seen + "; one channel, so their values are ids")
    elif one_channel:
        guess = _guess_colors(
            pixels, names, "palette", seen + "; their palettes differ, so their colours count"
        )
    else:
        guess = _guess_colors(pixels, names, "rgb", seen + ", which hold colours")
    if not guess.classes:
        raise UserError("the label maps that were read hold nothing but void")
    return guess


def _guess_ids(pixels: LabelPixels, names: NameFile | None, why: str) -> Guess:
    found = sorted(pixels.ids)
    named = _named_ids(pixels, names)
    from_list = ""
    if names is not None and _begin_at_one(found, names):
        named = {value + 1: name for value, name in named.items()}
        from_list = f"; {names.path.name} has a name for each of 1 to {len(names.names)}"
    if not named:
        refuse_instances(found)
    void_names = [value for value, name in named.items() if name is None]
    listed = sorted({*found, *(value for value, name in named.items() if name)})
    ignore, reason = _void_id(found, void_names)
    classes = [value for value in listed if value != ignore and value not in void_names]
    colors = _palette_colors(pixels, classes)
    shown = ", ".join(map(str, found[:20])) + (", ..." if len(found) > 20 else "")
    total = sum(pixels.ids.values())
    return Guess(
        "ids",
        tuple(
            GuessedClass(
                named.get(value) or f"class_{place}",
                value,
                colors[place] if colors else None,
                pixels.ids.get(value, 0) / total,
            )
            for place, value in enumerate(classes)
        ),
        (ignore, *(value for value in void_names if value != ignore)),
        (),
        {"encoding": why, "classes": f"ids found: {shown}{from_list}", "void": reason},
    )


def _begin_at_one(found: Sequence[int], names: NameFile) -> bool:
    """Whether names without ids stand for 1, 2, ...: 0 was not found, and the largest id is as
    large as there are names, so that it would have none if the first stood for 0.

    Where 0 was found too, either 0 or the largest id has no name, and nothing says which.
    """
    ids = [value for value in found if value not in (-1, 255)]
    return names.by_place and bool(ids) and min(ids) > 0 and max(ids) == len(names.names)


def _palette_colors(pixels: LabelPixels, ids: Sequence[int]) -> list[RGB] | None:
    """Returns the colour that palettes give each id; None if some have none, or equal ones, or all
    are grey.
    """
    colors = [min(pixels.id_colors[value]) for value in ids if pixels.id_colors.get(value)]
    grey = all(red == green == blue for red, green, blue in colors)
    return None if grey or len(set(colors)) < len(ids) else colors


def _void_id(found: Sequence[int], void_names: Sequence[int]) -> tuple[int, str]:
    """Returns the id of void, and why."""
    if void_names:
        return void_names[0], f"the file of names calls {void_names[0]} void"
    if -1 in found:
        return -1, "-1 occurs: void by custom"
    others = [value for value in found if value != 255]
    if 255 not in found:
        return 255, "255 by custom; it did not occur"
    # Masks of a drawing program, 0 and 255, or levels of grey spread up to white: there 255 is a
    # class.
    if not others or (others != [0] and max(others) <= 2 * len(others) + 32):
        return 255, "255 occurs, far from the other ids: void by custom"
    free = next(value for value in range(254, -1, -1) if value not in found)
    return free, f"255 seems to be a class here, as in masks of 0 and 255; {free} stands for none"


def _named_ids(pixels: LabelPixels, names: NameFile | None) -> dict[int, str | None]:
    """Returns the name of each id that a file gives; None for void."""
    if names is None:
        return {}
    by_color = {min(colors): value for value, colors in pixels.id_colors.items()}
    result: dict[int, str | None] = {}
    for place, item in enumerate(names.names):
        by_place = by_color.get(item.color, place) if item.color is not None else place
        result[by_place if item.id is None else item.id] = None if item.is_void else item.name
    return result


def _guess_colors(
    pixels: LabelPixels, names: NameFile | None, encoding: Literal["palette", "rgb"], why: str
) -> Guess:
    listed = {item.color: item for item in names.names if item.color} if names else {}
    is_camvid = (
        not listed
        and len(pixels.colors) > 2
        and set(pixels.colors) - {BLACK} <= set(CAMVID.values())
    )
    known = {color: name for name, color in CAMVID.items() if is_camvid}
    total = sum(pixels.colors.values())
    edges = smoothed_edges(pixels) - listed.keys()
    found = [color for color, _ in pixels.colors.most_common()]
    clean = [color for color in found if color not in edges]
    kept = [
        c
        for c in clean
        if len(clean) <= _MANY or c in listed or pixels.colors[c] >= _HARDLY * total
    ]
    reason = f"{len(found)} colours were found"
    if len(kept) < len(found):
        reason += (
            f", of which {len(found) - len(kept)} hardly occur, as smoothed edges do: they count as"
            " the nearest class, or as void"
        )
    void, void_reason = _void_colors(
        pixels, {c: item.is_void for c, item in listed.items()}, is_camvid
    )
    order = [c for c in listed if c not in void] + sorted(
        c for c in kept if c not in void and c not in listed
    )
    if known:
        order = [c for c in CAMVID.values() if c in kept]
        reason += "; all are CamVid's, and so are the names"
    classes = tuple(
        GuessedClass(
            listed[c].name if c in listed else known.get(c, f"class_{place}"),
            color=c,
            share=pixels.colors[c] / total,
        )
        for place, c in enumerate(order)
    )
    transparent = None
    if pixels.transparent and len(classes) < 2:
        transparent = "background"
        classes = (GuessedClass(transparent), *classes)
        reason += "; transparent pixels are what is around the one class"
    elif pixels.transparent:
        transparent = "void"
        void_reason += "; so are transparent pixels, unless you give transparent: a class's name"
    tolerance = _tolerance([*order, *void]) if pixels.lossy or len(kept) < len(found) else 0.0
    why_all = {"encoding": why, "classes": reason, "void": void_reason}
    return Guess(encoding, classes, (255,), tuple(void), why_all, transparent, tolerance)


def smoothed_edges(pixels: LabelPixels) -> set[RGB]:
    """Returns the colours that are blends of two others along their edges: rare, and nowhere more
    than a line.

    Args:
        pixels: what was found; ``solid`` tells areas from lines.
    """
    if pixels.lossy:
        return set(pixels.colors) - set(_main_colors(pixels))
    total = sum(pixels.colors.values())
    areas = np.array(
        [color for color, count in pixels.colors.items() if pixels.solid[color]], float
    )
    lines = [
        c for c, count in pixels.colors.items() if not pixels.solid[c] and count < _SELDOM * total
    ]
    if not lines or len(areas) < 2 or len(areas) > _MANY:
        return set()
    tested = np.array(lines, float)
    blended = np.zeros(len(lines), bool)
    for one, other in itertools.combinations(areas, 2):
        along = other - one
        share = ((tested - one) @ along / max(1.0, float(along @ along))).clip(0, 1)
        blended |= np.linalg.norm(tested - one - share[:, None] * along, axis=1) <= _BLEND
    found = {color for color, is_blend in zip(lines, blended.tolist(), strict=True) if is_blend}
    if found:  # then what occurs still less is a blend of three or more, where edges meet
        found |= {color for color in lines if pixels.colors[color] < _HARDLY * total}
    return found


def _main_colors(pixels: LabelPixels) -> list[RGB]:
    """Returns the colours that lossy files are about: of those near each other the most frequent,
    without blends of two others.
    """
    colors = np.array(list(pixels.colors), float)
    counts = np.array(list(pixels.colors.values()), float)
    least = _MAIN * counts.sum()
    main: list[NDArray[np.float64]] = []
    while counts.size and len(main) < _MANY:
        cells, cell = np.unique((colors // _CELL).astype(int), axis=0, return_inverse=True)
        sums = np.bincount(cell.ravel(), counts, len(cells))
        if sums.max() < least:
            break
        inside = cell.ravel() == sums.argmax()
        color = colors[inside][counts[inside].argmax()]
        key = (int(color[0]), int(color[1]), int(color[2]))
        is_area = pixels.solid[key] >= _AREA * pixels.colors[key]
        if is_area or not _is_blend(color, np.array(main)):
            main.append(color)
        far = np.linalg.norm(colors - color, axis=1) >= _APART
        colors, counts = colors[far], counts[far]
    return [(int(red), int(green), int(blue)) for red, green, blue in main]


def _is_blend(color: np.ndarray, areas: np.ndarray) -> bool:
    """Whether a colour lies near the line between two of ``areas`` (N, 3)."""
    for one, other in itertools.combinations(areas, 2):
        along = other - one
        share = ((color - one) @ along / max(1.0, float(along @ along))).clip(0, 1)
        if np.linalg.norm(color - one - share * along) <= _BLEND:
            return True
    return False


def _tolerance(colors: Sequence[RGB]) -> float:
    """Returns a distance within which each colour's surroundings are its own."""
    table = np.array(colors, float)
    distance = np.linalg.norm(table[:, None] - table, axis=-1)
    apart = distance[~np.eye(len(table), dtype=bool)]
    return float(min(_MOST_TOLERANCE, apart.min() // 2)) if apart.size else _MOST_TOLERANCE


def _void_colors(
    pixels: LabelPixels, listed: dict[RGB, bool], is_camvid: bool
) -> tuple[list[RGB], str]:
    """Returns the colours of void, and why.

    Args:
        pixels: what was found.
        listed: whether the file of names calls a colour void.
        is_camvid: all colours are CamVid's.
    """
    named = [color for color, is_void in listed.items() if is_void]
    if named:
        return named, "the file of names calls it void"
    others = set(pixels.colors) - {BLACK, VOC_BORDER}
    if VOC_BORDER in pixels.colors and VOC_BORDER not in listed and others <= _voc_colors():
        return [
            VOC_BORDER
        ], "224, 224, 192 is the border in Pascal VOC, whose colours all others are"
    if BLACK in pixels.colors and BLACK not in listed:
        if is_camvid:
            return [BLACK], "black is void in CamVid, whose colours all others are"
        if len(others) > 1 and pixels.black_is_border:
            return [BLACK], "black is drawn as thin lines and edges, as what nobody labelled"
        return [], "none; if black is what nobody labelled, move [0, 0, 0] from the classes to here"
    return [], "none was found"


def _voc_colors() -> set[RGB]:
    return {voc_color(number) for number in range(1, 256)}


def rename(guess: Guess, names: Sequence[str]) -> Guess:
    """Returns a guess with names in place of those that were found, in the order of its classes.

    A class that is called void, unlabeled or the like becomes void.

    Raises:
        UserError: there are not as many names as classes.
    """
    if len(names) != len(guess.classes):
        shown = ", ".join(
            str(item.id if item.color is None else list(item.color)) for item in guess.classes
        )
        raise UserError(
            f"--names has {len(names)} names, but {len(guess.classes)} classes were found: {shown}"
        )
    named = [(name, item) for name, item in zip(names, guess.classes, strict=True)]
    void = [item for name, item in named if Named(name).is_void]
    classes = tuple(replace(item, name=name) for name, item in named if not Named(name).is_void)
    if not classes:
        raise UserError("--names calls all classes void")
    if not void:
        return replace(guess, classes=classes)
    why = {**guess.why, "void": "--names says so"}
    ids = tuple(item.id for item in void if item.id is not None)
    colors = tuple(
        item.color for item in void if item.color is not None and guess.encoding != "ids"
    )
    kept = tuple(id for id in guess.ignore_ids if id not in ids)
    transparent = (
        "void" if any(item.name == guess.transparent for item in void) else guess.transparent
    )
    return replace(
        guess,
        classes=classes,
        why=why,
        ignore_ids=(*kept, *ids),
        void_colors=(*guess.void_colors, *colors),
        transparent=transparent,
    )
