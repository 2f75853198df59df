"""CamVid in SegNet's version, 480x360: driving video of Cambridge, 11 classes.

Brostow et al., "Semantic object classes in video: A high-definition ground truth database", 2009;
the 11 classes and the split are those of Badrinarayanan et al., "SegNet", 2017. Below a dataset
root:

    camvid/{train,val,test}.txt     one sample per line: a stem, or two columns, image and label map
    camvid/{train,val,test}/        images, .png or .jpg
    camvid/{train,val,test}annot/   label maps, .png: ids 0..10, 11 for void

``camvid720`` loads the original of 960x720.
"""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath
from typing import Any

from clipmask.data.datasets import registering
from clipmask.data.datasets.roots import dataset_root
from clipmask.errors import UserError

CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "sidewalk": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
IGNORE_LABEL = 11
ALIASES = {
    "building": ["house"],
    "pole": ["column pole", "column_pole", "post"],
    "road": ["street"],
    "sidewalk": ["pavement"],
    "tree": ["vegetation"],
    "sign": ["sign symbol", "signsymbol", "sign_symbol", "traffic sign"],
    "car": ["automobile"],
    "pedestrian": ["person"],
    "bicyclist": ["cyclist", "rider"],
}
LICENSE = "CC BY-NC 4.0"  # of SegNet's version; the original states none
SPLITS = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",)}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def register() -> None:
    """Registers ``camvid_sem_seg_{train,val,trainval,test}``."""
    for split in SPLITS:
        registering.register(
            f"camvid_sem_seg_{split}",
            functools.partial(load_camvid, split),
            license=LICENSE,
            **class_metadata(),
        )


def class_metadata() -> dict[str, Any]:
    """Returns the metadata that both versions of CamVid share."""
    return {
        "stuff_classes": list(CLASSES),
        "stuff_colors": [list(rgb) for rgb in CLASSES.values()],
        "ignore_label": IGNORE_LABEL,
        "evaluator_type": "sem_seg",
        "class_aliases": ALIASES,
    }


def load_camvid(split: str) -> list[dict[str, Any]]:
    """Lists the samples of a split.

    Args:
        split: train, val, trainval or test.

    Returns:
        Dataset dicts with ``file_name`` and ``sem_seg_file_name``, in the order of the lists.

    Raises:
        UserError: no root holds the dataset, or a list names a file that does not exist.
    """
    parts = SPLITS[split]
    needed = [f"camvid/{part}.txt" for part in parts]
    part_names = "|".join(parts)
    tree = f"camvid/ with {part_names}.txt, {part_names}/*.png or *.jpg and {part_names}annot/*.png"
    root = dataset_root(needed, dataset=f"camvid_sem_seg_{split}", tree=tree)
    records = []
    for part in parts:
        records.extend(read_list(root / "camvid", part))
    return records


def read_list(folder: Path, part: str) -> list[dict[str, Any]]:
    """Lists the samples of one part of a dataset in SegNet's layout.

    The layout is {part}.txt, {part}/ and {part}annot/.

    Args:
        folder: the folder of the dataset.
        part: train, val or test.

    Returns:
        Dataset dicts with ``file_name`` and ``sem_seg_file_name``, in the order of the list.

    Raises:
        UserError: the list is empty, has a line of more than two columns, or names a file that does
            not exist.
    """
    path = folder / f"{part}.txt"
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) > 2:
            raise UserError(
                f"{path}, line {number}: has {len(columns)} columns; expected a stem, or image and"
                " labels"
            )
        image, labels = columns[0], columns[-1]
        try:
            records.append(
                {
                    "file_name": _find(folder, part, image, IMAGE_SUFFIXES),
                    "sem_seg_file_name": _find(folder, f"{part}annot", labels, (".png",)),
                }
            )
        except FileNotFoundError as error:
            raise UserError(f"{path}, line {number}: names {error}, which is not there") from error
    if not records:
        raise UserError(f"{path}: lists no samples")
    return records


def _find(folder: Path, part: str, entry: str, suffixes: tuple[str, ...]) -> str:
    """Returns the file that an entry of a list names.

    Args:
        folder: the folder of the dataset.
        part: the subfolder of an entry without a folder.
        entry: a stem, a file name, or a path of another machine, whose last folder and name count.
        suffixes: the suffixes to try, because the images may have been converted since.
    """
    written = PurePosixPath(entry)
    place = folder / (written.parts[-2] if len(written.parts) > 1 else part)
    stem = written.stem if written.suffix.lower() in IMAGE_SUFFIXES else written.name
    candidates = [place / f"{stem}{suffix}" for suffix in suffixes]
    if written.suffix.lower() in suffixes:
        candidates.insert(0, place / written.name)
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    raise FileNotFoundError(" or ".join(map(str, dict.fromkeys(candidates))))
