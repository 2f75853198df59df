"""Loading of a registered dataset by its name, with checks of its samples and metadata."""

from __future__ import annotations

import itertools
import math
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import DTypeLike, NDArray

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.datasets.registering import claim, known_names
from clipmask.data.guarded import read_by_format
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.label_format import DEFAULT_IGNORE_LABEL, LabelFormat
from clipmask.data.overlap import MOST_CHECKED
from clipmask.data.reading import read_labels
from clipmask.data.records import without_collection
from clipmask.errors import UserError
from clipmask.vocabulary import Vocabulary

_FILES = ("file_name", "sem_seg_file_name")


class Dataset(NamedTuple):
    """A dataset from ``DatasetCatalog`` and ``MetadataCatalog``.

    Attributes:
        records: the dataset dicts, one per sample. If the metadata give an ``image_range`` or
            ``bands``, each dict has an ``image_format``.
        vocabulary: the classes.
        label_format: how the label files are read.
    """

    records: list[dict[str, Any]]
    vocabulary: Vocabulary
    label_format: LabelFormat

    @property
    def ignore_label(self) -> int:
        """The id of void in the label maps that the readers return."""
        return self.label_format.ignore_label

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their ids."""
        return self.vocabulary.names


def load_dataset(name: str, *, labelled: bool, present: bool = True) -> Dataset:
    """Loads a registered dataset and checks it.

    Args:
        name: a name as in ``DATASETS.TRAIN`` or ``DATASETS.TEST``.
        labelled: True: every sample must name its label map.
        present: True: the files must exist. Of more than ``MOST_CHECKED`` files, every n-th is
            checked.

    Raises:
        UserError: the name is not registered (the message lists the known names); the metadata have
            no ``stuff_classes`` or contradict themselves; the registered function fails or returns
            no samples; a sample lacks a file name, or the file does not exist.
    """
    metadata = _metadata(name)
    records = _records(name)
    for i, record in enumerate(records):
        for key in _FILES[: 1 + labelled]:
            if key not in record:
                raise UserError(
                    f"dataset {name!r}: sample {i} ({record.get('file_name', 'no name')}) has no"
                    f" {key!r}; its dict needs 'file_name' and, for training and evaluation,"
                    " 'sem_seg_file_name'"
                )
    if present:
        _refuse_missing(name, records, _FILES[: 1 + labelled])
    image_format = ImageFormat.from_metadata(metadata)
    if image_format != PLAIN:
        records = [{"image_format": image_format, **record} for record in records]
    return Dataset(
        records, Vocabulary.from_metadata(metadata.as_dict()), LabelFormat.from_metadata(metadata)
    )


def _refuse_missing(name: str, records: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    step = math.ceil(len(records) * len(keys) / MOST_CHECKED)
    files: list[str] = []
    for record in records[::step]:
        files.extend(record[key] for key in keys)
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        of = "its files are" if step == 1 else f"{len(files)} checked files are"
        raise UserError(
            f"dataset {name!r}: {missing[0]}: no such file ({len(missing)} of {of} missing)"
        )


def label_reader(name: str) -> Callable[..., NDArray[Any]]:
    """Returns a function that reads the label maps of a registered dataset.

    It fits the argument ``sem_seg_loading_fn`` of Detectron2's evaluators. It takes a path,
    ``dtype`` (default int; None keeps the type of ``read_labels``, uint8 for most datasets) and
    ``size`` (the (H, W) that the map must have, or None). It returns class ids (H, W), with the
    dataset's ``ignore_label`` for void. It follows the dataset's ``LabelFormat`` and raises the
    errors of ``read_labels``.

    Raises:
        UserError: the name is not registered, or its metadata lack class names or contradict
            themselves.
    """
    label_format = LabelFormat.from_metadata(_metadata(name))

    def read(
        path: str | os.PathLike[str],
        dtype: DTypeLike | None = int,
        size: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        labels = read_labels(path, label_format, size)
        if dtype is None:
            return labels
        return labels.astype(dtype)

    return read


def dataset_vocabulary(name: str) -> Vocabulary:
    """Returns the classes of a registered dataset; its files need not exist.

    Raises:
        UserError: the name is not registered, or its metadata lack class names or contradict
            themselves.
    """
    return Vocabulary.from_metadata(_metadata(name).as_dict())


def class_names(name: str) -> tuple[str, ...]:
    """Returns the class names of a registered dataset; its files need not exist.

    Raises:
        UserError: the name is not registered, or its metadata lack class names or contradict
            themselves.
    """
    return tuple(_metadata(name).stuff_classes)


def _metadata(name: str) -> Any:
    """Returns the checked metadata of a registered dataset, with an ``ignore_label``."""
    claim(name)
    if name not in DatasetCatalog.list():
        known = known_names()
        raise UserError(
            f"dataset {name!r} is not registered; known are: {', '.join(sorted(known))}. To use a"
            " dataset of your own, describe it in a YAML file and give that with --dataset, or"
            " register it in a Python file and give that with --register"
        )
    metadata = MetadataCatalog.get(name)
    names = metadata.get("stuff_classes", None)
    if names is None or not len(names):
        raise UserError(
            f"dataset {name!r} has no class names; register them where you register the dataset: "
            f"MetadataCatalog.get({name!r}).set(stuff_classes=['road', ...], ignore_label=255)"
        )
    _check_metadata(name, metadata)
    if metadata.get("ignore_label", None) is None:
        metadata.set(ignore_label=DEFAULT_IGNORE_LABEL)  # the evaluator reads the metadata
    return metadata


def _check_metadata(name: str, metadata: Any) -> None:
    """Refuses metadata that would train the wrong classes, or make a run fail hours later."""
    classes, colors = metadata.stuff_classes, metadata.get("stuff_colors", None)
    fault = None
    if isinstance(classes, str) or not _are_texts(list(classes)):
        fault = f"stuff_classes is {classes!r}; it must be a list of names"
    elif len(set(classes)) < len(classes):
        fault = f"stuff_classes names a class twice: {', '.join(classes)}"
    elif colors is not None and len(colors) != len(classes):
        fault = f"stuff_colors has {len(colors)} colours for {len(classes)} classes"
    else:
        members = metadata.get("class_members", None)
        fault = (
            _members_fault(members, classes)
            or _texts_fault(metadata, "class_prompts", [*classes, *_all_members(members)])
            or _texts_fault(metadata, "class_synonyms", [*classes, *_all_members(members)])
            or _format_fault(metadata)
        )
    if fault:
        raise UserError(
            f"dataset {name!r}: its metadata's {fault}. Correct it where the dataset is registered"
        )


def _format_fault(metadata: Any) -> str | None:
    """Returns what is wrong with the metadata about files, or None."""
    try:
        ImageFormat.from_metadata(metadata)
        LabelFormat.from_metadata(metadata)
    except UserError as error:
        return str(error)
    return None


def _members_fault(members: Any, classes: Sequence[str]) -> str | None:
    """Returns what is wrong with ``class_members``, or None."""
    if members is None:
        return None
    if not isinstance(members, Mapping) or not members.keys() <= set(classes):
        return (
            f"class_members is {members!r}; it must be a dict of class names ({', '.join(classes)})"
            " to names"
        )
    for name, parts in members.items():
        if not _are_texts(parts):
            return f"class_members has {parts!r} for {name!r}; it must be a list of names"
    names: list[str] = []
    for name in classes:
        names.extend(members.get(name, [name]))
    for name in names:
        if names.count(name) > 1:
            return f"class_members puts {name!r} into two classes: a name belongs to one class only"
    return None


def _are_texts(value: Any) -> bool:
    """Returns whether a value is a list of texts that is not empty and has no blank text."""
    if isinstance(value, str) or not value:
        return False
    return all(isinstance(text, str) and text.strip() for text in value)


def _all_members(members: Mapping[str, Sequence[str]] | None) -> list[str]:
    return list(itertools.chain.from_iterable((members or {}).values()))


def _texts_fault(metadata: Any, key: str, classes: Sequence[str]) -> str | None:
    """Returns what is wrong with ``class_prompts`` or ``class_synonyms``, or None."""
    table = metadata.get(key, None)
    if table is None:
        return None
    if not isinstance(table, Mapping) or not table.keys() <= set(classes):
        return (
            f"{key} is {table!r}; it must be a dict of class names ({', '.join(classes)}) to texts"
        )
    for name, texts in table.items():
        if not _are_texts(texts):
            return f"{key} has {texts!r} for {name!r}; it must be a list of texts"
    return None


def _records(name: str) -> list[dict[str, Any]]:
    """Calls the registered function of a dataset; its exceptions become a ``UserError``."""
    try:
        with without_collection(), read_by_format():
            records = DatasetCatalog.get(name)
    except UserError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"dataset {name!r}: the function registered for it raised {type(error).__name__}:"
            f" {error} ({last.filename}, line {last.lineno})"
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(
            f"dataset {name!r}: the function registered for it must return a list of dicts"
        )
    if not records:
        raise UserError(
            f"dataset {name!r} is empty: the function registered for it returned no samples"
        )
    return records


def load_training_sets(names: Sequence[str], *, present: bool = True) -> list[Dataset]:
    """Loads the datasets of ``DATASETS.TRAIN``; their classes may differ.

    Args:
        names: the names of the datasets.
        present: as for ``load_dataset``.

    Raises:
        UserError: ``names`` is empty, or as for ``load_dataset``.
    """
    if not names:
        raise UserError("DATASETS.TRAIN is empty; name at least one registered dataset")
    return [load_dataset(name, labelled=True, present=present) for name in names]
