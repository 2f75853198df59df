"""Registration of the built-in datasets, also beside those of Detectron2 and its projects."""

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
# Datasets that a Detectron2 project, such as MaskFormer, registers too when it is imported. They
# are registered only on first use, and only if no other dataset has their name by then.
_waiting: dict[str, Load] = {}


def register(
    name: str,
    load: Load,
    *,
    guarded: bool = False,
    elsewhere: str = "",
    **metadata: Any,
) -> None:
    """Registers a built-in dataset, unless its name is already taken.

    A dataset of other code that has the name stays, and a warning is logged. Detectron2's own
    dataset of the same name has the same files; it gets our function, which searches all dataset
    roots, and the metadata that it lacks.

    Args:
        name: the name of the dataset.
        load: a function that returns the list of its dataset dicts.
        guarded: True: hide the label files from Detectron2's readers, see
            ``clipmask.data.guarded``. Files that hold other values than class ids are always
            hidden.
        elsewhere: the package of a Detectron2 project that registers the same dataset.
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
                "dataset %s: the one that %s registered before clipmask was imported is used",
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
    """Registers a built-in dataset now whose registration was left to another project.

    It has no effect on other datasets, or if the project has registered the name. ClipMask's
    loaders and commands call it by themselves.

    Args:
        name: the name of any dataset.
    """
    load = _waiting.get(name)
    if load is not None and name not in DatasetCatalog.list():
        DatasetCatalog.register(name, load)


def known_names() -> list[str]:
    """Returns the names of all datasets, including those that ``claim`` would register."""
    return [*DatasetCatalog.list(), *(name for name in _waiting if name not in DatasetCatalog)]


def _holds_class_ids(metadata: dict[str, Any]) -> bool:
    values = SimpleNamespace(get=lambda key, default=None: metadata.get(key, default), **metadata)
    return LabelFormat.from_metadata(values).holds_class_ids


def _origin(name: str) -> str:
    """Returns the name of the module whose function loads a dataset."""
    present = DatasetCatalog[name]
    return str(getattr(getattr(present, "func", present), "__module__", "other code"))


def _add_metadata(name: str, metadata: dict[str, Any]) -> None:
    """Sets the entries that the registered metadata lack."""
    present = MetadataCatalog.get(name)
    present.set(**{key: value for key, value in metadata.items() if key not in present.as_dict()})
