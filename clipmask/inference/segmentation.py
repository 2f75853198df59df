"""The result for one picture: class of each pixel, drawings, summaries and files."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from clipmask.errors import UserError
from clipmask.evaluation.scores import count_pixels, scores
from clipmask.visualizer import Drawing, class_pixels, class_shares, colorize, comparison, overlay
from clipmask.vocabulary import shown_names

# What can be saved of a segmentation.
KINDS = ("overlay", "labels", "color", "scores", "json", "server_ids", "comparison")
ENDINGS = {"scores": ".npz", "json": ".json"}  # of those that are no pictures
# Endings of pictures that come back as they were; all others may compress, resize or reduce
# colours.
_EXACT = (".png", ".tif", ".tiff", ".bmp", ".dib", ".pgm", ".ppm", ".pnm", ".tga")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of every pixel of one picture.

    Attributes:
        image: uint8 (H, W, 3), RGB: the picture as it was read.
        labels: (H, W), ids into ``names``; uint8, or int64 beyond 255 classes.
        names: of the K classes.
        colors: [r, g, b], 0..255, of each class.
        source: the path that the picture came from; None where it was given as pixels.
        server_ids: class name to the id that a benchmark's server has for it; empty where the
            model's dataset has no such ids.
        drawing: how overlays are drawn.
    """

    image: NDArray[np.uint8]
    labels: NDArray[Any]
    names: tuple[str, ...]
    colors: list[list[int]]
    source: str | None
    _score: Callable[[Segmentation], NDArray[np.float32]]
    server_ids: Mapping[str, int] = field(default_factory=dict)
    drawing: Drawing = field(default_factory=Drawing)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        shares = sorted(self.shares.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{name} {share:.1f}%" for name, share in shares if share > 0)
        return f"Segmentation({self.source or 'pixels'}, {width}x{height}: {listed})"

    def scores(self) -> NDArray[np.float32]:
        """Returns how strongly each class is seen at each pixel, (K, H, W), at least 0.

        The model is run once more, for the vocabulary of this result, unless ``scores=True`` kept
        them when it was made.

        Raises:
            UserError: the result was pickled without them; or the model is an exported one that
                gives labels alone.
        """
        return self._score(self)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """How many pixels each class covers, (K,)."""
        return class_pixels(self.labels, len(self.names))

    @property
    def shares(self) -> dict[str, float]:
        """The percentage of pixels that each class covers."""
        shares = class_shares(self.labels, len(self.names))
        return {name: float(share) for name, share in zip(self.names, shares, strict=True)}

    def overlay(
        self, opacity: float | None = None, legend: bool | Literal["inside"] = True
    ) -> NDArray[np.uint8]:
        """Draws the classes over the picture.

        Args:
            opacity: of the colours, 0 to 1; None: that of ``drawing``.
            legend: True adds a strip below with the classes and their shares; ``"inside"`` puts it
                over the lowest rows, so that frames of a film keep their size.

        Returns:
            uint8 (H + height of the legend, W, 3).
        """
        return overlay(
            self.image,
            self.labels,
            self.names,
            self.colors,
            self.drawing.opacity if opacity is None else opacity,
            legend,
            paint_background=self.drawing.paint_background,
        )

    def comparison(self, truth: NDArray[Any]) -> NDArray[np.uint8]:
        """Draws picture, truth, prediction and errors beside each other.

        Args:
            truth: (H, W), ids into ``names``; any other id is void.

        Returns:
            uint8 picture a little over four times as wide, see ``clipmask.visualizer.comparison``.

        Raises:
            UserError: the truth has another size.
        """
        return comparison(self.image, truth, self.labels, self.names, self.colors)

    def summary(self, truth: NDArray[Any] | None = None) -> dict[str, Any]:
        """Returns what ``save(path, "json")`` writes: plain numbers, lists and texts.

        Args:
            truth: see ``comparison``; adds scores.

        Returns:
            ``source``, the path of the picture or None; ``width`` and ``height`` in pixels;
            ``names`` of all classes, in the order of their ids; and ``classes``, one entry for each
            class in the picture. An entry has ``id``, ``name`` (of synonyms the first), ``pixels``,
            ``share`` (percent), ``box`` (``[left, top, right, bottom]`` in pixels from the upper
            left corner; right and bottom are the first pixels outside) and, if there is one,
            ``server_id``. With a truth also ``mIoU`` and ``pACC`` of the picture in percent (None
            if all is void), and for each class ``IoU`` (None if the truth does not contain it).
            Missed classes are then listed too, with 0 pixels and ``box`` None.
        """
        height, width = self.labels.shape
        pixels = self.pixels
        boxes = ndimage.find_objects(self.labels + self.labels.dtype.type(1), len(self.names))
        summary: dict[str, Any] = {
            "source": self.source,
            "width": width,
            "height": height,
            "names": list(self.names),
        }
        classes: list[dict[str, Any]] = []
        for k, name in enumerate(shown_names(self.names)):
            entry = {
                "id": k,
                "name": name,
                "pixels": int(pixels[k]),
                "share": round(100 * float(pixels[k]) / self.labels.size, 4),
                "box": _box(boxes[k]),
            }
            if self.names[k] in self.server_ids:
                entry["server_id"] = self.server_ids[self.names[k]]
            classes.append(entry)
        listed = pixels > 0
        if truth is not None:
            confusion = count_pixels(truth, self.labels, len(self.names))
            iou, summary["mIoU"], summary["pACC"] = scores(confusion)
            summary |= {key: _number(summary[key]) for key in ("mIoU", "pACC")}
            for k, value in enumerate(iou):
                classes[k]["IoU"] = _number(float(value))
            listed |= confusion.sum(axis=1) > 0
        return {**summary, "classes": [classes[int(k)] for k in np.flatnonzero(listed)]}

    def save(
        self,
        path: str | os.PathLike[str],
        what: str = "overlay",
        opacity: float | None = None,
        *,
        truth: NDArray[Any] | None = None,
    ) -> None:
        """Writes the result; missing folders are made.

        Args:
            path: the file; its ending chooses a picture's format.
            what: ``overlay`` (see there, with legend), ``labels`` (ids into ``names``, in one
                channel), ``color`` (each class in its plain colour), ``server_ids`` (one channel,
                in the ids of the dataset's server), ``scores`` (an .npz with ``names`` and
                ``scores``, float16 (K, H, W): 2 bytes a class and pixel before compression),
                ``json`` (see ``summary``) or ``comparison`` (see there; needs ``truth``).
            opacity: of the overlay's colours; None: that of ``drawing``.
            truth: (H, W) ids, for ``comparison`` and ``json``.

        Raises:
            UserError: ``what`` is none of these, or has no truth or server ids; the format is
                unknown or would change ids; or the file can't be written.
        """
        path = Path(path)
        if what not in KINDS:
            raise UserError(f"can't save {what!r}; choose one of {', '.join(KINDS)}")
        if what in ENDINGS and path.suffix.lower() != ENDINGS[what]:
            raise UserError(f"{path}: {what} are saved as {ENDINGS[what]}")
        known = path.suffix.lower() in Image.registered_extensions()
        if (
            what in ("labels", "color", "server_ids")
            and known
            and path.suffix.lower() not in _EXACT
        ):
            raise UserError(
                f"{path}: {path.suffix} would change the {what}, or may; save them as .png"
            )
        write = self._writer(what, opacity, truth)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        # Pillow's for an ending that it does not know, or only reads
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{path}: pictures can't be written with the ending {path.suffix!r}; use .png"
            ) from error
        except OSError as error:
            raise UserError(f"{path}: can't be written ({error})") from error

    def _writer(
        self, what: str, opacity: float | None, truth: NDArray[Any] | None
    ) -> Callable[[Path], object]:
        """Returns what writes a file; all that can be wrong with the result itself is found
        before.
        """
        if what == "json":
            text = json.dumps(self.summary(truth), ensure_ascii=False, indent=1) + "\n"
            return lambda path: path.write_text(text, encoding="utf-8")
        if what == "scores":
            values = self.scores().astype(np.float16)
            return lambda path: np.savez_compressed(path, names=np.array(self.names), scores=values)
        return Image.fromarray(self._drawn(what, opacity, truth)).save

    def _drawn(self, what: str, opacity: float | None, truth: NDArray[Any] | None) -> NDArray[Any]:
        """Returns the pixels of what is saved as a picture."""
        if what == "overlay":
            return self.overlay(opacity)
        if what == "color":
            return colorize(self.labels, self.colors)
        if what == "server_ids":
            return server_id_table(self.names, self.server_ids)[self.labels]
        if what == "comparison":
            if truth is None:
                raise UserError(
                    "a comparison needs the truth: save(path, 'comparison', truth=labels)"
                )
            return self.comparison(truth)
        return self.labels if self.labels.dtype == np.uint8 else self.labels.astype(np.uint16)

    def _repr_png_(self) -> bytes:
        """The overlay, as notebooks show it."""
        stream = io.BytesIO()
        Image.fromarray(self.overlay()).save(stream, "PNG")
        return stream.getvalue()


def result_name(stem: str, what: str) -> str:
    """Returns what the file of a picture's result is called: ``a_overlay.png``,
    ``a_classes.json``.
    """
    # Not a.json: tools that draw labels keep their work under that name beside the picture.
    return f"{stem}_classes.json" if what == "json" else f"{stem}_{what}{ENDINGS.get(what, '.png')}"


def server_id_table(
    names: Sequence[str], server_ids: Mapping[str, int]
) -> NDArray[np.unsignedinteger[Any]]:
    """Returns the server's id of each class, (K,), as narrow as they allow.

    Raises:
        UserError: a class has none.
    """
    if not server_ids:
        raise UserError(
            "there are no server ids: neither the checkpoint nor the config's dataset has"
            " 'server_ids' in its metadata (Cityscapes has). The ids of 'labels' are places in the"
            " list of class names"
        )
    missing = [name for name in names if name not in server_ids]
    if missing:
        raise UserError(
            f"no server id is known for {', '.join(missing)}; there are {', '.join(server_ids)}"
        )
    ids = [server_ids[name] for name in names]
    return np.array(ids, dtype=np.min_scalar_type(max(ids)))


def _box(region: tuple[slice, ...] | None) -> list[int] | None:
    """``[left, top, right, bottom]`` of the rows and columns of a region."""
    if region is None:
        return None
    rows, columns = region
    return [columns.start, rows.start, columns.stop, rows.stop]


def _number(value: float) -> float | None:
    """A score as JSON can hold it."""
    return None if math.isnan(value) else round(value, 4)
