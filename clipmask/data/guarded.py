"""Dataset dicts whose label files other code must not read as class ids.

Label files may hold other values than class ids, or a palette. ClipMask's loaders and evaluators
read them as the metadata say. Detectron2's own mapper and evaluator read the values as they are,
and would train and score nonsense without a word.
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
    """Lets the datasets that are listed within it name their label files: the caller reads these by
    their ``LabelFormat``, as ``clipmask.data.label_reader`` does.
    """
    token = _by_format.set(True)
    try:
        yield
    finally:
        _by_format.reset(token)


class GuardedRecord(dict[str, Any]):
    """A dataset dict without its label file; who asks for that gets an error, not a wrong map."""

    def __missing__(self, key: str) -> NoReturn:
        if key != LABELS:
            raise KeyError(key)
        raise UserError(
            f"the label map of {self.get('file_name', 'this picture')} holds other values than"
            " class ids, which only ClipMask's readers know: take build_train_loader and"
            " build_test_loader of clipmask.data, and build_evaluator of"
            " clipmask.engine.evaluation. (Of Cityscapes, cityscapes_fine_sem_seg_train and _val"
            " are Detectron2's own.)"
        )


class GuardedDataset:
    """What lists such a dataset in a catalog.

    Args:
        load: lists the samples, with their label files.
    """

    def __init__(self, load: Callable[[], list[dict[str, Any]]]) -> None:
        self.func = getattr(load, "func", load)
        self._load = load

    def __call__(self) -> list[dict[str, Any]]:
        """Returns the dataset dicts; with their label files only within ``read_by_format``."""
        records = self._load()
        if _by_format.get():
            return records
        guarded: list[dict[str, Any]] = [GuardedRecord(record) for record in records]
        for record in guarded:
            record.pop(LABELS, None)
        return guarded
