"""Registration of a descriptor's splits in the catalogs, with their metadata."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.descriptor import Descriptor, read_descriptor
from clipmask.data.guarded import GuardedDataset
from clipmask.data.placeholders import placeholders
from clipmask.errors import UserError, listed

logger = logging.getLogger(__name__)

_registered: dict[str, Descriptor] = {}  # dataset name -> the descriptor that registered it


def register_descriptor(path: str | os.PathLike[str]) -> dict[str, str]:
    """Registers the splits of a descriptor in ``DatasetCatalog`` and ``MetadataCatalog``.

    The same file may be registered again; its new content then replaces the old one.

    Args:
        path: the path of the YAML file.

    Returns:
        The name of each split -> the name of its dataset, ``{name}_{split}``.

    Raises:
        UserError: as for ``read_descriptor``; or another dataset has that name.
    """
    descriptor = read_descriptor(path)
    names = {split: f"{descriptor.name}_{split}" for split in descriptor.splits}
    for name in names.values():
        known = _registered.get(name)
        if name in DatasetCatalog.list() and (
            known is None or known.path.resolve() != descriptor.path.resolve()
        ):
            other = "already" if known is None else f"by {known.path}"
            raise UserError(
                f"descriptor {path}: a dataset {name!r} is registered {other}; give another 'name:'"
            )
    warn_once = functools.cache(functools.partial(_warn, descriptor))
    for split, name in names.items():
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
        if name in MetadataCatalog.list():
            MetadataCatalog.remove(name)
        load = functools.partial(_samples, descriptor, split, warn_once)
        plain = descriptor.label_format.holds_class_ids
        DatasetCatalog.register(name, load if plain else GuardedDataset(load))
        MetadataCatalog.get(name).set(**_metadata(descriptor))
        _registered[name] = descriptor
    return names


def refuse_among_pictures(folder: Path, names: Sequence[str]) -> None:
    """Refuses an output folder that lies inside the picture folder of a described dataset.

    The pictures that a run writes there would become training pictures of the next run.

    Args:
        folder: OUTPUT_DIR.
        names: the names of registered datasets, with or without a descriptor.

    Raises:
        UserError: a picture in a subfolder of ``folder`` would count as one of a dataset's.
    """
    for name in names:
        known = _registered.get(name)
        if known is not None and known.files.takes(folder / "pictures" / "0" / "0.png"):
            raise UserError(
                f"OUTPUT_DIR {folder}: lies in {known.images}, where {known.path} looks for"
                " pictures: the next run would train on the pictures that this one writes. Name"
                " another folder"
            )


def _warn(descriptor: Descriptor) -> None:
    """Logs a warning about pictures without labels, and one about meaningless class names."""
    if descriptor.num_unlabelled:
        logger.warning(
            "descriptor %s: %d of %d pictures have no label map and are left out; clipmask-data"
            " check lists them",
            descriptor.path,
            descriptor.num_unlabelled,
            len(descriptor.pairs()),
        )
    empty = placeholders(descriptor.class_names)
    if empty:
        logger.warning(
            "descriptor %s: the class name%s %s mean%s nothing to CLIP, which embeds the names:"
            " name what the pictures show",
            descriptor.path,
            "s" * (len(empty) > 1),
            listed(empty, 5),
            "s" * (len(empty) == 1),
        )


def _samples(
    descriptor: Descriptor, split: str, warn_once: Callable[[], None]
) -> list[dict[str, Any]]:
    samples = descriptor.samples()[split]
    warn_once()
    if not samples:
        raise UserError(
            f"descriptor {descriptor.path}: the split {split!r} ({descriptor.splits[split]}) has no"
            f" labelled picture; {descriptor.images} has"
            f" {len(descriptor.pairs()) - descriptor.num_unlabelled} in all"
        )
    return samples


def _metadata(descriptor: Descriptor) -> dict[str, Any]:
    """Returns the metadata of a described dataset, see ``clipmask.builtin.catalog.Metadata``."""
    metadata: dict[str, Any] = {
        "stuff_classes": list(descriptor.class_names),
        "ignore_label": descriptor.ignore_label,
        "label_format": descriptor.label_format,
        "evaluator_type": "sem_seg",
        **descriptor.image_format.as_metadata(),
    }
    if descriptor.license:
        metadata["license"] = descriptor.license
    if descriptor.colors is not None:
        metadata["stuff_colors"] = descriptor.colors
    for name, item in zip(descriptor.class_names, descriptor.classes, strict=True):
        for key, texts in (("class_prompts", item.prompts), ("class_members", item.includes)):
            if texts:
                metadata.setdefault(key, {})[name] = list(texts)
    return metadata
