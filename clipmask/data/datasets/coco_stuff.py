"""COCO-Stuff: everyday scenes, 80 things and 91 kinds of stuff.

Caesar et al., "COCO-Stuff: Thing and Stuff Classes in Context", 2018. There are two versions, both
below a dataset root. The first, of 10,000 pictures, is converted by MaskFormer's
``prepare_coco_stuff_10k_v1.0_sem_seg.py``:

    coco/coco_stuff_10k/images_detectron2/{train,test}/*.jpg
    coco/coco_stuff_10k/annotations_detectron2/{train,test}/*.png      0..170, 255 for void

The second, of 164,000 pictures, is used as distributed (``stuffthingmaps_trainval2017.zip``). Its
files hold COCO's category ids minus one, which ``label_mapping`` converts to the same classes:

    coco/{train2017,val2017}/*.jpg
    coco/stuffthingmaps/{train2017,val2017}/*.png
"""

from __future__ import annotations

import functools

from clipmask.data.datasets import registering
from clipmask.data.datasets.class_table import class_metadata, read_table
from clipmask.data.datasets.paired import Paired, load_paired

SMALL = "coco/coco_stuff_10k"
HINT = (
    "MaskFormer's datasets/prepare_coco_stuff_10k_v1.0_sem_seg.py makes images_detectron2 and"
    " annotations_detectron2 of version 1.0"
)
LICENSE = "COCO-Stuff terms, CC BY 4.0 for the labels"


def register() -> None:
    """Registers ``coco_2017_{train,test}_stuff_10k_sem_seg``, MaskFormer's names, and
    ``coco_stuff164k_sem_seg_{train,val}``.
    """
    rows = read_table("coco_stuff")
    metadata = {
        **class_metadata(rows),
        "ignore_label": 255,
        "evaluator_type": "sem_seg",
        "license": LICENSE,
    }
    for split in ("train", "test"):
        name = f"coco_2017_{split}_stuff_10k_sem_seg"
        images, labels = (
            f"{SMALL}/{kind}_detectron2/{split}" for kind in ("images", "annotations")
        )
        paired = Paired(name, images, labels, hint=HINT)
        registering.register(
            name, functools.partial(load_paired, paired), elsewhere="mask_former", **metadata
        )
    mapping = {row.label_id - 1: class_id for class_id, row in enumerate(rows)}
    for split in ("train", "val"):
        name = f"coco_stuff164k_sem_seg_{split}"
        paired = Paired(name, f"coco/{split}2017", f"coco/stuffthingmaps/{split}2017")
        registering.register(
            name, functools.partial(load_paired, paired), label_mapping=mapping, **metadata
        )
