"""Streams of pictures: successive pictures of one size are segmented together, as a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipmask.data.picture_file import PictureFile
from clipmask.errors import UserError
from clipmask.inference.pixels import Picture
from clipmask.inference.segmentation import Segmentation


class ReadPicture(NamedTuple):
    """A picture in memory.

    Attributes:
        source: its path; None if it was not given by a path.
        pixels: uint8 (H, W, channels).
    """

    source: str | None
    pixels: NDArray[np.uint8]


def raise_error(image: Picture, error: UserError) -> None:
    """Raises the error: the ``on_error`` of callers who leave no picture out."""
    raise error


def segment_stream(
    images: Iterable[Picture],
    read: Callable[[Picture], ReadPicture | PictureFile],
    segment: Callable[[list[ReadPicture]], Iterator[Segmentation]],
    segment_file: Callable[[PictureFile], Segmentation],
    batch_size: int,
    on_error: Callable[[Picture, UserError], object],
) -> Iterator[Segmentation]:
    """Segments pictures in order, with at most one batch of them in memory.

    Args:
        images: the pictures; the iterable may be endless.
        read: returns a picture in memory, or a file that is read window by window.
        segment: segments pictures of one size.
        segment_file: segments one picture window by window.
        batch_size: the largest number of pictures for ``segment``.
        on_error: called for a picture that can't be read, which is then left out.
    """
    batch: list[ReadPicture] = []
    for image in images:
        try:
            picture = read(image)
        except UserError as error:
            on_error(image, error)
            continue
        if batch and not _fits(picture, batch):
            yield from segment(batch)
            batch = []
        if isinstance(picture, PictureFile):
            try:
                result = segment_file(picture)
            except UserError as error:
                on_error(image, error)
            else:
                yield result
            continue
        batch.append(picture)
        # a full batch does not wait for the next picture, which may come late from a camera
        if len(batch) == batch_size:
            yield from segment(batch)
            batch = []
    if batch:
        yield from segment(batch)


def _fits(picture: ReadPicture | PictureFile, batch: list[ReadPicture]) -> bool:
    """Returns whether a picture can be segmented together with a batch."""
    if isinstance(picture, PictureFile):
        return False
    return picture.pixels.shape == batch[0].pixels.shape
