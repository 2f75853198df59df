"""Which files of a described dataset are pictures, and where the label map of each one lies."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from clipmask.data.files import files_below
from clipmask.data.reading import PICTURE_SUFFIXES


@dataclass(frozen=True)
class FileRule:
    """How the name and folder of a picture lead to its label map.

    Attributes:
        images, labels: folders.
        image_suffix: how pictures' names end; None: as any picture's.
        label_suffix: stands in place of a picture's suffix.
        image_prefix: how pictures' names begin.
        label_prefix: stands in place of ``image_prefix``.
        label_folders: where images and labels branch inside of the tree, as in ``train/img`` and
            ``train/mask``: name of a folder on a picture's way -> its name (or several,
            ``v2.0/labels``) on the label map's. Only what lies below one is a picture then.
        flat: all label maps lie in ``labels`` itself, whatever the pictures' folders.
    """

    images: Path
    labels: Path
    image_suffix: str | None = None
    label_suffix: str = ".png"
    image_prefix: str = ""
    label_prefix: str = ""
    label_folders: dict[str, str] = field(default_factory=dict)
    flat: bool = False

    def pictures(self) -> list[Path]:
        """Returns all pictures, relative to ``images``, in a fixed order."""
        found = (path for path in files_below(self.images) if self._is_picture(path))
        return sorted(found, key=lambda path: path.as_posix())

    def takes(self, file: Path) -> bool:
        """Whether a file would count as a picture if it were there.

        Args:
            file: anywhere.
        """
        images, file = self.images.resolve(), file.resolve()
        return file.is_relative_to(images) and self._is_picture(file.relative_to(images))

    def takes_label(self, file: Path) -> bool:
        """Whether a file would count as a label map if it were there; see ``takes``."""
        labels, file = self.labels.resolve(), file.resolve()
        return file.is_relative_to(labels) and self._is_label(file.relative_to(labels))

    def label_path(self, image: Path) -> Path:
        """Returns where the label map of a picture, given relative to ``images``, is or has to be.

        Where only the case of letters differs, as in ``a.PNG``, the file that is there counts.
        """
        suffix = image.suffix if self.image_suffix is None else self.image_suffix
        stem = image.name[len(self.image_prefix) : -len(suffix)]
        folders = (
            []
            if self.flat
            else [self.label_folders.get(folder, folder) for folder in image.parent.parts]
        )
        path = self.labels.joinpath(*folders, f"{self.label_prefix}{stem}{self.label_suffix}")
        return (
            path
            if path.is_file()
            else path.with_name(self._names(path.parent).get(path.name.lower(), path.name))
        )

    def label_files(self) -> list[Path]:
        """Returns all files that are named and placed as label maps are, in order."""
        return sorted(
            self.labels / path for path in files_below(self.labels) if self._is_label(path)
        )

    def _is_label(self, path: Path) -> bool:
        """Whether a file below ``labels`` is named and placed as label maps are."""
        name, parts = path.name.lower(), path.parent.parts
        inside = [Path(folder).parts for folder in self.label_folders.values()]
        named = name.endswith(self.label_suffix.lower()) and name.startswith(
            self.label_prefix.lower()
        )
        return named and (not inside or any(_contains(parts, folder) for folder in inside))

    @property
    def labels_inside(self) -> bool:
        """Whether the name alone tells label maps from pictures."""
        return not self.label_folders and self._labels_below is not None

    @cached_property
    def _labels_below(self) -> Path | None:
        """The folder of label maps relative to that of pictures; None: it is not in it."""
        images, labels = self.images.resolve(), self.labels.resolve()
        return labels.relative_to(images) if labels.is_relative_to(images) else None

    def _is_picture(self, path: Path) -> bool:
        """Whether a file below ``images`` is one; label maps may lie beside or below the
        pictures.
        """
        name = path.name.lower()
        if self.label_folders and not any(
            folder in self.label_folders for folder in path.parent.parts
        ):
            return False
        as_label = name.endswith(self.label_suffix.lower()) and name.startswith(
            self.label_prefix.lower()
        )
        if self.labels_inside and as_label and path.is_relative_to(self._labels_below or ""):
            return False
        if not name.startswith(self.image_prefix.lower()):
            return False
        if self.image_suffix is None:
            return path.suffix.lower() in PICTURE_SUFFIXES
        return name.endswith(self.image_suffix.lower())

    def _names(self, folder: Path) -> dict[str, str]:
        """Returns the names in a folder by their lower case."""
        if folder not in self._listed:
            self._listed[folder] = {
                name.lower(): name for name in (os.listdir(folder) if folder.is_dir() else ())
            }
        return self._listed[folder]

    @cached_property
    def _listed(self) -> dict[Path, dict[str, str]]:
        return {}


def _contains(parts: tuple[str, ...], folder: tuple[str, ...]) -> bool:
    """Whether several folders lie one in the other somewhere on a way."""
    return any(parts[start : start + len(folder)] == folder for start in range(len(parts)))
