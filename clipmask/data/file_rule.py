"""Which files of a described dataset are pictures, and where their label maps lie."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from clipmask.data.files import files_below
from clipmask.data.reading import PICTURE_SUFFIXES


@dataclass(frozen=True)
class FileRule:
    """Derives the path of a label map from the path of its picture.

    Attributes:
        images, labels: the folders.
        image_suffix: the end of pictures' names; None: the ending of any picture format.
        label_suffix: replaces the suffix of the picture's name.
        image_prefix: the beginning of pictures' names.
        label_prefix: replaces ``image_prefix``.
        label_folders: for trees in which images and labels have different folders below a common
            one, as ``train/img`` and ``train/mask``: the name of a folder in a picture's path ->
            the folder (or several, ``v2.0/labels``) that replaces it in the label map's path. If it
            is not empty, only files below such a folder are pictures.
        flat: True: all label maps lie in ``labels`` itself, even if the pictures have subfolders.
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

    def wanted_names(self) -> str:
        """Describes the file names that count as pictures, for a message."""
        wanted = "end as a picture's"
        if self.image_suffix:
            wanted = f"end in {self.image_suffix!r} (image_suffix)"
        if self.image_prefix:
            wanted = f"begin with {self.image_prefix!r} (image_prefix) and {wanted}"
        if self.labels_inside:
            wanted += f", and not in {self.label_suffix!r} (label_suffix)"
        return wanted

    def takes(self, file: Path) -> bool:
        """Returns whether a file would count as a picture if it existed.

        Args:
            file: any path.
        """
        images, file = self.images.resolve(), file.resolve()
        return file.is_relative_to(images) and self._is_picture(file.relative_to(images))

    def takes_label(self, file: Path) -> bool:
        """Returns whether a file would count as a label map if it existed."""
        labels, file = self.labels.resolve(), file.resolve()
        return file.is_relative_to(labels) and self._is_label(file.relative_to(labels))

    def label_path(self, image: Path) -> Path:
        """Returns the path that the label map of a picture has or must have.

        A file whose name differs only in upper and lower case, such as ``a.PNG``, is found too.

        Args:
            image: the path of the picture, relative to ``images``.
        """
        suffix = image.suffix if self.image_suffix is None else self.image_suffix
        stem = image.name[len(self.image_prefix) : -len(suffix)]
        folders: list[str] = []
        if not self.flat:
            folders = [self.label_folders.get(folder, folder) for folder in image.parent.parts]
        path = self.labels.joinpath(*folders, f"{self.label_prefix}{stem}{self.label_suffix}")
        if path.is_file():
            return path
        return path.with_name(self._names(path.parent).get(path.name.lower(), path.name))

    def label_files(self) -> list[Path]:
        """Returns all files whose names and folders are those of label maps, sorted."""
        return sorted(
            self.labels / path for path in files_below(self.labels) if self._is_label(path)
        )

    def _is_label(self, path: Path) -> bool:
        """Returns whether a file below ``labels`` has the name and folder of a label map."""
        if not self._has_label_name(path):
            return False
        if not self.label_folders:
            return True
        parts = path.parent.parts
        return any(_contains(parts, Path(folder).parts) for folder in self.label_folders.values())

    def _has_label_name(self, path: Path) -> bool:
        name = path.name.lower()
        return name.endswith(self.label_suffix.lower()) and name.startswith(
            self.label_prefix.lower()
        )

    @property
    def labels_inside(self) -> bool:
        """Whether label maps lie among the pictures, so that only the name distinguishes them."""
        return not self.label_folders and self._labels_below is not None

    @cached_property
    def _labels_below(self) -> Path | None:
        """The folder of label maps relative to that of pictures; None if it lies outside."""
        images, labels = self.images.resolve(), self.labels.resolve()
        if not labels.is_relative_to(images):
            return None
        return labels.relative_to(images)

    def _is_picture(self, path: Path) -> bool:
        """Returns whether a file below ``images`` is a picture, and not a label map beside one."""
        name = path.name.lower()
        if self.label_folders and not any(
            folder in self.label_folders for folder in path.parent.parts
        ):
            return False
        is_below = path.is_relative_to(self._labels_below or "")
        if self.labels_inside and self._has_label_name(path) and is_below:
            return False
        if not name.startswith(self.image_prefix.lower()):
            return False
        if self.image_suffix is None:
            return path.suffix.lower() in PICTURE_SUFFIXES
        return name.endswith(self.image_suffix.lower())

    def _names(self, folder: Path) -> dict[str, str]:
        """Returns the file names of a folder: name in lower case -> name."""
        if folder not in self._listed:
            names = os.listdir(folder) if folder.is_dir() else []
            self._listed[folder] = {name.lower(): name for name in names}
        return self._listed[folder]

    @cached_property
    def _listed(self) -> dict[Path, dict[str, str]]:
        return {}


def _contains(parts: tuple[str, ...], folder: tuple[str, ...]) -> bool:
    """Returns whether the parts of a path contain those of a folder, one after the other."""
    return any(parts[start : start + len(folder)] == folder for start in range(len(parts)))
