"""CamVid whose images say which classes they show: ``camvid_text_sem_seg_{train,val}``, for
MODEL.CLIP.TEXT annotation.

The text of an image is the list of its classes' names, read off its label map. On val it tells what
a user would not have; ``camvid_sem_seg_val``, without text, is the honest test. Every frame of val
shows all 11 classes, so that there the two are one.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data import label_reader


@functools.cache
def load(split: str) -> list[dict[str, Any]]:
    """The samples of CamVid's ``split``, each with its classes' names as ``text``."""
    source = f"camvid_sem_seg_{split}"
    read, classes = label_reader(source), MetadataCatalog.get(source).stuff_classes
    return [
        {
            **record,
            "text": [
                classes[index]
                for index in np.unique(read(record["sem_seg_file_name"]))
                if index < 11
            ],
        }
        for record in DatasetCatalog.get(source)
    ]


for split in ("train", "val"):
    name, source = (
        f"camvid_text_sem_seg_{split}",
        MetadataCatalog.get(f"camvid_sem_seg_{split}").as_dict(),
    )
    DatasetCatalog.register(name, functools.partial(load, split))
    MetadataCatalog.get(name).set(**{key: value for key, value in source.items() if key != "name"})
