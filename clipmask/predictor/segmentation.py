"""The result for one picture: what it tells, how it is drawn and saved."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipmask.errors import UserError
from clipmask.visualizer import class_shares, colorize, overlay

KINDS = ("overlay", "labels", "color")  # what can be saved of a segmentation
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".jp2", ".avif", ".heic")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of every pixel of one picture.

    Attributes:
        image: uint8 (H, W, 3), RGB: the picture as it was read.
        labels: (H, W), ids into ``names``; uint8, or int64 beyond 255 classes.
        names: of the K classes.
        colors: [r, g, b], 0..255, of each class.
        source: the path that the picture came from; None where it was given as pixels.
    """

    image: NDArray[np.uint8]
    labels: NDArray[Any]
    names: tuple[str, ...]
    colors: list[list[int]]
    source: str | None
    _score: Callable[[Segmentation], NDArray[np.float32]]

    def __repr__(self) -> str:
        height, width = self.labels.shape
        shares = sorted(self.shares.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name} {share:.1f}%" for name, share in shares if share > 0)
        return f"Segmentation({self.source or 'pixels'}, {width}x{height}: {told})"

    def scores(self) -> NDArray[np.float32]:
        """Returns how strongly each class is seen at each pixel, (K, H, W), at least 0; runs the model once more.

        Raises:
            UserError: the predictor's vocabulary has changed since.
        """
        return self._score(self)

    @property
    def shares(self) -> dict[str, float]:
        """The percentage of pixels that each class covers."""
        shares = class_shares(self.labels, len(self.names))
        return {name: float(share) for name, share in zip(self.names, shares, strict=True)}

    def overlay(self, opacity: float = 0.5, legend: bool | Literal["inside"] = True) -> NDArray[np.uint8]:
        """Draws the classes over the picture.

        Args:
            opacity: of the colours, 0 to 1.
            legend: True adds a strip below with the classes and their shares; ``"inside"`` lays it over the lowest
                rows, so that frames of a film keep their size.

        Returns:
            uint8 (H + height of the legend, W, 3).
        """
        return overlay(self.image, self.labels, self.names, self.colors, opacity, legend)

    def save(self, path: str | os.PathLike[str], what: str = "overlay", opacity: float = 0.5) -> None:
        """Writes a picture of the result; missing folders are made.

        Args:
            path: the file; its ending chooses the format.
            what: ``overlay`` (see there, with legend), ``labels`` (ids in one channel) or ``color`` (each class in its
                plain colour).
            opacity: of the overlay's colours.

        Raises:
            UserError: ``what`` is none of these, the format is unknown or would change ids, or the file can't be
                written.
        """
        path = Path(path)
        if what not in KINDS:
            raise UserError(f"can't save {what!r}; choose one of {', '.join(KINDS)}")
        if what != "overlay" and path.suffix.lower() in _LOSSY:
            raise UserError(f"{path}: {path.suffix} would change the {what} by compression; save them as .png")
        if what == "overlay":
            pixels: NDArray[Any] = self.overlay(opacity)
        elif what == "color":
            pixels = colorize(self.labels, self.colors)
        else:
            pixels = self.labels if self.labels.dtype == np.uint8 else self.labels.astype(np.uint16)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        except (ValueError, KeyError) as error:  # Pillow's for an ending that it does not know, or only reads
            raise UserError(f"{path}: pictures can't be written with the ending {path.suffix!r}; use .png") from error
        except OSError as error:
            raise UserError(f"{path}: can't be written ({error})") from error

    def _repr_png_(self) -> bytes:
        """The overlay, as notebooks show it."""
        stream = io.BytesIO()
        Image.fromarray(self.overlay()).save(stream, "PNG")
        return stream.getvalue()
