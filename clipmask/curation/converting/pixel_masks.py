"""Reading of masks and arrays beside the pictures.

Masks have one class each (masks/crop/s0.png, s0_crop.png); arrays hold ids (s0.npy, s0.mat).
"""

from __future__ import annotations

import functools
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from clipmask.curation.converting.shapes import Annotations, Labelled, Mask, Shape
from clipmask.curation.guessing.pixels import look
from clipmask.data.opening import open_header
from clipmask.errors import UserError
from clipmask.paths import refuse_bomb, refuse_special

_MOST_DIGITS = 8  # of a number in a name that may be padded with zeros
ARRAYS = (".npy", ".npz", ".mat")


def read_masks(
    root: Path, pictures: Sequence[Path], split_of: Callable[[Path], str | None]
) -> Annotations:
    """Reads masks of one class each.

    The class of a mask is the name of its folder; or, where the file's name begins or ends with
    that of its picture, the rest of it: ``hair`` of ``00000_hair.png`` for ``00000.jpg``.

    Args:
        root: the folder.
        pictures: all picture files in it, including masks, relative to it.
        split_of: a function from the path of a picture to its split.

    Returns:
        The pictures with their masks, and the class names.

    Raises:
        UserError: there are no masks.
    """
    named = [path for path in pictures if "images" in path.parts]
    photos = named or [path for path in pictures if _is_photo(root / path)]
    stems = _by_name(photos)
    shapes: defaultdict[Path, list[Shape]] = defaultdict(list)
    names: set[str] = set()
    for path in sorted(set(pictures) - set(photos)):
        found = _owner(path, stems)
        if found is not None:
            picture, name = found
            names.add(name)
            shapes[picture].append(Shape(name, functools.partial(_draw_file, root / path)))
    if not shapes:
        raise UserError(f"{root}: has no masks whose names or folders give the picture and class")
    labelled = [
        Labelled(path.as_posix(), tuple(shapes[path]), root, split_of(path)) for path in photos
    ]
    return Annotations(tuple(labelled), tuple(sorted(names)), unnamed=True)


def _is_photo(path: Path) -> bool:
    found = look(path)
    return found is not None and (found.lossy or found.values > 256)


def _by_name(photos: Sequence[Path]) -> dict[str, Path]:
    """Returns pictures by their names.

    A number may be padded with zeros in the names of masks, as in CelebAMask-HQ's 0.jpg and
    00000_hair.png.
    """
    stems = {path.stem: path for path in photos}
    for stem, path in list(stems.items()):
        if stem.isdigit():
            for digits in range(len(stem) + 1, _MOST_DIGITS + 1):
                stems.setdefault(stem.zfill(digits), path)
    return stems


def _owner(path: Path, stems: dict[str, Path]) -> tuple[Path, str] | None:
    """Returns the picture of a mask, and its class."""
    if path.stem in stems:
        return stems[path.stem], path.parent.name
    places = [place for place, letter in enumerate(path.stem) if letter in "_-."]
    for place in reversed(places):  # the longest matching name of a picture
        if path.stem[:place] in stems:
            return stems[path.stem[:place]], _without_number(path.stem[place + 1 :])
    for place in places:
        if path.stem[place + 1 :] in stems:
            return stems[path.stem[place + 1 :]], path.stem[:place]
    return None


def _without_number(name: str) -> str:
    """Removes a number at the end, as in mask_1, because a class may have several masks."""
    return re.sub(r"(?<=[^\W\d])[ _.-]*\d+$", "", name)


def _draw_file(path: Path, height: int, width: int) -> Mask:
    """Returns the pixels of a mask that are more than half as bright as its brightest pixel."""
    try:
        with open_header(path) as image:
            has_numbers = image.mode in ("1", "P") or image.mode.startswith("I")
            values = np.asarray(image if has_numbers else image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"mask {path}: can't be read ({error})") from error
    if values.shape != (height, width):
        raise UserError(
            f"mask {path}: is {values.shape[1]}x{values.shape[0]} pixels (width x height), but its"
            f" picture is {width}x{height}"
        )
    if not values.any():
        return np.zeros((height, width), bool)
    return values.astype(np.int64) * 2 > int(values.max())


def read_arrays(
    root: Path, pictures: Sequence[Path], split_of: Callable[[Path], str | None]
) -> Annotations:
    """Reads arrays of ids, .npy, .npz or .mat, with the names of their pictures.

    The ids 255 and -1 are void.

    Args:
        root, pictures, split_of: as for ``read_masks``.

    Raises:
        UserError: an array has no whole numbers, or holds several label maps.
    """
    stems = {path.stem: path for path in pictures}
    labelled, ids = [], set()
    for path in sorted(root.rglob("*")):
        if path.suffix not in ARRAYS or path.stem not in stems:
            continue
        present = np.unique(_array(path)).tolist()
        ids |= set(present)
        picture = stems[path.stem]
        shapes = tuple(Shape(_id_name(id), functools.partial(_draw_id, path, id)) for id in present)
        labelled.append(Labelled(picture.as_posix(), shapes, root, split_of(picture)))
    if not labelled:
        raise UserError(f"{root}: has no .npy, .npz or .mat file with the name of a picture")
    names = tuple(_id_name(id) for id in sorted(ids) if id not in (255, -1))
    return Annotations(tuple(labelled), names, complete=True, unnamed=True)


def _id_name(id: int) -> str:
    if id in (255, -1):
        return "void"
    return f"class_{id}"


def _array(path: Path) -> NDArray[np.int64]:
    refuse_special(path, "array")
    refuse_bomb(path, "array")
    if path.suffix == ".mat":
        return _matlab(path)
    try:
        content = np.load(path, allow_pickle=False)
        values = content
        if isinstance(content, np.lib.npyio.NpzFile):
            values = content[content.files[0]]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, IndexError) as error:
        raise UserError(f"array {path}: can't be read ({error})") from error
    values = np.squeeze(values)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise UserError(
            f"array {path}: holds NaN ({int(np.isnan(values).sum())} pixels), where one id per"
            " pixel is expected; write 255 there, which is void"
        )
    if values.ndim != 2 or not (values == values.astype(np.int64)).all():
        raise UserError(
            f"array {path}: has the shape {values.shape} and type {values.dtype}; a label map must"
            " be (height, width) whole numbers, one id per pixel"
        )
    return values.astype(np.int64)


def _matlab(path: Path) -> NDArray[np.int64]:
    """Returns the only label map (H, W) of a MATLAB file.

    It may be part of a struct, such as GTcls.Segmentation in the Semantic Boundaries Dataset.
    """
    try:
        content = scipy.io.loadmat(path)
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise UserError(
            f"array {path}: can't be read ({error}); save it with -v7, or as .npy or .png"
        ) from error
    found: dict[str, NDArray[Any]] = {}
    for key, value in content.items():
        if not key.startswith("__"):
            found.update(_grids(key, value))
    if len(found) != 1:
        raise UserError(
            f"array {path}: has {len(found)} arrays of whole numbers in rows and columns"
            f" ({', '.join(found) or 'none'}); save only the label map, as .npy or .png"
        )
    return next(iter(found.values())).astype(np.int64)


def _grids(name: str, value: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yields the names and values of the two-dimensional arrays of whole numbers in a value."""
    if not isinstance(value, np.ndarray):
        return
    if value.dtype.names:  # a struct
        for field in value.dtype.names:
            for item in value[field].ravel():
                yield from _grids(f"{name}.{field}", item)
        return
    is_grid = value.ndim == 2 and min(value.shape) > 1 and value.dtype.kind in "biuf"
    if is_grid and (value == value.astype(np.int64)).all():
        yield name, value


def _draw_id(path: Path, id: int, height: int, width: int) -> Mask:
    values = _array(path)
    if values.shape != (height, width):
        raise UserError(
            f"array {path}: is {values.shape[1]}x{values.shape[0]} (width x height), but its"
            f" picture is {width}x{height}"
        )
    return values == id
