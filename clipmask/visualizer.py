"""Label map -> picture: colours over the image, class names in their regions, and a legend with each class' share.

Pixels whose label is ``ignore_label``, or no class at all, are left unpainted and count in no share.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from clipmask.errors import UserError

Colors = Sequence[Sequence[int]]  # [r, g, b] of each class, 0..255

# Okabe and Ito's colours without black, then those that lie farthest from all before them in CIELAB, by normal sight
# and under simulated protanopia, deuteranopia and tritanopia alike; greys are left out, they are drawn around things.
_PALETTE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (135, 0, 240), (120, 45, 15), (195, 240, 195), (105, 60, 90), (60, 45, 165), (105, 255, 135), (150, 120, 255),
    (240, 0, 75), (150, 15, 135), (135, 195, 120), (255, 180, 210), (75, 120, 60), (195, 165, 75), (165, 60, 0),
    (150, 30, 210), (210, 15, 180), (165, 240, 255),
)  # fmt: skip
_PAPER, _INK = (24, 24, 28), (235, 235, 235)  # of legend and captions
_PANELS = ("input", "truth", "prediction")
_MAX_GRID = 256  # longest side of the grid that places for names are looked for on
_NAMES_PER_CLASS = 3  # the roomiest regions of a class that carry its name


def palette(names: Sequence[str]) -> list[list[int]]:
    """Chooses a colour for each class name, the same whatever the order of the names.

    The colour comes from the name's hash; where two names of one list meet, the one with the larger hash moves on. The
    colours of up to 24 names are all from a set that stays distinct for colour-blind readers.

    Args:
        names: class names; equal names get equal colours.

    Returns:
        [r, g, b], 0..255, for each name.
    """
    hashes = {name: zlib.crc32(name.encode()) for name in names}
    free = list(range(len(_PALETTE)))
    chosen: dict[str, list[int]] = {}
    for name in sorted(hashes, key=lambda name: (hashes[name], name)):
        if free:
            first = hashes[name] % len(_PALETTE)
            slot = min(free, key=lambda slot: (slot - first) % len(_PALETTE))
            free.remove(slot)
            chosen[name] = list(_PALETTE[slot])
        else:
            chosen[name] = _further_color(len(chosen) - len(_PALETTE))
    return [chosen[name] for name in names]


def _further_color(index: int) -> list[int]:
    """Returns the ``index``-th colour after the fixed ones: hues by the golden ratio, over changing light and dark."""
    hue, value, saturation = (index * 0.618034) % 1.0, (0.95, 0.6, 0.8)[index % 3], (0.55, 0.8)[index % 2]
    channels = (np.abs(np.mod(hue * 6 + np.array([0, 4, 2]), 6) - 3) - 1).clip(0, 1)
    return [int(channel) for channel in np.rint(255 * value * (1 - saturation + saturation * channels))]


def colorize(labels: np.ndarray, colors: Colors) -> np.ndarray:
    """Paints a label map in the plain colours of its classes.

    Args:
        labels: (H, W) ids of any integer type.
        colors: one for each of the K classes.

    Returns:
        uint8 (H, W, 3); black where an id is none of 0..K-1.
    """
    table = np.zeros((len(colors) + 1, 3), dtype=np.uint8)
    table[:-1] = colors
    is_class = (labels >= 0) & (labels < len(colors))
    return table[np.where(is_class, labels, len(colors))]


def class_shares(labels: np.ndarray, num_classes: int, ignore_label: int | None = None) -> np.ndarray:
    """Returns the percentage (K,) of the painted pixels that each class covers; they sum to 100, or to 0 if none is.

    Args:
        labels: (H, W) ids.
        num_classes: K; ids outside 0..K-1 are not painted.
        ignore_label: an id that is not painted either.
    """
    counts = np.bincount(labels[_painted(labels, num_classes, ignore_label)].ravel(), minlength=num_classes)
    return 100.0 * counts / max(1, counts.sum())


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    opacity: float = 0.5,
    legend: bool | Literal["inside"] = True,
    ignore_label: int | None = None,
) -> np.ndarray:
    """Draws a label map over its image.

    Args:
        image: uint8 (H, W, 3), RGB.
        labels: (H, W) ids.
        names: of the K classes; of ``car;automobile`` the first is shown.
        colors: of the K classes.
        opacity: of the colours, 0 (the image as it is, without names) to 1.
        legend: True adds a strip below with swatch, name and share of the classes in the picture, largest first.
            ``"inside"`` is for frames of a film, which keep their size and must not flicker: a translucent strip over
            the lowest rows lists every class in the order of ``names``, and no names are written into regions; a
            picture with no room for it has none.
        ignore_label: an id that is not painted.

    Returns:
        uint8 (H + height of the legend, W, 3); a picture narrower than one entry of its legend is widened to fit it.

    Raises:
        UserError: the shapes of image and labels, or the numbers of names and colours, differ.
    """
    _check(image, labels, names, colors)
    picture = _paint(image, labels, names, colors, opacity, ignore_label, region_names=legend != "inside")
    if not legend:
        return picture
    shares = class_shares(labels, len(names), ignore_label)
    listed = range(len(names)) if legend == "inside" else _by_share(shares)
    entries = [(colors[k], f"{_caption(names[k])}  {shares[k]:.1f}%", f"{_caption(names[k])}  100.0%") for k in listed]
    if legend is True:
        return _with_legend(picture, entries, _font_size(labels.shape))
    strip = _legend(picture.shape[1], entries, max(9, round(0.75 * _font_size(labels.shape))))
    rows = len(strip)
    if strip.shape[1] == picture.shape[1] and 4 * rows <= len(picture):  # else it would hide what it explains
        blended = picture.copy()
        shade = np.where((strip == _PAPER).all(-1, keepdims=True), 0.65, 1.0)  # swatches keep their colours
        blended[-rows:] = np.rint((1 - shade) * picture[-rows:] + shade * strip)
        return blended
    return picture


def side_by_side(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    ignore_label: int | None = None,
) -> np.ndarray:
    """Draws image, ground truth and prediction beside each other, with captions and one legend.

    Args:
        image: uint8 (H, W, 3), RGB.
        truth, prediction: (H, W) ids.
        names, colors: of the K classes.
        ignore_label: an id that is not painted.

    Returns:
        uint8 picture a little over three times as wide as the image. The legend gives the share of each class in the
        truth and in the prediction.

    Raises:
        UserError: as ``overlay``.
    """
    panels = [image]
    for labels in (truth, prediction):
        _check(image, labels, names, colors)
        panels.append(_paint(image, labels, names, colors, 0.6, ignore_label, region_names=True))
    height, width = truth.shape
    size = _font_size(truth.shape)
    font, gap, band = _font(size), max(2, size // 4), round(1.7 * size)
    column = max(width, *(round(_text_size(caption, font)[0]) for caption in _PANELS)) + gap
    canvas = Image.new("RGB", (3 * column - gap, height + band), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (panel, caption) in enumerate(zip(panels, _PANELS, strict=True)):
        middle = index * column + (column - gap) // 2
        canvas.paste(Image.fromarray(panel), (middle - width // 2, band))
        _write(draw, (middle, band / 2), caption, font, _INK)
    shares = [class_shares(labels, len(names), ignore_label) for labels in (truth, prediction)]
    entries: list[tuple[Any, str, str]] = [(None, "% of truth | prediction:", "")]
    entries += [
        (colors[k], f"{_caption(names[k])}  {shares[0][k]:.1f} | {shares[1][k]:.1f}", "")
        for k in _by_share(shares[0] + shares[1])
    ]
    return _with_legend(np.asarray(canvas), entries, size)


def _check(image: np.ndarray, labels: np.ndarray, names: Sequence[str], colors: Colors) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or labels.shape != image.shape[:2]:
        raise UserError(
            f"can't draw labels {labels.shape} over an image {image.shape} of {image.dtype}: "
            "the image is (H, W, 3) of uint8, the labels are (H, W)"
        )
    if len(names) != len(colors):
        raise UserError(
            f"{len(names)} class names but {len(colors)} colours; give each class one, such as by palette(names)"
        )


def _painted(labels: np.ndarray, num_classes: int, ignore_label: int | None) -> np.ndarray:
    painted = (labels >= 0) & (labels < num_classes)
    return painted if ignore_label is None else painted & (labels != ignore_label)


def _by_share(shares: np.ndarray) -> list[int]:
    """Returns the classes with a share, largest first."""
    order = np.argsort(-shares, kind="stable")
    return [int(k) for k in order if shares[k] > 0]


def _caption(name: str) -> str:
    """Returns what a class is called in a picture: the first of its synonyms."""
    return name.split(";")[0].strip()


def _paint(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    opacity: float,
    ignore_label: int | None,
    region_names: bool,
) -> np.ndarray:
    """Returns the image with its regions coloured, their borders stronger, and names written into them."""
    painted = _painted(labels, len(names), ignore_label)
    ids = np.where(painted, labels, -1)
    strength = np.where(_borders(ids), min(1.0, 1.6 * opacity), opacity) * painted
    mixed = image + strength[..., None] * (colorize(ids, colors) - image.astype(np.float32))
    picture = np.rint(mixed).astype(np.uint8)
    if not (region_names and opacity > 0):
        return picture
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    font = _font(max(9, round(0.9 * _font_size(labels.shape))))
    for k in np.unique(ids[painted]).tolist():
        for place in _places(ids == k, _text_size(_caption(names[k]), font)):
            _write(draw, place, _caption(names[k]), font, (255, 255, 255), outline=True)
    return np.asarray(canvas)


def _borders(ids: np.ndarray) -> np.ndarray:
    """Returns where (H, W) a pixel has a neighbour of another id; lines grow with the picture."""
    edges = np.zeros(ids.shape, dtype=bool)
    across, down = ids[:, 1:] != ids[:, :-1], ids[1:] != ids[:-1]
    edges[:, 1:] |= across
    edges[1:] |= down
    width = max(1, round(min(ids.shape) / 360))
    return ndimage.binary_dilation(edges, iterations=width - 1) if width > 1 else edges


def _places(region: np.ndarray, text: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Yields where in the parts of ``region`` (H, W) a name fits: (x, y) of its middle, roomiest parts first.

    Distances to the border are measured in half widths of the text across and half heights down, so a place at a
    distance of 1 has room for the ellipse that the text fills (1.1 leaves a margin). Nearest sampling on a coarse grid
    is enough for that.
    """
    step = -(-max(region.shape) // _MAX_GRID)
    coarse = np.pad(region[step // 2 :: step, step // 2 :: step], 1)  # beyond the picture there is no room either
    room = ndimage.distance_transform_edt(coarse, sampling=(2 * step / text[1], 2 * step / text[0]))
    parts, count = ndimage.label(coarse)
    largest = np.asarray(ndimage.maximum(room, parts, range(1, count + 1)))
    for part in np.argsort(-largest, kind="stable")[:_NAMES_PER_CLASS]:
        if largest[part] < 1.1:
            return
        ridge = np.argwhere((parts == part + 1) & (room > 0.97 * largest[part]))  # a long region has many such places
        y, x = ridge[np.argmin(np.square(ridge - ridge.mean(axis=0)).sum(axis=1))]
        yield float((x - 1) * step + step // 2), float((y - 1) * step + step // 2)


def _with_legend(picture: np.ndarray, entries: Sequence[tuple[Any, str, str]], size: int) -> np.ndarray:
    """Puts the strip of ``_legend`` below a picture, uint8 (H, W, 3), which is widened if the strip needs it."""
    strip = _legend(picture.shape[1], entries, size)
    canvas = np.full((len(picture) + len(strip), strip.shape[1], 3), _PAPER, dtype=np.uint8)
    canvas[: len(picture), : picture.shape[1]] = picture
    canvas[len(picture) :] = strip
    return canvas


def _legend(width: int, entries: Sequence[tuple[Any, str, str]], size: int) -> np.ndarray:
    """Draws ``entries`` in as many equal columns as there is room for.

    Args:
        width: wanted, in pixels; more is taken if one entry needs it.
        entries: (colour or None for none, text, a text whose width is kept free as well).
        size: of the font, in pixels.
    """
    font = _font(size)
    row, gap = round(1.6 * size), size // 2
    texts = [text for entry in entries for text in entry[1:]]
    cell = size + 3 * gap + max([round(_text_size(text, font)[0]) for text in texts], default=0)
    width = max(width, cell)
    columns = max(1, width // cell)
    canvas = Image.new("RGB", (width, -(-len(entries) // columns) * row + gap), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (color, text, _) in enumerate(entries):
        left = index % columns * (width // columns) + gap
        middle = gap // 2 + index // columns * row + row / 2
        if color is not None:
            draw.rectangle((left, middle - size / 2, left + size, middle + size / 2), tuple(color), _INK)
            left += size + gap
        _write(draw, (left, middle), text, font, _INK, anchor="l")
    return np.asarray(canvas)


def _font_size(shape: tuple[int, ...]) -> int:
    """Returns the pixels of a line of text that suit a picture of ``shape``."""
    return int(np.clip(round(min(shape[:2]) / 26), 11, 48))


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size=size)
    except (TypeError, ImportError, OSError):  # Pillow before 10.1 or built without FreeType: one small bitmap font
        return ImageFont.load_default()


def _drawable(text: str, font: Any) -> str:
    """Returns ``text`` with what the bitmap font lacks as question marks."""
    return text if isinstance(font, ImageFont.FreeTypeFont) else text.encode("latin-1", "replace").decode("latin-1")


def _text_size(text: str, font: Any) -> tuple[float, float]:
    """Returns width and height of ``text`` in pixels, at least 1; the height is that of a line whatever the letters."""
    width = font.getbbox(_drawable(text, font))[2]
    return max(1.0, width), max(1.0, font.getbbox("Ág")[3])


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    font: Any,
    color: tuple[int, int, int],
    *,
    outline: bool = False,
    anchor: Literal["m", "l"] = "m",
) -> None:
    """Writes a line of text whose middle ('m') or left end ('l') is at ``place``, with a dark outline or without."""
    text = _drawable(text, font)
    x, y = place
    if isinstance(font, ImageFont.FreeTypeFont):
        stroke = max(1, round(font.size / 9)) if outline else 0
        draw.text((x, y), text, color, font, anchor=anchor + "m", stroke_width=stroke, stroke_fill=(0, 0, 0))
        return
    width, height = _text_size(text, font)
    corner = (x - width / 2 if anchor == "m" else x, y - height / 2)
    if outline:
        draw.rectangle((corner[0] - 1, corner[1] - 1, corner[0] + width, corner[1] + height), (0, 0, 0))
    draw.text(corner, text, color, font)
