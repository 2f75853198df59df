"""The datasets that ClipMask knows by name; their files are looked for only when one is loaded."""

from __future__ import annotations

from clipmask.data.datasets import camvid, cityscapes
from clipmask.data.toy import dataset as toy

# Each one's folder below a root, and what lies in it for certain.
FOLDERS = {
    **dict.fromkeys(camvid.TREES, "train.txt"),
    "cityscapes": "leftImg8bit",
    "toy_street": "VERSION",
}


def register_builtin_datasets() -> None:
    """Registers all of them in ``DatasetCatalog`` and ``MetadataCatalog``; called once, by ``import
    clipmask``.
    """
    camvid.register()
    cityscapes.register()
    toy.register()
