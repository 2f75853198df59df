"""Two more street datasets beside CamVid, each with class names of its own: IDD-Lite and
LabelMeFacade.

    idd_lite_train, idd_lite_val    Indian streets (Varma et al., "IDD", 2019), seven coarse
                                    classes; val is a fifth of the drives
    facade_train, facade_val        house fronts (Froehlich et al., "A fast approach for pixelwise
                                    labeling of facade images", 2010), eight classes; val is a fifth
                                    of the pictures

Below a dataset root (CLIPMASK_DATASETS, DETECTRON2_DATASETS or ./datasets) both lie in SegNet's
layout, as CamVid does: ``idd_lite/train.txt``, ``idd_lite/train/*.jpg``,
``idd_lite/trainannot/*.png``, likewise ``labelme_facade/``.

IDD-Lite's classes are groups. What a group holds is said by its members, so that an image of
IDD-Lite teaches the names that CamVid has too: its "vehicles" are cars, trucks, buses, motorcycles
or bicycles.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import Any

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data import dataset_root
from clipmask.data.datasets.camvid import read_list

VOID = 255
SETS: dict[str, dict[str, Any]] = {
    "idd_lite": {
        "folder": "idd_lite",
        "license": "IDD's terms: research alone",
        "stuff_classes": [
            "drivable",
            "non-drivable",
            "living things",
            "vehicles",
            "roadside objects",
            "far objects",
            "sky",
        ],
        "class_members": {
            "drivable": ["road"],
            "non-drivable": ["sidewalk", "terrain"],
            "living things": ["pedestrian", "rider"],
            "vehicles": ["car", "truck", "bus", "motorcycle", "bicycle"],
            "roadside objects": ["pole", "sign", "fence", "wall", "traffic light"],
            "far objects": ["building", "tree"],
        },
    },
    "facade": {
        "folder": "labelme_facade",
        "license": "non-commercial research",
        "stuff_classes": [
            "building",
            "car",
            "door",
            "pavement",
            "road",
            "sky",
            "vegetation",
            "window",
        ],
    },
}
ALIASES = {
    "building": ["house"],
    "pole": ["post"],
    "sign": ["traffic sign"],
    "tree": ["vegetation"],
    "car": ["automobile"],
    "pedestrian": ["person"],
    "pavement": ["sidewalk"],
    "window": ["windowpane"],
    "terrain": ["earth"],
}


def load(name: str, part: str) -> list[dict[str, Any]]:
    """The samples of a set's ``part``, train or val."""
    folder = SETS[name]["folder"]
    root = dataset_root(
        [f"{folder}/train.txt"], dataset=f"{name}_{part}", tree=f"{folder}/ in SegNet's layout"
    )
    records = read_list(root / folder, "train")
    return [
        record
        for record in records
        if _is_val(name, Path(record["file_name"]).stem) is (part == "val")
    ]


def _is_val(name: str, stem: str) -> bool:
    """A fifth, by a hash; of IDD-Lite whole drives, whose number stands before the first "_"."""
    group = stem.split("_")[0] if name == "idd_lite" else stem
    return zlib.crc32(group.encode()) % 5 == 0


for set_name, metadata in SETS.items():
    own = {key: value for key, value in metadata.items() if key != "folder"}
    for set_part in ("train", "val"):
        DatasetCatalog.register(
            f"{set_name}_{set_part}", functools.partial(load, set_name, set_part)
        )
        MetadataCatalog.get(f"{set_name}_{set_part}").set(
            **own, class_aliases=ALIASES, ignore_label=VOID, evaluator_type="sem_seg"
        )
