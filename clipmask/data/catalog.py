"""A registered dataset by its name: its samples and the metadata that training needs, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.errors import UserError

DEFAULT_IGNORE_LABEL = 255


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
            it has no samples, or one without the file names that are needed.
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
    records = DatasetCatalog.get(name)
    if not records:
        raise UserError(f"dataset {name!r} is empty: the function registered for it returned no samples")
    for i, record in enumerate(records):
        for key in ("file_name", "sem_seg_file_name") if labelled else ("file_name",):
            if key not in record:
                raise UserError(
                    f"dataset {name!r}: sample {i} ({record.get('file_name', 'no name')}) has no {key!r}; its dict "
                    "needs 'file_name' and, for training and evaluation, 'sem_seg_file_name'"
                )
    return Dataset(records, tuple(classes), metadata.get("ignore_label", DEFAULT_IGNORE_LABEL))


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
