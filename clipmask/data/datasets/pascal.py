"""PASCAL VOC 2012, with and without the labels of SBD, and PASCAL Context of 59 classes.

Everingham et al., "The Pascal Visual Object Classes Challenge", 2015; Hariharan et al., "Semantic
Contours from Inverse Detectors", 2011; Mottaghi et al., "The Role of Context for Object Detection
and Semantic Segmentation in the Wild", 2014. The folders lie directly below a dataset root, as for
Detectron2, or in the archive's own folder ``VOCdevkit``:

    VOC2012/JPEGImages/*.jpg
    VOC2012/SegmentationClass/*.png                          0..20, 255 for void, with a palette
    VOC2012/ImageSets/Segmentation/{train,val,trainval}.txt
    VOC2012/SegmentationClassAug/*.png                       the same ids, with the labels of SBD
    VOC2012/ImageSets/Segmentation/trainaug.txt
    VOC2010/JPEGImages/*.jpg
    VOC2010/SegmentationClassContext/*.png                   1..59, 0 for everything else: void
    VOC2010/ImageSets/SegmentationContext/{train,val}.txt

The class names are those of the datasets. mmsegmentation's converter writes the last two entries.
"""

from __future__ import annotations

import functools
from typing import Any

from clipmask.data.datasets import registering
from clipmask.data.datasets.class_table import class_metadata, read_table
from clipmask.data.datasets.paired import Paired, load_paired
from clipmask.data.datasets.roots import dataset_roots

DEVKIT = "VOCdevkit"
VOC_SPLITS = ("train", "val", "trainval", "trainaug")
CONTEXT_HINT = (
    "mmsegmentation's tools/dataset_converters/pascal_context.py makes SegmentationClassContext and"
    " its lists of PASCAL VOC 2010 and trainval_merged.json"
)


def register() -> None:
    """Registers ``voc2012_sem_seg_{train,val,trainval,trainaug}`` and
    ``pascal_context59_sem_seg_{train,val}``.
    """
    common: dict[str, Any] = {"ignore_label": 255, "evaluator_type": "sem_seg"}
    voc, context = map(read_table, ("voc", "pascal_context"))
    for split in VOC_SPLITS:
        labels = "SegmentationClassAug" if split == "trainaug" else "SegmentationClass"
        paired = Paired(
            f"voc2012_sem_seg_{split}",
            "VOC2012/JPEGImages",
            f"VOC2012/{labels}",
            f"VOC2012/ImageSets/Segmentation/{split}.txt",
        )
        load = functools.partial(load_voc, paired)
        # guarded, because Detectron2's mapper would convert the palettes to grey values
        registering.register(paired.dataset, load, guarded=True, **common, **class_metadata(voc))
    values = {0: 255, **{row.label_id: class_id for class_id, row in enumerate(context)}}
    for split in ("train", "val"):
        paired = Paired(
            f"pascal_context59_sem_seg_{split}",
            "VOC2010/JPEGImages",
            "VOC2010/SegmentationClassContext",
            f"VOC2010/ImageSets/SegmentationContext/{split}.txt",
            CONTEXT_HINT,
        )
        registering.register(
            paired.dataset,
            functools.partial(load_voc, paired),
            label_values=values,
            **common,
            **class_metadata(context),
        )


def load_voc(split: Paired) -> list[dict[str, Any]]:
    """Lists the samples of a split as ``load_paired`` does, also from the folder VOCdevkit."""
    for root in dataset_roots():
        if (root / split.listed).is_file():
            break
        if (root / DEVKIT / split.listed).is_file():
            inside = {
                key: f"{DEVKIT}/{getattr(split, key)}" for key in ("images", "labels", "listed")
            }
            return load_paired(split._replace(**inside))
    return load_paired(split)
