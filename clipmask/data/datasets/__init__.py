"""The datasets that ClipMask knows by name; their files are looked for only when one is loaded."""

from __future__ import annotations

from clipmask.data.datasets import camvid, cityscapes, toy_street


def register_builtin_datasets() -> None:
    """Registers all of them in ``DatasetCatalog`` and ``MetadataCatalog``; called once, by ``import clipmask``."""
    camvid.register()
    cityscapes.register()
    toy_street.register()
