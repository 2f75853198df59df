"""Two sets of streets in other cities, with CamVid's eleven classes: KITTI and BDD100K.

    kitti_semantics_train    Karlsruhe (Alhaija et al., "Augmented Reality Meets Computer Vision",
                             2018): 200 pictures; CC BY-NC-SA 3.0
    bdd100k_train            American cities (Yu et al., "BDD100K", 2020), the labels of the 10k
                             pictures; for research, education and not-for-profit

Below a dataset root (CLIPMASK_DATASETS, DETECTRON2_DATASETS or ./datasets) they lie as their makers
pack them: ``kitti_semantics/training/image_2/*.png`` and ``semantic/*.png`` with Cityscapes' label
ids, ``bdd100k/images/10k/train/*.jpg`` and ``bdd100k/labels/sem_seg/masks/train/*.png`` with
Cityscapes' train ids. Any number of their pictures will do.

Their labels are read in CamVid's classes: grass is vegetation there, a rider and the bicycle are
one thing, trucks and buses are cars, lights are signs. Walls, trains and motorcycles, for which
CamVid has other borders or none, are void.
"""

from __future__ import annotations

import functools
from typing import Any

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data import dataset_root
from clipmask.data.datasets.camvid import class_metadata
from clipmask.data.datasets.cityscapes import CLASSES
from clipmask.errors import UserError

VOID = 255
# the name in Cityscapes -> the name in CamVid
TO_CAMVID = {
    "sky": "sky",
    "building": "building",
    "pole": "pole",
    "road": "road",
    "sidewalk": "sidewalk",
    "vegetation": "tree",
    "terrain": "tree",
    "traffic sign": "sign",
    "traffic light": "sign",
    "fence": "fence",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "person": "pedestrian",
    "rider": "bicyclist",
    "bicycle": "bicyclist",
}
SETS: dict[str, dict[str, Any]] = {
    "kitti_semantics_train": {
        "images": "kitti_semantics/training/image_2",
        "labels": "kitti_semantics/training/semantic",
        "license": "CC BY-NC-SA 3.0",
        "train_ids": False,
    },
    "bdd100k_train": {
        "images": "bdd100k/images/10k/train",
        "labels": "bdd100k/labels/sem_seg/masks/train",
        "license": "BDD100K's licence: research, education and not-for-profit",
        "train_ids": True,
    },
}


def load(name: str) -> list[dict[str, Any]]:
    """The pictures of a set that have labels."""
    images, labels = SETS[name]["images"], SETS[name]["labels"]
    root = dataset_root([images, labels], dataset=name, tree=f"{images}/ and {labels}/")
    records = []
    for path in sorted((root / images).iterdir()):
        label = root / labels / f"{path.stem}.png"
        if label.is_file():
            records.append({"file_name": str(path), "sem_seg_file_name": str(label)})
    if not records:
        raise UserError(f"dataset {name}: no picture in {root / images} has labels in {labels}/")
    return records


def label_mapping(train_ids: bool) -> dict[int, int]:
    """Cityscapes' ids or train ids -> the class id of CamVid; ids that are not in it are void."""
    camvid = class_metadata()["stuff_classes"]
    mapping = {}
    for train_id, (name, item) in enumerate(CLASSES.items()):
        if name in TO_CAMVID:
            mapping[train_id if train_ids else item.label_id] = camvid.index(TO_CAMVID[name])
    return mapping


for set_name, entry in SETS.items():
    DatasetCatalog.register(set_name, functools.partial(load, set_name))
    own = {"label_mapping": label_mapping(entry["train_ids"]), "license": entry["license"]}
    MetadataCatalog.get(set_name).set(**{**class_metadata(), **own, "ignore_label": VOID})
