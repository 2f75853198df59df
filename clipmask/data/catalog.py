"""A registered dataset by its name: its samples and the metadata that training needs, checked."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.reading import MAX_RAW_ID, read_labels
from clipmask.errors import UserError

DEFAULT_IGNORE_LABEL = 255
_FILES = ("file_name", "sem_seg_file_name")


class Dataset(NamedTuple):
    """What ``DatasetCatalog`` and ``MetadataCatalog`` know of a dataset."""

    records: list[dict[str, Any]]
    classes: tuple[str, ...]
    ignore_label: int
    label_mapping: dict[int, int] | None = None  # id in the label files -> class id; None: they are class ids


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
    metadata = _metadata(name)
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
    return Dataset(records, tuple(metadata.stuff_classes), metadata.ignore_label, _label_mapping(metadata))


def label_reader(name: str) -> Callable[..., NDArray[Any]]:
    """Returns what reads the label maps of a registered dataset, for the evaluators' ``sem_seg_loading_fn``.

    The function returned takes a path, ``dtype`` (int unless said otherwise) and ``size`` ((H, W) that the map must
    have, or None), and returns class ids (H, W), in which the dataset's ``ignore_label`` is void. It applies the
    dataset's ``label_mapping`` and raises the errors of ``read_labels``.

    Raises:
        UserError: the name is not registered, or its metadata lack class names or contradict themselves.
    """
    metadata = _metadata(name)
    num_classes, ignore_label, mapping = len(metadata.stuff_classes), metadata.ignore_label, _label_mapping(metadata)

    def read(path: str | os.PathLike[str], dtype: DTypeLike = int, size: tuple[int, int] | None = None) -> NDArray[Any]:
        return read_labels(path, num_classes, ignore_label, size, mapping).astype(dtype)

    return read


def class_names(name: str) -> tuple[str, ...]:
    """Returns the class names of a registered dataset, whose files need not be there.

    Raises:
        UserError: the name is not registered, or its metadata lack class names or contradict themselves.
    """
    return tuple(_metadata(name).stuff_classes)


def _metadata(name: str) -> Any:
    """Returns the checked metadata of a registered dataset, with an ``ignore_label``."""
    known = DatasetCatalog.list()
    if name not in known:
        raise UserError(
            f"dataset {name!r} is not registered; known are: {', '.join(sorted(known))}. "
            "Your own is registered by a module that you give with --register"
        )
    metadata = MetadataCatalog.get(name)
    if not metadata.get("stuff_classes", None):
        raise UserError(
            f"dataset {name!r} has no class names; register them where you register the dataset: "
            f"MetadataCatalog.get({name!r}).set(stuff_classes=['road', ...], ignore_label=255)"
        )
    _check_metadata(name, metadata)
    if metadata.get("ignore_label", None) is None:
        metadata.set(ignore_label=DEFAULT_IGNORE_LABEL)  # the evaluator reads it from there
    return metadata


def _label_mapping(metadata: Any) -> dict[int, int] | None:
    """Returns the metadata's ``label_mapping``, which may be absent."""
    mapping = metadata.get("label_mapping", None)
    return None if mapping is None else dict(mapping)


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
    else:
        fault = _mapping_fault(metadata.get("label_mapping", None), {*range(len(classes)), ignore})
    if fault:
        raise UserError(f"dataset {name!r}: its metadata's {fault}. Correct it where the dataset is registered")


def _mapping_fault(mapping: Any, ids: set[int]) -> str | None:
    """Says what is wrong with a ``label_mapping``; ``ids`` are the class ids and the ignore label."""
    if mapping is None:
        return None
    if not isinstance(mapping, Mapping) or not mapping:
        return f"label_mapping is {mapping!r}; it must be a dict of ids in the label files to class ids"
    for raw, target in mapping.items():
        if not _is_whole(raw) or not 0 <= raw <= MAX_RAW_ID:
            return f"label_mapping has the key {raw!r}; an id in a label file is a whole number, 0 to {MAX_RAW_ID}"
        if not _is_whole(target) or target not in ids:
            return (
                f"label_mapping sends {raw} to {target!r}, which is neither a class id (0 to {len(ids) - 2}) nor void"
            )
    return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


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
        UserError: there are none; they differ in class names, ignore label or label mapping; or as for
            ``load_dataset``.
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
        if other.label_mapping != first.label_mapping:
            raise UserError(
                f"DATASETS.TRAIN: {names[0]} and {name} can't be trained together, because their label_mapping differs "
                f"({first.label_mapping} against {other.label_mapping}); write one's label maps in ids of the other"
            )
    return first._replace(records=[record for part in (first, *others) for record in part.records])
