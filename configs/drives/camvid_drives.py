"""CamVid with one drive left out: ``camvid_without_{drive}`` to train on, ``camvid_drive_{drive}``
to test on.

CamVid's train and val together are 468 frames of three drives through Cambridge; the drive is the
part of a file's name before ``_``. Val is of the drive 0016E5, which gives more than half of train
too, so val can't tell how a model does on streets that it has not seen. A drive that is left out
can.

    0001TP   62 frames, at dusk
    0006R0  101 frames, by day
    0016E5  305 frames, by day; all of val is among them
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from clipmask.d2 import DatasetCatalog, MetadataCatalog

DRIVES = ("0001TP", "0006R0", "0016E5")
SOURCE = "camvid_sem_seg_trainval"


def load(drive: str, left_out: bool) -> list[dict[str, Any]]:
    """The frames of ``drive``, or where it is ``left_out`` all others."""
    records = DatasetCatalog.get(SOURCE)
    return [record for record in records if (_drive(record) == drive) is not left_out]


def _drive(record: dict[str, Any]) -> str:
    return Path(record["file_name"]).name.split("_")[0]


for drive in DRIVES:
    for name, left_out in ((f"camvid_without_{drive}", True), (f"camvid_drive_{drive}", False)):
        DatasetCatalog.register(name, functools.partial(load, drive, left_out))
        metadata = MetadataCatalog.get(SOURCE).as_dict()
        MetadataCatalog.get(name).set(
            **{key: value for key, value in metadata.items() if key != "name"}
        )
