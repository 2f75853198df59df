"""A registered dataset by its name: its samples and the metadata that training needs, checked."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.errors import UserError

DEFAULT_IGNORE_LABEL = 255
_FILES = ("file_name", "sem_seg_file_name")


class Dataset(NamedTuple):
    """What ``DatasetCatalog`` and ``MetadataCatalog`` know of a dataset."""

    records: list[dict[str, Any]]
    classes: tuple[str, ...]
    ignore_label: int


def load_dataset(name: str, *, labelled: bool) -> Dataset:
    """Loads a registered dataset.

    Args:
        name: as in ``DATASETS.TRAIN`` or ``DATASETS.TEST``.
        labelled: every sample must name its label map.

    Raises:
        UserError: the name is not registered (the known ones are listed); its metadata have no ``stuff_classes``;
            they contradict themselves; its function fails or returns no samples; a sample lacks a file name, or the
            file is not there.
    """
    known = DatasetCatalog.list()
    if name not in known:
        raise UserError(
            f"dataset {name!r} is not registered; known are: {', '.join(sorted(known))}. "
            "Your own is registered by a module that you give with --register"
        )
    metadata = MetadataCatalog.get(name)
    classes = metadata.get("stuff_classes", None)
    if not classes:
        raise UserError(
            f"dataset {name!r} has no class names; register them where you register the dataset: "
            f"MetadataCatalog.get({name!r}).set(stuff_classes=['road', ...], ignore_label=255)"
        )
    _check_metadata(name, metadata)
    if metadata.get("ignore_label", None) is None:
        metadata.set(ignore_label=DEFAULT_IGNORE_LABEL)  # the evaluator reads it from there
    records = _records(name)
    for i, record in enumerate(records):
        for key in _FILES[: 1 + labelled]:
            if key not in record:
                raise UserError(
                    f"dataset {name!r}: sample {i} ({record.get('file_name', 'no name')}) has no {key!r}; its dict "
                    "needs 'file_name' and, for training and evaluation, 'sem_seg_file_name'"
                )
    missing = [record[key] for record in records for key in _FILES[: 1 + labelled] if not os.path.isfile(record[key])]
    if missing:
        raise UserError(f"dataset {name!r}: {missing[0]}: no such file ({len(missing)} of its files are missing)")
    return Dataset(records, tuple(classes), metadata.ignore_label)


def _check_metadata(name: str, metadata: Any) -> None:
    """Refuses metadata that would train something else than was meant, or fail hours later."""
    classes, ignore = metadata.stuff_classes, metadata.get("ignore_label", DEFAULT_IGNORE_LABEL)
    colors = metadata.get("stuff_colors", None)
    fault = None
    if isinstance(classes, str) or not all(isinstance(item, str) and item.strip() for item in classes):
        fault = f"stuff_classes is {classes!r}; it must be a list of names"
    elif len(set(classes)) < len(classes):
        fault = f"stuff_classes names a class twice: {', '.join(classes)}"
    elif isinstance(ignore, bool) or not isinstance(ignore, int) or 0 <= ignore < len(classes):
        fault = f"ignore_label is {ignore!r}; it must be a whole number that is no class id (0 to {len(classes) - 1})"
    elif colors is not None and len(colors) != len(classes):
        fault = f"stuff_colors has {len(colors)} colours for {len(classes)} classes"
    if fault:
        raise UserError(f"dataset {name!r}: its metadata's {fault}. Correct it where the dataset is registered")


def _records(name: str) -> list[dict[str, Any]]:
    """Calls the function that was registered; what goes wrong in it is the registering module's to mend."""
    try:
        records = DatasetCatalog.get(name)
    except UserError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"dataset {name!r}: the function registered for it raised {type(error).__name__}: {error} "
            f"({last.filename}, line {last.lineno})"
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"dataset {name!r}: the function registered for it must return a list of dicts")
    if not records:
        raise UserError(f"dataset {name!r} is empty: the function registered for it returned no samples")
    return records


def load_training_set(names: Sequence[str]) -> Dataset:
    """Loads the datasets of ``DATASETS.TRAIN`` as one.

    Raises:
        UserError: there are none; they differ in class names or ignore label; or as for ``load_dataset``.
    """
    if not names:
        raise UserError("DATASETS.TRAIN is empty; name at least one registered dataset")
    first, *others = (load_dataset(name, labelled=True) for name in names)
    for name, other in zip(names[1:], others, strict=True):
        if (other.classes, other.ignore_label) != (first.classes, first.ignore_label):
            raise UserError(
                f"DATASETS.TRAIN: {names[0]} and {name} can't be trained together, because their class names or ignore "
                f"labels differ: {', '.join(first.classes)} (ignore {first.ignore_label}) against "
                f"{', '.join(other.classes)} (ignore {other.ignore_label})"
            )
    return first._replace(records=[record for part in (first, *others) for record in part.records])
