"""A registered dataset by its name: its samples and the metadata that training needs, checked."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.label_values import MAX_RAW_ID, LabelValues
from clipmask.data.reading import read_labels
from clipmask.errors import UserError

DEFAULT_IGNORE_LABEL = 255
_FILES = ("file_name", "sem_seg_file_name")


class Dataset(NamedTuple):
    """What ``DatasetCatalog`` and ``MetadataCatalog`` know of a dataset."""

    records: list[dict[str, Any]]
    classes: tuple[str, ...]
    ignore_label: int
    # What stands in the label files -> class id; None: they hold class ids.
    label_mapping: dict[int, int] | LabelValues | None = None


def load_dataset(name: str, *, labelled: bool, present: bool = True) -> Dataset:
    """Loads a registered dataset.

    Args:
        name: as in ``DATASETS.TRAIN`` or ``DATASETS.TEST``.
        labelled: every sample must name its label map.
        present: the files must be there.

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
    files = [record[key] for record in records for key in _FILES[: 1 + labelled]]
    missing = [file for file in files if present and not os.path.isfile(file)]
    if missing:
        raise UserError(f"dataset {name!r}: {missing[0]}: no such file ({len(missing)} of its files are missing)")
    return Dataset(records, tuple(metadata.stuff_classes), metadata.ignore_label, _label_mapping(metadata))


def label_reader(name: str) -> Callable[..., NDArray[Any]]:
    """Returns what reads the label maps of a registered dataset, for the evaluators' ``sem_seg_loading_fn``.

    The function returned takes a path, ``dtype`` (int unless said otherwise; None: that of ``read_labels``, a byte a
    pixel for most) and ``size`` ((H, W) that the map must have, or None), and returns class ids (H, W), in which the
    dataset's ``ignore_label`` is void. It applies the dataset's ``label_mapping`` or ``label_values`` and raises the
    errors of ``read_labels``.

    Raises:
        UserError: the name is not registered, or its metadata lack class names or contradict themselves.
    """
    metadata = _metadata(name)
    num_classes, ignore_label, mapping = len(metadata.stuff_classes), metadata.ignore_label, _label_mapping(metadata)

    def read(
        path: str | os.PathLike[str], dtype: DTypeLike | None = int, size: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        labels = read_labels(path, num_classes, ignore_label, size, mapping)
        return labels if dtype is None else labels.astype(dtype)

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
            "Your own is described by a YAML file that you give with --dataset, or registered by a module (--register)"
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


def _label_mapping(metadata: Any) -> dict[int, int] | LabelValues | None:
    """Returns the metadata's ``label_values`` or ``label_mapping``; both may be absent."""
    values, mapping = metadata.get("label_values", None), metadata.get("label_mapping", None)
    if values is not None:
        return LabelValues({key if _is_whole(key) else tuple(map(int, key)): item for key, item in values.items()})
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
        fault = _prompts_fault(metadata.get("class_prompts", None), classes) or _label_fault(
            metadata, {*range(len(classes)), ignore}
        )
    if fault:
        raise UserError(f"dataset {name!r}: its metadata's {fault}. Correct it where the dataset is registered")


def _prompts_fault(prompts: Any, classes: Sequence[str]) -> str | None:
    """Says what is wrong with ``class_prompts``."""
    if prompts is None:
        return None
    if not isinstance(prompts, Mapping) or not prompts.keys() <= set(classes):
        return f"class_prompts is {prompts!r}; it must be a dict of class names ({', '.join(classes)}) to texts"
    for name, texts in prompts.items():
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            return f"class_prompts has {texts!r} for {name!r}; it must be a list of texts"
    return None


def _label_fault(metadata: Any, ids: set[int]) -> str | None:
    """Says what is wrong with ``label_mapping`` or ``label_values``; ``ids``: the class ids and the ignore label."""
    mapping, values = metadata.get("label_mapping", None), metadata.get("label_values", None)
    if mapping is not None and values is not None:
        return "label_mapping and label_values are both there; the first sends all other ids to void, the second none"
    if mapping is not None:
        return _table_fault("label_mapping", mapping, ids, _id_fault)
    if values is None:
        return None
    colored = isinstance(values, Mapping) and any(isinstance(key, tuple) for key in values)
    return _table_fault("label_values", values, ids, _color_fault if colored else _id_fault)


def _table_fault(name: str, table: Any, ids: set[int], key_fault: Callable[[Any], str | None]) -> str | None:
    """Says what is wrong with the metadata ``name``: ``key_fault`` with a key, ``ids`` are what it may lead to."""
    if not isinstance(table, Mapping) or not table:
        what = "ids in the label files" if name == "label_mapping" else "ids or (r, g, b) in the label files"
        return f"{name} is {table!r}; it must be a dict of {what} to class ids"
    for raw, target in table.items():
        fault = key_fault(raw)
        if fault:
            return f"{name} has the key {raw!r}; {fault}"
        if not _is_whole(target) or target not in ids:
            return f"{name} sends {raw} to {target!r}, which is neither a class id (0 to {len(ids) - 2}) nor void"
    return None


def _id_fault(key: Any) -> str | None:
    right = _is_whole(key) and 0 <= key <= MAX_RAW_ID
    return None if right else f"an id in a label file is a whole number, 0 to {MAX_RAW_ID}"


def _color_fault(key: Any) -> str | None:
    right = isinstance(key, tuple) and len(key) == 3 and all(_is_whole(item) and 0 <= item <= 255 for item in key)
    return None if right else "beside colours all keys are (r, g, b), whole numbers from 0 to 255"


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
                f"DATASETS.TRAIN: {names[0]} and {name} can't be trained together, because their label files are not "
                f"read alike ({_told(first.label_mapping)} against {_told(other.label_mapping)}); convert one's label "
                "maps to what the other's hold"
            )
    return first._replace(records=[record for part in (first, *others) for record in part.records])


def _told(mapping: Mapping[Any, int] | None) -> str:
    return "class ids" if mapping is None else str(mapping)
