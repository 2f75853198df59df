"""Mapillary Vistas, version 1.2: streets of six continents, 65 classes.

Neuhold et al., "The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes", 2017.
The files below a dataset root are the unpacked archive, in the same place as for MaskFormer:

    mapillary_vistas/{training,validation}/images/*.jpg
    mapillary_vistas/{training,validation}/labels/*.png      0..64, 65 for void, with a palette

The names of the classes and of the datasets are those of MaskFormer.
"""

from __future__ import annotations

import functools

from clipmask.data.datasets import registering
from clipmask.data.datasets.class_table import class_metadata, read_table
from clipmask.data.datasets.paired import Paired, load_paired

SPLITS = {"train": "training", "val": "validation"}
IGNORE_LABEL = 65


def register() -> None:
    """Registers ``mapillary_vistas_sem_seg_{train,val}``."""
    for split, part in SPLITS.items():
        name = f"mapillary_vistas_sem_seg_{split}"
        paired = Paired(name, *(f"mapillary_vistas/{part}/{kind}" for kind in ("images", "labels")))
        registering.register(
            name,
            functools.partial(load_paired, paired),
            elsewhere="mask_former",
            guarded=True,  # Detectron2's mapper would convert the palettes to grey values
            ignore_label=IGNORE_LABEL,
            evaluator_type="sem_seg",
            license="Mapillary Vistas terms, non-commercial",
            **class_metadata(read_table("mapillary_vistas")),
        )
