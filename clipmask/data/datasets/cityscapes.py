"""Cityscapes as its site distributes it: street scenes of 50 cities, 19 classes.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016. Below a
dataset root, the unpacked ``leftImg8bit_trainvaltest.zip`` and ``gtFine_trainvaltest.zip``:

    cityscapes/leftImg8bit/{train,val,test}/<city>/<name>_leftImg8bit.png
    cityscapes/gtFine/{train,val}/<city>/<name>_gtFine_labelIds.png

The label maps hold the official ids 0 to 33 (-1, the licence plate, does not occur in them). 19 of
these ids are classes; the others are not scored. ``label_mapping`` converts them to class ids when
a file is read. ``server_ids`` converts class ids back, for predictions that the benchmark's server
scores. The labels of test are not public (the files in gtFine/test are blank), so its samples have
no labels.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

from clipmask.data.datasets import registering
from clipmask.data.datasets.roots import dataset_root
from clipmask.errors import UserError


class _Class(NamedTuple):
    label_id: int
    color: tuple[int, int, int]
    aliases: tuple[str, ...]


CLASSES = {  # in the order of the official train ids
    "road": _Class(7, (128, 64, 128), ("street",)),
    "sidewalk": _Class(8, (244, 35, 232), ("pavement",)),
    "building": _Class(11, (70, 70, 70), ("house",)),
    "wall": _Class(12, (102, 102, 156), ()),
    "fence": _Class(13, (190, 153, 153), ()),
    "pole": _Class(17, (153, 153, 153), ("post",)),
    "traffic light": _Class(19, (250, 170, 30), ("traffic signal",)),
    "traffic sign": _Class(20, (220, 220, 0), ("sign", "sign symbol")),
    "vegetation": _Class(21, (107, 142, 35), ("tree",)),
    "terrain": _Class(22, (152, 251, 152), ("grass",)),
    "sky": _Class(23, (70, 130, 180), ()),
    "person": _Class(24, (220, 20, 60), ("pedestrian",)),
    "rider": _Class(25, (255, 0, 0), ("cyclist", "bicyclist")),
    "car": _Class(26, (0, 0, 142), ("automobile",)),
    "truck": _Class(27, (0, 0, 70), ("lorry",)),
    "bus": _Class(28, (0, 60, 100), ()),
    "train": _Class(31, (0, 80, 100), ("tram",)),
    "motorcycle": _Class(32, (0, 0, 230), ("motorbike",)),
    "bicycle": _Class(33, (119, 11, 32), ("bike",)),
}
IGNORE_LABEL = 255
SPLITS = {"train": True, "val": True, "test": False}  # split -> whether its labels are public
IMAGE_SUFFIX, LABEL_SUFFIX = "_leftImg8bit.png", "_gtFine_labelIds.png"


def register() -> None:
    """Registers ``cityscapes_sem_seg_{train,val,test}``.

    Two entries are added to the usual metadata: ``label_mapping`` (label id -> class id), by which
    the official files are read, and ``server_ids`` (the label id of each class), by which files for
    the server are written.
    """
    server_ids = [item.label_id for item in CLASSES.values()]
    for split in SPLITS:
        name = f"cityscapes_sem_seg_{split}"
        registering.register(
            name,
            functools.partial(load_cityscapes, split),
            stuff_classes=list(CLASSES),
            stuff_colors=[list(item.color) for item in CLASSES.values()],
            ignore_label=IGNORE_LABEL,
            label_mapping={label_id: class_id for class_id, label_id in enumerate(server_ids)},
            server_ids=server_ids,
            evaluator_type="sem_seg",
            license="Cityscapes terms, non-commercial",
            class_aliases={
                name: list(item.aliases) for name, item in CLASSES.items() if item.aliases
            },
        )


def load_cityscapes(split: str) -> list[dict[str, Any]]:
    """Lists the samples of a split.

    Args:
        split: train, val or test.

    Returns:
        Dataset dicts with ``file_name`` and, except for test, ``sem_seg_file_name``, sorted by city
        and name.

    Raises:
        UserError: no root holds the split's folders, or there are no pictures in them.
    """
    labelled = SPLITS[split]
    needed = [f"cityscapes/{kind}/{split}" for kind in ("leftImg8bit", "gtFine")[: 1 + labelled]]
    tree = f"cityscapes/ with leftImg8bit/{split}/<city>/*{IMAGE_SUFFIX}"
    if labelled:
        tree += f" and gtFine/{split}/<city>/*{LABEL_SUFFIX}"
    root = dataset_root(needed, dataset=f"cityscapes_sem_seg_{split}", tree=tree) / "cityscapes"
    images = sorted((root / "leftImg8bit" / split).glob(f"*/*{IMAGE_SUFFIX}"))
    if not images:
        raise UserError(
            f"{root / 'leftImg8bit' / split}: holds no <city>/*{IMAGE_SUFFIX}; unpack"
            f" leftImg8bit_trainvaltest.zip into {root} (datasets/README.md describes it)"
        )
    return [_record(root / "gtFine" / split, image, labelled) for image in images]


def _record(truth: Path, image: Path, labelled: bool) -> dict[str, Any]:
    """Returns the dataset dict of a picture; ``truth`` is the gtFine folder of its split."""
    record = {"file_name": str(image)}
    if labelled:
        stem = image.name.removesuffix(IMAGE_SUFFIX)
        record["sem_seg_file_name"] = str(truth / image.parent.name / f"{stem}{LABEL_SUFFIX}")
    return record
