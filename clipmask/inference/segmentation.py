"""The result for one picture: its label map, with methods to draw, summarise and save it."""

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
from clipmask.visualizer.strips import row_strips
from clipmask.vocabulary import shown_names

# the kinds of files that a segmentation can be saved as
KINDS = ("overlay", "labels", "color", "scores", "json", "server_ids", "comparison")
ENDINGS = {"scores": ".npz", "json": ".json"}  # suffixes of the kinds that are not pictures
# Suffixes of lossless picture formats. All others may compress, resize or reduce colours.
_EXACT = (".png", ".tif", ".tiff", ".bmp", ".dib", ".pgm", ".ppm", ".pnm", ".tga")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of every pixel of one picture.

    Attributes:
        image: the picture, uint8 (H, W, 3), RGB.
        labels: (H, W), ids into ``names``; uint8, or int64 for more than 255 classes.
        names: the names of the K classes.
        colors: [r, g, b], each 0..255, for each class.
        source: the path of the picture; None if it was not given by a path.
        server_ids: class name -> its id on the benchmark's server; empty if the model's dataset has
            no such ids.
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

    @property
    def _ids(self) -> NDArray[Any]:
        """The labels, for passes over all of them in strips of rows."""
        return self.labels

    def scores(self) -> NDArray[np.float32]:
        """Returns the score of each class at each pixel, float32 (K, H, W), 0 or more.

        The model runs again with the vocabulary of this result, unless the result was computed with
        ``scores=True`` and stores its scores.

        Raises:
            UserError: the result was pickled without scores; or the model is an exported one that
                returns labels only.
        """
        return self._score(self)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """The number of pixels of each class, (K,)."""
        return class_pixels(self._ids, len(self.names))

    @property
    def shares(self) -> dict[str, float]:
        """The percentage of pixels of each class, by class name."""
        shares = class_shares(self._ids, len(self.names))
        return {name: float(share) for name, share in zip(self.names, shares, strict=True)}

    def overlay(
        self, opacity: float | None = None, legend: bool | Literal["inside"] = True
    ) -> NDArray[np.uint8]:
        """Draws the classes over the picture.

        Args:
            opacity: the opacity of the colours, 0 to 1; None: that of ``drawing``.
            legend: True: add a strip with the classes and their shares below the picture.
                ``"inside"``: draw it over the lowest rows, so that frames of a film keep their
                size. False: no legend.

        Returns:
            uint8 (H + height of the legend, W, 3).
        """
        return overlay(
            self.image,
            self._ids,
            self.names,
            self.colors,
            self.drawing.opacity if opacity is None else opacity,
            legend,
            paint_background=self.drawing.paint_background,
        )

    def comparison(self, truth: NDArray[Any]) -> NDArray[np.uint8]:
        """Draws the picture, the ground truth, the prediction and the errors side by side.

        Args:
            truth: (H, W), ids into ``names``; any other id is void.

        Returns:
            A uint8 picture, a little over four times as wide as the input; see
            ``clipmask.visualizer.comparison``.

        Raises:
            UserError: the ground truth has another size.
        """
        return comparison(self.image, truth, self.labels, self.names, self.colors)

    def summary(self, truth: NDArray[Any] | None = None) -> dict[str, Any]:
        """Summarises the result in plain numbers, lists and texts, as ``save(path, "json")`` does.

        Args:
            truth: the ground truth, see ``comparison``; if given, scores are added.

        Returns:
            ``source``, the path of the picture or None; ``width`` and ``height`` in pixels;
            ``names`` of all classes, in the order of their ids; and ``classes``, one entry for each
            class in the picture. An entry has ``id``, ``name`` (the first synonym), ``pixels``,
            ``share`` (percent), ``box`` (``[left, top, right, bottom]`` in pixels from the upper
            left corner; right and bottom are the first pixels outside) and ``server_id``, if there
            is one. With ``truth``, there are also ``mIoU`` and ``pACC`` of the picture in percent
            (None if all pixels are void), and ``IoU`` for each class (None if the truth does not
            contain it). Classes that are only in the truth are then listed too, with 0 pixels and
            ``box`` None.
        """
        height, width = self.labels.shape
        pixels = self.pixels
        boxes = _boxes(self._ids, len(self.names))
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
                "box": boxes[k],
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
        on_rows: Callable[[int, int], object] | None = None,
    ) -> None:
        """Saves the result to a file; missing folders are created.

        Args:
            path: the file; its suffix chooses the format of a picture.
            what: the kind of file: ``overlay`` (see the method; with a legend), ``labels`` (ids
                into ``names``, in one channel), ``color`` (the plain colours of the classes),
                ``server_ids`` (the ids of the benchmark's server, in one channel), ``scores`` (an
                .npz with ``names`` and ``scores``, float16 (K, H, W), 2 bytes per class and pixel
                before compression), ``json`` (see ``summary``) or ``comparison`` (see the method;
                needs ``truth``).
            opacity: the opacity of the overlay's colours; None: that of ``drawing``.
            truth: the ground truth, (H, W) ids, for ``comparison`` and ``json``.
            on_rows: is called with the numbers of rows done and in all, while the picture of a
                ``LargeSegmentation`` is written; others are written at once.

        Raises:
            UserError: ``what`` is another word, or the truth or the server ids for it are missing;
                the format is unknown or would change ids; or the file can't be written.
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
                f"{path}: the format {path.suffix} may change the {what}; save them as .png"
            )
        write = self._writer(path, what, opacity, truth, on_rows)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, write)
        except UserError:
            raise
        # Pillow raises these for a suffix that it does not know, or can't write
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{path}: pictures can't be written with the suffix {path.suffix!r}; use .png"
            ) from error
        except OSError as error:
            raise UserError(f"{path}: can't be written ({error})") from error

    def _writer(
        self,
        path: Path,
        what: str,
        opacity: float | None,
        truth: NDArray[Any] | None,
        on_rows: Callable[[int, int], object] | None,
    ) -> Callable[[Path], object]:
        """Returns a function that writes a file, under a name that is not yet ``path``.

        The content is computed before, so that its errors are raised here.
        """
        if what == "json":
            text = json.dumps(self.summary(truth), ensure_ascii=False, indent=1) + "\n"
            return lambda path: path.write_text(text, encoding="utf-8")
        if what == "scores":
            values = self.scores().astype(np.float16)
            return lambda path: np.savez_compressed(path, names=np.array(self.names), scores=values)
        return Image.fromarray(self._drawn(what, opacity, truth)).save

    def _drawn(self, what: str, opacity: float | None, truth: NDArray[Any] | None) -> NDArray[Any]:
        """Returns the pixels of the picture that is saved."""
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
        if self.labels.dtype == np.uint8:
            return self.labels
        return self.labels.astype(np.uint16)

    def _repr_png_(self) -> bytes:
        """Returns the overlay as a PNG file, which notebooks display."""
        stream = io.BytesIO()
        Image.fromarray(self.overlay()).save(stream, "PNG")
        return stream.getvalue()


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file under another name first, so that an interrupted one never has its name."""
    path = Path(os.path.realpath(path))  # a link stays one
    partial = path.with_name(f".{path.stem[:100]}.{os.getpid()}.partial{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def result_name(stem: str, what: str) -> str:
    """Returns the file name of a result, such as ``a_overlay.png`` or ``a_classes.json``.

    Args:
        stem: the name of the picture without its suffix.
        what: one of ``KINDS``.
    """
    # a.json is avoided, because annotation tools store their work under that name
    if what == "json":
        return f"{stem}_classes.json"
    return f"{stem}_{what}{ENDINGS.get(what, '.png')}"


def server_id_table(
    names: Sequence[str], server_ids: Mapping[str, int]
) -> NDArray[np.unsignedinteger[Any]]:
    """Returns the id of each class on the benchmark's server, (K,), in the smallest integer type.

    Args:
        names: the class names.
        server_ids: class name -> its id on the server.

    Raises:
        UserError: a class has no such id.
    """
    if not server_ids:
        raise UserError(
            "there are no server ids: neither the checkpoint nor the config's dataset has"
            " 'server_ids' in its metadata (Cityscapes has). The kind 'labels' saves positions in"
            " the list of class names instead"
        )
    missing = [name for name in names if name not in server_ids]
    if missing:
        raise UserError(
            f"no server id is known for {', '.join(missing)}; known are {', '.join(server_ids)}"
        )
    ids = [server_ids[name] for name in names]
    return np.array(ids, dtype=np.min_scalar_type(max(ids)))


def _boxes(labels: NDArray[Any], num_classes: int) -> list[list[int] | None]:
    """Returns ``[left, top, right, bottom]`` of each class; None for a class without pixels."""
    boxes: list[list[int] | None] = [None] * num_classes
    for strip in row_strips(labels.shape):
        part = labels[strip]
        for k, region in enumerate(ndimage.find_objects(part + part.dtype.type(1), num_classes)):
            if region is not None:
                rows, columns = region
                top, bottom = (strip.start + row for row in (rows.start, rows.stop))
                left, first, right, _ = boxes[k] or [columns.start, top, columns.stop, bottom]
                left, right = min(left, columns.start), max(right, columns.stop)
                boxes[k] = [left, first, right, bottom]
    return boxes


def _number(value: float) -> float | None:
    """Returns a score for JSON: rounded, and None instead of nan."""
    if math.isnan(value):
        return None
    return round(value, 4)
