"""The two global catalogs of datasets: their loading functions and their metadata.

Both behave like Detectron2's catalogs of the same names, so a module that registers a dataset works
with either.
"""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

_logger = logging.getLogger(__name__)

DatasetDict = dict[str, Any]

# Old modules still set these keys. Detectron2 stores them under the current names, so this class
# must do the same.
_FORMER_NAMES = {
    "class_names": "thing_classes",
    "dataset_id_to_contiguous_id": "thing_dataset_id_to_contiguous_id",
    "stuff_class_names": "stuff_classes",
}


class _DatasetCatalog(UserDict[str, Callable[[], list[DatasetDict]]]):
    """The functions that load the samples, by dataset name. Only ``get`` calls them."""

    def register(self, name: str, func: Callable[[], list[DatasetDict]]) -> None:
        """Adds a dataset.

        Args:
            name: the name for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
            func: a function without arguments that returns the dataset dicts, the same at each
                call.

        Raises:
            AssertionError: ``func`` is not callable, or the name is taken.
        """
        if not callable(func):
            raise AssertionError(
                f"dataset {name}: register a function that returns the samples, not {func!r}"
            )
        if name in self:
            raise AssertionError(
                f"dataset {name} is registered already; remove it first or choose another name"
            )
        self[name] = func

    def get(self, name: str) -> list[DatasetDict]:  # type: ignore[override]
        """Calls the function of a dataset and returns its dataset dicts.

        Raises:
            KeyError: there is no such dataset; the message lists the known ones.
        """
        if name not in self:
            raise KeyError(
                f"dataset {name!r} is not registered; known are: {', '.join(self) or 'none'}"
            )
        return self[name]()

    def list(self) -> list[str]:
        """Returns the names of all datasets, in order of registration."""
        return [*self]

    def remove(self, name: str) -> None:
        """Removes a dataset from the catalog.

        Raises:
            KeyError: there is no such dataset.
        """
        del self[name]

    def __repr__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self)})"


class Metadata(SimpleNamespace):
    """The metadata of one dataset, as attributes that can be set once.

    Other attributes are allowed; ClipMask reads these:

        stuff_classes    list of class names, in the order of the class ids
        stuff_colors     list of [r, g, b], each 0..255
        ignore_label     the void id, an int
        label_mapping    id in the label files -> class id, if they differ; all other ids are void
        label_values     id or (r, g, b) in the label files -> class id or ``ignore_label``; other
                         values are an error
        label_format     a ``clipmask.data.LabelFormat`` that replaces these two tables
        image_range      the values of the pictures that become black and white
        evaluator_type   as in Detectron2
        class_aliases    class name -> other names of it in files of embeddings
        class_synonyms   class name -> words that CLIP embeds instead of the name
        class_prompts    class name -> prompts that replace those of the config
        class_members    class name -> names of the things that it contains
        server_ids       the id of each class on the benchmark's server
        license          the licence of the data, which is saved in checkpoints
    """

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        if key in _FORMER_NAMES:
            return getattr(self, _current_name(key))
        known = ", ".join(other for other in self.__dict__ if other != "name") or "nothing yet"
        raise AttributeError(f"dataset {self.name!r} has no metadata {key!r}; it has {known}")

    def __setattr__(self, key: str, value: Any) -> None:
        key = _current_name(key)
        try:
            present = getattr(self, key)
        except AttributeError:
            super().__setattr__(key, value)
            return
        if not (present == value):
            raise AssertionError(
                f"metadata {key!r} of dataset {self.name!r} is set already and can't change:"
                f" {present!r} != {value!r}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Returns a shallow copy of all attributes; ``name`` is one of them."""
        return dict(self.__dict__)

    def set(self, **values: Any) -> Metadata:
        """Sets several attributes and returns the metadata itself.

        Raises:
            AssertionError: one of them has another value already.
        """
        for key, value in values.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the attribute ``key``, or ``default`` if it is not set."""
        return getattr(self, key, default)


def _current_name(key: str) -> str:
    """Returns the current name of a metadata key, and logs a warning if the key is an old name."""
    if key in _FORMER_NAMES:
        _logger.warning("metadata %r is now called %r", key, _FORMER_NAMES[key])
    return _FORMER_NAMES.get(key, key)


class _MetadataCatalog(UserDict[str, Metadata]):
    """The ``Metadata`` of datasets by name; ``get`` creates missing ones."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """Returns the metadata of a dataset, the same object at each call.

        Raises:
            AssertionError: the name is empty.
        """
        if not name:
            raise AssertionError("metadata need the name of a dataset")
        return self.data.setdefault(name, Metadata(name=name))

    def list(self) -> list[str]:
        """Returns the names of the datasets that have metadata."""
        return [*self]

    def remove(self, name: str) -> None:
        """Removes the metadata of a dataset.

        Raises:
            KeyError: the dataset has no metadata.
        """
        del self[name]

    def __repr__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self)})"


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
