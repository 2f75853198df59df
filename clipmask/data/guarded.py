"""Protection of label files that code outside ClipMask would misread as class ids.

Label files may hold other values than class ids, or a palette. ClipMask's loaders and evaluators
convert them as the metadata say. Detectron2's own mapper and evaluator take the values as class
ids, so training and scores would be wrong without any error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from clipmask.errors import UserError

LABELS = "sem_seg_file_name"
_by_format: ContextVar[bool] = ContextVar("label files are read by their format", default=False)


@contextmanager
def read_by_format() -> Iterator[None]:
    """Makes guarded datasets return their label files while the context lasts.

    The caller must read the files by their ``LabelFormat``, as ``clipmask.data.label_reader`` does.
    """
    token = _by_format.set(True)
    try:
        yield
    finally:
        _by_format.reset(token)


class GuardedRecord(dict[str, Any]):
    """A dataset dict without its label file; access to that key raises a ``UserError``."""

    def __missing__(self, key: str) -> NoReturn:
        if key != LABELS:
            raise KeyError(key)
        raise UserError(
            f"the label map of {self.get('file_name', 'this picture')} holds other values than"
            " class ids, which only ClipMask's readers convert: use build_train_loader and"
            " build_test_loader of clipmask.data, and build_evaluator of"
            " clipmask.engine.evaluation. (For Cityscapes, Detectron2 has its own datasets,"
            " cityscapes_fine_sem_seg_train and _val.)"
        )


class GuardedDataset:
    """A registered dataset function that hides the label files from other readers.

    Args:
        load: returns the dataset dicts, with their label files.
    """

    def __init__(self, load: Callable[[], list[dict[str, Any]]]) -> None:
        self.func = getattr(load, "func", load)
        self._load = load

    def __call__(self) -> list[dict[str, Any]]:
        """Returns the dataset dicts, with their label files only inside ``read_by_format``."""
        records = self._load()
        if _by_format.get():
            return records
        guarded: list[dict[str, Any]] = [GuardedRecord(record) for record in records]
        for record in guarded:
            record.pop(LABELS, None)
        return guarded
