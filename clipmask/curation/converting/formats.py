"""The names of the formats that ``clipmask-data convert`` reads.

They are separate from the readers, because the command line needs them before the slow imports.
"""

from __future__ import annotations

ANNOTATIONS = (
    "coco",
    "panoptic",
    "labelme",
    "yolo",
    "label-studio",
    "cvat",
    "supervisely",
    "via",
    "run-lengths",
    "npy",
    "masks",
)
FORMATS = (*ANNOTATIONS, "parquet")  # a parquet file holds whole datasets, pictures included
