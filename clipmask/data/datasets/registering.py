"""How a dataset of ours gets into the catalogs, which may be those of a larger project."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from clipmask.d2 import DatasetCatalog, MetadataCatalog

logger = logging.getLogger(__name__)


def register(name: str, load: Callable[[], list[dict[str, Any]]], **metadata: Any) -> None:
    """Registers a dataset, unless its name is taken: what was there first stays, with a warning if
    it is not ours.

    Args:
        name: of the dataset.
        load: makes the list of its dataset dicts.
        metadata: see ``clipmask.builtin.catalog.Metadata``.
    """
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(**metadata)
        return
    present = DatasetCatalog[name]
    origin = str(getattr(getattr(present, "func", present), "__module__", "other code"))
    if not origin.startswith("clipmask."):
        logger.warning(
            "dataset %s was registered by %s before clipmask was imported: that one stays",
            name,
            origin,
        )
