"""CamVid as its site distributes it, 701 frames of 960x720 in 32 colours -> the tree that
``camvid720_*`` loads.

The colours and names are those of the distribution's ``label_colors.txt``. Their grouping into 11
classes, and the split of the four films, are those of Badrinarayanan et al., "SegNet", 2017.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from clipmask.data.cores import usable_cores
from clipmask.data.datasets.camvid import CLASSES, IGNORE_LABEL
from clipmask.data.reading import read_image
from clipmask.errors import UserError

IMAGES, COLOURED, LABELS = "701_StillsRaw_full", "LabeledApproved_full", "labels"
COUNTS = {"train": 367, "val": 101, "test": 233}
# the original's name: its colour, our class or void
COLOURS: dict[str, tuple[tuple[int, int, int], str | None]] = {
    "Animal": ((64, 128, 64), "pedestrian"),
    "Archway": ((192, 0, 128), "building"),
    "Bicyclist": ((0, 128, 192), "bicyclist"),
    "Bridge": ((0, 128, 64), "building"),
    "Building": ((128, 0, 0), "building"),
    "Car": ((64, 0, 128), "car"),
    "CartLuggagePram": ((64, 0, 192), "pedestrian"),
    "Child": ((192, 128, 64), "pedestrian"),
    "Column_Pole": ((192, 192, 128), "pole"),
    "Fence": ((64, 64, 128), "fence"),
    "LaneMkgsDriv": ((128, 0, 192), "road"),
    "LaneMkgsNonDriv": ((192, 0, 64), "road"),
    "Misc_Text": ((128, 128, 64), "sign"),
    "MotorcycleScooter": ((192, 0, 192), "bicyclist"),
    "OtherMoving": ((128, 64, 64), "car"),
    "ParkingBlock": ((64, 192, 128), "sidewalk"),
    "Pedestrian": ((64, 64, 0), "pedestrian"),
    "Road": ((128, 64, 128), "road"),
    "RoadShoulder": ((128, 128, 192), "sidewalk"),
    "Sidewalk": ((0, 0, 192), "sidewalk"),
    "SignSymbol": ((192, 128, 128), "sign"),
    "Sky": ((128, 128, 128), "sky"),
    "SUVPickupTruck": ((64, 128, 192), "car"),
    "TrafficCone": ((0, 0, 64), "pole"),
    "TrafficLight": ((0, 64, 64), "sign"),
    "Train": ((192, 64, 128), "car"),
    "Tree": ((128, 128, 0), "tree"),
    "Truck_Bus": ((192, 128, 192), "car"),
    "Tunnel": ((64, 0, 64), "building"),
    "VegetationMisc": ((192, 192, 0), "tree"),
    "Void": ((0, 0, 0), None),
    "Wall": ((64, 192, 0), "building"),
}
# Some 200 pixels on edges of this frame of the distribution are blends of two colours: they are
# void.
BLENDED = "Seq05VD_f02610"
_UNKNOWN = 255


class Frame(NamedTuple):
    """One of the 701: its two files, and the split that it belongs to."""

    image: Path
    coloured: Path
    split: str


def split_of(stem: str) -> str:
    """Returns SegNet's split of a frame, by its film and number.

    The first half of 0001TP, 0006R0 and what of 0016E5 is labelled once a second are train; the
    part of 0016E5 that is labelled 15 times a second is val; the second half of 0001TP and Seq05VD
    are test.

    Args:
        stem: name of an image without its suffix, such as ``0001TP_006690`` or ``Seq05VD_f00000``.

    Raises:
        UserError: the name is none of CamVid's.
    """
    match = re.fullmatch(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)", stem)
    if match is None:
        raise UserError(
            f"{stem}: is no frame of CamVid, whose names are like 0001TP_006690 or Seq05VD_f00000"
        )
    film, number = match[1], int(match[2])
    if film == "Seq05VD" or (film == "0001TP" and number > 8520):
        return "test"
    return "val" if film == "0016E5" and 7959 <= number <= 8159 else "train"


def class_ids(path: Path, *, unknown_is_void: bool = False) -> NDArray[np.uint8]:
    """Reads a coloured label picture of the distribution.

    Args:
        path: a picture in the 32 colours.
        unknown_is_void: take other colours for void, as is always done in the one frame that is
            known for them.

    Returns:
        Ids of the 11 classes, 11 for void, uint8 (H, W).

    Raises:
        UserError: the file is missing or damaged, or has a colour that is none of the 32.
    """
    rgb = read_image(path)
    ids = _table()[_packed(rgb)]
    unknown = ids == _UNKNOWN
    if unknown.any():
        if not unknown_is_void and path.name != f"{BLENDED}_L.png":
            y, x = np.argwhere(unknown)[0]
            raise UserError(
                f"label picture {path}: colour {tuple(rgb[y, x].tolist())} at x={x}, y={y} is none"
                f" of CamVid's 32 ({np.count_nonzero(unknown)} such pixels); unpack it again, or"
                " make them void with --unknown-is-void"
            )
        ids[unknown] = IGNORE_LABEL
    return ids


def prepare(folder: Path, *, unknown_is_void: bool = False) -> str:
    """Writes label maps and lists beside the unpacked distribution.

    Below ``folder``, ``labels/<stem>.png`` and then {train,val,test}.txt are written, each whole or
    not at all; images stay where they are.

    Args:
        folder: ``camvid720`` in a dataset root, with 701_StillsRaw_full/*.png and
            LabeledApproved_full/*_L.png.
        unknown_is_void: see ``class_ids``.

    Returns:
        ``frequency_table`` of the splits.

    Raises:
        UserError: a file is missing, damaged, of another size than its image, or has an unknown
            colour; the frames are not the 367, 101 and 233 of the splits; the folder can't be
            written to.
    """
    frames = _frames(folder)
    counts = {split: np.zeros(len(CLASSES) + 1, np.int64) for split in COUNTS}
    try:
        (folder / LABELS).mkdir(exist_ok=True)
        # decoding and writing PNGs let others run
        with ThreadPoolExecutor(min(16, usable_cores())) as pool:
            convert = functools.partial(_convert, folder / LABELS, unknown_is_void=unknown_is_void)
            # seconds; a redirected bar is a line for each update
            pause = 0.1 if sys.stderr.isatty() else 30.0
            shown = tqdm(
                pool.map(convert, frames),
                "label maps",
                len(frames),
                unit="frame",
                mininterval=pause,
            )
            for frame, count in zip(frames, shown, strict=True):
                counts[frame.split] += count
        for split in COUNTS:
            lines = [
                f"{IMAGES}/{f.image.name} {LABELS}/{f.image.name}\n"
                for f in frames
                if f.split == split
            ]
            with _whole(folder / f"{split}.txt") as part:
                part.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder}: the label maps and lists can't be written there ({error})"
        ) from error
    return frequency_table(counts)


def frequency_table(counts: dict[str, NDArray[np.int64]]) -> str:
    """Returns a table of the share of each class, and of void, among all pixels, in percent.

    Args:
        counts: split to pixels of each class and of void, (12,).
    """
    rows = [f"{'% of pixels':<12}" + "".join(f"{split:>8}" for split in counts)]
    shares = {split: 100 * count / max(1, count.sum()) for split, count in counts.items()}
    for class_id, name in enumerate([*CLASSES, "void"]):
        rows.append(f"{name:<12}" + "".join(f"{share[class_id]:8.2f}" for share in shares.values()))
    return "\n".join(rows)


def _frames(folder: Path) -> list[Frame]:
    """Lists the frames in the order of their names, after a check that all are there."""
    for name in (IMAGES, COLOURED):
        if not (folder / name).is_dir():
            raise UserError(
                f"{folder / name}: no such folder; unpack CamVid's {name}.zip there"
                " (datasets/README.md describes it)"
            )
    images = sorted((folder / IMAGES).glob("*.png"))
    frames = [Frame(i, folder / COLOURED / f"{i.stem}_L.png", split_of(i.stem)) for i in images]
    found = {split: sum(frame.split == split for frame in frames) for split in COUNTS}
    if found != COUNTS:
        raise UserError(
            f"{folder / IMAGES}: holds {_told(found)} frames, but the distribution has"
            f" {_told(COUNTS)}; unpack it again"
        )
    missing = [frame.coloured for frame in frames if not frame.coloured.is_file()]
    if missing:
        raise UserError(
            f"{missing[0]}: no such file ({len(missing)} label pictures are missing); unpack them"
            " again"
        )
    return frames


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())


def _convert(folder: Path, frame: Frame, *, unknown_is_void: bool) -> NDArray[np.int64]:
    """Writes the label map of a frame into a folder; returns how many pixels each class and void
    have, (12,).
    """
    ids = class_ids(frame.coloured, unknown_is_void=unknown_is_void)
    height, width = read_image(frame.image).shape[:2]
    if ids.shape != (height, width):
        raise UserError(
            f"label picture {frame.coloured}: is {ids.shape[1]}x{ids.shape[0]} pixels (width x"
            f" height), but its image is {width}x{height}"
        )
    with _whole(folder / frame.image.name) as part:
        Image.fromarray(ids).save(part, format="PNG")
    return np.bincount(ids.ravel(), minlength=len(CLASSES) + 1)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Gives a file to write, which then takes the place of ``path``, or vanishes if writing
    failed.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _packed(rgb: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Returns each pixel's colour (..., 3) as one number, (...)."""
    red, green, blue = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


@functools.cache
def _table() -> NDArray[np.uint8]:
    """Returns the class id of every colour, void or ``_UNKNOWN``, by its packed number, (2^24,)."""
    table = np.full(1 << 24, _UNKNOWN, np.uint8)
    names = list(CLASSES)
    for colour, name in COLOURS.values():
        table[_packed(np.array(colour, np.uint8))] = (
            IGNORE_LABEL if name is None else names.index(name)
        )
    return table
