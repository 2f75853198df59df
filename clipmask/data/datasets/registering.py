"""How a dataset of ours gets into the catalogs, which may be those of a larger project."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from clipmask.d2 import IMPLEMENTATION, DatasetCatalog, MetadataCatalog
from clipmask.data.guarded import GuardedDataset
from clipmask.data.label_format import LabelFormat

logger = logging.getLogger(__name__)

Load = Callable[[], list[dict[str, Any]]]
# Datasets that a project of Detectron2's registers too, when it is imported: they take their place
# in Detectron2's catalog when they are asked for and it has none of that name.
_waiting: dict[str, Load] = {}


def register(
    name: str,
    load: Load,
    *,
    guarded: bool = False,
    elsewhere: str = "",
    **metadata: Any,
) -> None:
    """Registers a dataset, unless its name is taken: what was there first stays, with a warning if
    it is not ours.

    Detectron2's own dataset of the same name, which is the same on disk, gets our function, because
    that looks in all dataset roots, and the metadata that it lacks.

    Args:
        name: of the dataset.
        load: makes the list of its dataset dicts.
        guarded: whether label files are hidden from Detectron2's readers, see
            ``clipmask.data.guarded``; those that hold other values than class ids always are.
        elsewhere: a project of Detectron2's that registers the same dataset by the same name.
        metadata: see ``clipmask.builtin.catalog.Metadata``.
    """
    if guarded or not _holds_class_ids(metadata):
        load = GuardedDataset(load)
    if name in DatasetCatalog.list():
        origin = _origin(name)
        if origin.startswith("detectron2.data.datasets.builtin"):
            DatasetCatalog.remove(name)
            DatasetCatalog.register(name, load)
            _add_metadata(name, metadata)
        elif elsewhere and origin.startswith(elsewhere):
            _add_metadata(name, metadata)
        elif not origin.startswith("clipmask."):
            logger.warning(
                "dataset %s was registered by %s before clipmask was imported: that one stays",
                name,
                origin,
            )
        return
    if elsewhere and IMPLEMENTATION == "detectron2":
        _waiting[name] = load
    else:
        DatasetCatalog.register(name, load)
    _add_metadata(name, metadata)


def claim(name: str) -> None:
    """Puts a dataset of ours that waits for another project into Detectron2's catalog, if no
    project has registered one of that name. ClipMask's loaders and commands do so by themselves.

    Args:
        name: of any dataset; nothing happens where none of that name waits.
    """
    load = _waiting.get(name)
    if load is not None and name not in DatasetCatalog.list():
        DatasetCatalog.register(name, load)


def known_names() -> list[str]:
    """Returns the names of all datasets, also of those that wait."""
    return [*DatasetCatalog.list(), *(name for name in _waiting if name not in DatasetCatalog)]


def _holds_class_ids(metadata: dict[str, Any]) -> bool:
    values = SimpleNamespace(get=lambda key, default=None: metadata.get(key, default), **metadata)
    return LabelFormat.from_metadata(values).holds_class_ids


def _origin(name: str) -> str:
    """Returns the module of the function that lists a dataset."""
    present = DatasetCatalog[name]
    return str(getattr(getattr(present, "func", present), "__module__", "other code"))


def _add_metadata(name: str, metadata: dict[str, Any]) -> None:
    """Sets the metadata that are not there yet."""
    present = MetadataCatalog.get(name)
    present.set(**{key: value for key, value in metadata.items() if key not in present.as_dict()})
