"""The two global tables of datasets: how each is loaded, and what is known about it.

Both behave as Detectron2's tables of the same names do, so a module that registers a dataset serves
either.
"""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

_logger = logging.getLogger(__name__)

DatasetDict = dict[str, Any]

# Older modules still write these; Detectron2 keeps them under today's names, and so must the
# stand-in.
_FORMER_NAMES = {
    "class_names": "thing_classes",
    "dataset_id_to_contiguous_id": "thing_dataset_id_to_contiguous_id",
    "stuff_class_names": "stuff_classes",
}


class _DatasetCatalog(UserDict[str, Callable[[], list[DatasetDict]]]):
    """Dataset name -> the function that lists its samples; nothing is read before ``get``."""

    def register(self, name: str, func: Callable[[], list[DatasetDict]]) -> None:
        """Adds a dataset.

        Args:
            name: what ``DATASETS.TRAIN`` and ``DATASETS.TEST`` call it.
            func: takes nothing and returns the dataset dicts, the same ones at each call.

        Raises:
            AssertionError: ``func`` can't be called, or the name is taken.
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
        """Returns the dataset dicts of ``name``, from a call of its function.

        Raises:
            KeyError: no such dataset; the known ones are listed.
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
        """Takes a dataset out of the catalog.

        Raises:
            KeyError: no such dataset.
        """
        del self[name]

    def __repr__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self)})"


class Metadata(SimpleNamespace):
    """What is known about one dataset, as attributes that are written once.

    ClipMask reads ``stuff_classes`` (list of names, in the order of the label ids),
    ``stuff_colors`` (list of [r, g, b], 0..255), ``ignore_label`` (int), ``label_mapping`` (id in
    the label files -> class id, if they differ; all other ids are void), ``label_values`` (id or
    (r, g, b) in the label files -> class id or ``ignore_label``; no other value may occur),
    ``label_format`` (a ``clipmask.data.LabelFormat`` in place of these two), ``image_range``
    (values of the pictures that become black and white), ``evaluator_type``, ``class_aliases``,
    ``class_synonyms`` (class name -> words that text encoders read in its place),
    ``class_prompts`` (class name -> its own prompts) and ``license`` (of the data; it goes into
    checkpoints); anything else may be kept.
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
        """Returns the attribute ``key``, or ``default`` where it is not set."""
        return getattr(self, key, default)


def _current_name(key: str) -> str:
    """Returns the name that metadata ``key`` has today, with a warning where that is another."""
    if key in _FORMER_NAMES:
        _logger.warning("metadata %r is now called %r", key, _FORMER_NAMES[key])
    return _FORMER_NAMES.get(key, key)


class _MetadataCatalog(UserDict[str, Metadata]):
    """Dataset name -> its one ``Metadata``, made empty when first asked for."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """Returns the metadata of ``name``: the same object at each call.

        Raises:
            AssertionError: the name is empty.
        """
        if not name:
            raise AssertionError("metadata need the name of a dataset")
        return self.data.setdefault(name, Metadata(name=name))

    def list(self) -> list[str]:
        """Returns the names that metadata exist for."""
        return [*self]

    def remove(self, name: str) -> None:
        """Forgets the metadata of a dataset.

        Raises:
            KeyError: there are none.
        """
        del self[name]

    def __repr__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self)})"


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
