"""The datasets that ClipMask knows by name; their files are looked for only when one is loaded."""

from __future__ import annotations

from clipmask.data.datasets import (
    ade20k,
    camvid,
    camvid720,
    cityscapes,
    coco_stuff,
    mapillary,
    pascal,
)
from clipmask.data.toy import dataset as toy

# Each one's folder below a root, and what lies in it for certain.
FOLDERS = {
    "camvid": "train.txt",
    "camvid720": camvid720.LABELS,
    "cityscapes": "leftImg8bit",
    ade20k.FOLDER: "images",
    coco_stuff.SMALL: "annotations_detectron2",
    "coco": "stuffthingmaps",
    "VOC2012": "JPEGImages",
    "VOC2010": "SegmentationClassContext",
    "mapillary_vistas": "training",
    "toy_street": "VERSION",
}


def register_builtin_datasets() -> None:
    """Registers all of them in ``DatasetCatalog`` and ``MetadataCatalog``; called once, by ``import
    clipmask``.
    """
    for dataset in (camvid, camvid720, cityscapes, ade20k, coco_stuff, pascal, mapillary):
        dataset.register()
    toy.register()
