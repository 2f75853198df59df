"""Folders in which each class has a mask of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from clipmask.errors import UserError


def refuse_masks_per_class(
    folder: Path,
    pairs: Sequence[tuple[Path, Path]],
    masks: Mapping[str, set[tuple[PurePosixPath, PurePosixPath]]],
) -> None:
    """Refuses a folder in which each picture has several binary masks, one for each class.

    Args:
        folder: the folder, for the message.
        pairs: the pictures with the label maps that were chosen.
        masks: folder and name ending of binary label maps -> pictures with these label maps.

    Raises:
        UserError: at least half of the pictures have further binary masks.
    """
    pictures = {PurePosixPath(image) for image, _ in pairs}
    taken = {PurePosixPath(labels) for _, labels in pairs}
    binary: list[str] = []
    others: list[str] = []
    for kind, members in masks.items():
        mine = [(image, labels) for image, labels in members if image in pictures]
        # in films, a label map of another picture may have the same name in another folder
        beside = {image for image, labels in mine if labels not in taken}
        own = {image for image, labels in mine if labels in taken}
        if 2 * len(beside) >= len(pictures):
            others.append(kind)
        elif 2 * len(own) >= len(pictures):
            binary.append(kind)
    if binary and others:
        raise UserError(
            f"{folder}: each picture has several masks of two values"
            f" ({', '.join(sorted(binary + others)[:6])}). If there is one mask for each class,"
            f" combine them: clipmask-data convert {folder} --format masks --output FOLDER. If some"
            " are not labels, but fields of view or the like, name the folder of the labels:"
            " --labels NAME"
        )
