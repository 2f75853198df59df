"""ADE20K's scene parsing benchmark: 150 classes of indoor and outdoor scenes.

Zhou et al., "Scene Parsing through ADE20K Dataset", 2017. The files below a dataset root are the
unpacked ``ADEChallengeData2016.zip``, and the label maps that ``datasets/prepare_ade20k.py`` (or
``prepare_ade20k_sem_seg.py`` of Detectron2 or MaskFormer) makes from its annotations:

    ADEChallengeData2016/images/{training,validation}/*.jpg
    ADEChallengeData2016/annotations_detectron2/{training,validation}/*.png    0..149, 255 for void

The names of the classes and datasets are those of Detectron2.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from clipmask.data.datasets import registering
from clipmask.data.datasets.class_table import class_metadata, read_table
from clipmask.data.datasets.paired import Paired, load_paired
from clipmask.errors import UserError

FOLDER = "ADEChallengeData2016"
SPLITS = {"train": "training", "val": "validation"}
HINT = f"datasets/prepare_ade20k.py makes {FOLDER}/annotations_detectron2 from annotations"


def register() -> None:
    """Registers ``ade20k_sem_seg_{train,val}``."""
    metadata = class_metadata(read_table("ade20k"))
    for split, part in SPLITS.items():
        name = f"ade20k_sem_seg_{split}"
        paired = Paired(
            name, f"{FOLDER}/images/{part}", f"{FOLDER}/annotations_detectron2/{part}", "", HINT
        )
        registering.register(
            name,
            functools.partial(load_paired, paired),
            ignore_label=255,
            evaluator_type="sem_seg",
            license="ADE20K terms, non-commercial",
            **metadata,
        )


def prepare(folder: Path) -> int:
    """Writes annotations_detectron2 from annotations.

    Every id is reduced by one, so that the id 0, which is not a class, becomes 255.

    Args:
        folder: the folder ADEChallengeData2016.

    Returns:
        The number of label maps written.

    Raises:
        UserError: there are no annotations, or one is not a picture of ids 0..150.
    """
    written = 0
    for part in SPLITS.values():
        target = folder / "annotations_detectron2" / part
        for path in sorted((folder / "annotations" / part).glob("*.png")):
            ids = np.asarray(Image.open(path))
            if ids.dtype != np.uint8 or ids.ndim != 2 or ids.max() > 150:
                raise UserError(f"label map {path}: does not hold ids 0..150 of the benchmark")
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids - np.uint8(1)).save(target / path.name)
            written += 1
    if not written:
        raise UserError(
            f"{folder}: holds no annotations/{{{','.join(SPLITS.values())}}}/*.png; unpack"
            " ADEChallengeData2016.zip there (datasets/README.md describes it)"
        )
    return written
