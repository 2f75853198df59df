"""The built-in datasets. Their files are searched only when a dataset is loaded."""

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

# the folder of each dataset below a root -> a file or folder that is always in it
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
    """Registers the built-in datasets in ``DatasetCatalog`` and ``MetadataCatalog``.

    ``import clipmask`` calls it once.
    """
    for dataset in (camvid, camvid720, cityscapes, ade20k, coco_stuff, pascal, mapillary):
        dataset.register()
    toy.register()
