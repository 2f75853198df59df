"""CamVid at its own size, as its site distributes it: 701 frames of 960x720, labels in 32 colours.

Below a dataset root, the unpacked ``701_StillsRaw_full.zip`` and ``LabeledApproved_full.zip``:

    camvid720/701_StillsRaw_full/<stem>.png
    camvid720/LabeledApproved_full/<stem>_L.png

The colours and names are those of the distribution's ``label_colors.txt``. Their grouping into 11
classes, and the split of the four films, are those of Badrinarayanan et al., "SegNet", 2017. The
coloured label pictures are read directly, without a conversion before.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from clipmask.data.datasets import registering
from clipmask.data.datasets.camvid import CLASSES, IGNORE_LABEL, SPLITS, class_metadata
from clipmask.data.datasets.roots import dataset_root
from clipmask.data.label_format import RGB, LabelFormat, Value
from clipmask.errors import UserError

IMAGES, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
COUNTS = {"train": 367, "val": 101, "test": 233}
GROUPS: dict[str, dict[str, RGB]] = {  # our class -> the distribution's names and their colours
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
        "Road": (128, 64, 128),
    },
    "sidewalk": {
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
        "Sidewalk": (0, 0, 192),
    },
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign": {
        "Misc_Text": (128, 128, 64),
        "SignSymbol": (192, 128, 128),
        "TrafficLight": (0, 64, 64),
    },
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128),
        "OtherMoving": (128, 64, 64),
        "SUVPickupTruck": (64, 128, 192),
        "Train": (192, 64, 128),
        "Truck_Bus": (192, 128, 192),
    },
    "pedestrian": {
        "Animal": (64, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Child": (192, 128, 64),
        "Pedestrian": (64, 64, 0),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
VOID: RGB = (0, 0, 0)


def register() -> None:
    """Registers ``camvid720_sem_seg_{train,val,trainval,test}``."""
    # A frame of the test split, Seq05VD_f02610, has about 200 pixels on edges that mix two colours.
    # They are void, because the nearest of the 32 colours would often be a third class.
    label_format = LabelFormat(len(CLASSES), IGNORE_LABEL, _table(), others_are_void=True)
    for split in SPLITS:
        registering.register(
            f"camvid720_sem_seg_{split}",
            functools.partial(load_camvid720, split),
            label_format=label_format,
            **class_metadata(),
        )


def load_camvid720(split: str) -> list[dict[str, Any]]:
    """Lists the samples of a split.

    Args:
        split: train, val, trainval or test.

    Returns:
        Dataset dicts with ``file_name`` and ``sem_seg_file_name``, by part and then by name.

    Raises:
        UserError: no root holds the folders; they have another number of frames than the
            distribution; a picture is not a frame of CamVid.
    """
    needed = [f"camvid720/{name}" for name in (IMAGES, LABELS)]
    root = dataset_root(needed, dataset=f"camvid720_sem_seg_{split}", tree=" and ".join(needed))
    folder = root / "camvid720"
    parts: dict[str, list[Path]] = {part: [] for part in COUNTS}
    for image in sorted((folder / IMAGES).glob("*.png")):
        parts[part_of(image.stem)].append(image)
    found = {part: len(images) for part, images in parts.items()}
    if found != COUNTS:
        raise UserError(
            f"{folder / IMAGES}: holds {_listed(found)} frames, but the distribution has"
            f" {_listed(COUNTS)}; unpack {IMAGES}.zip again"
        )
    records = []
    for part in SPLITS[split]:
        for image in parts[part]:
            labels = folder / LABELS / f"{image.stem}_L.png"
            records.append({"file_name": str(image), "sem_seg_file_name": str(labels)})
    return records


def part_of(stem: str) -> str:
    """Returns the part of SegNet's split that a frame belongs to, by its film and number.

    train is the first half of 0001TP, 0006R0, and the part of 0016E5 with one labelled frame per
    second. val is the part of 0016E5 with 15 labelled frames per second. test is the second half of
    0001TP, and Seq05VD.

    Args:
        stem: the name of an image without its suffix, such as ``0001TP_006690`` or
            ``Seq05VD_f00000``.

    Raises:
        UserError: no frame of CamVid has this name.
    """
    match = re.fullmatch(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)", stem)
    if match is None:
        raise UserError(
            f"{stem}: is not a frame of CamVid, whose names are like 0001TP_006690 or"
            " Seq05VD_f00000"
        )
    film, number = match[1], int(match[2])
    if film == "Seq05VD" or (film == "0001TP" and number > 8520):
        return "test"
    if film == "0016E5" and 7959 <= number <= 8159:
        return "val"
    return "train"


def _table() -> dict[Value, int]:
    """Returns the class id of each colour, and of void."""
    table: dict[Value, int] = {VOID: IGNORE_LABEL}
    for class_id, name in enumerate(CLASSES):
        for color in GROUPS[name].values():
            table[color] = class_id
    return table


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {part}" for part, count in counts.items())
