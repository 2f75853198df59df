"""The datasets that ClipMask knows by name; their files are looked for only when one is loaded."""

from __future__ import annotations

from clipmask.data.datasets import camvid, cityscapes, toy_street

FOLDERS = (*camvid.TREES, "cityscapes", "toy_street")  # of their files, below a root


def register_builtin_datasets() -> None:
    """Registers all of them in ``DatasetCatalog`` and ``MetadataCatalog``; called once, by ``import clipmask``."""
    camvid.register()
    cityscapes.register()
    toy_street.register()
