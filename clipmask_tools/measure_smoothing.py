"""Measures the flicker and the mIoU of a film with and without smoothing over time.

    python -m clipmask_tools.measure_smoothing --weights model.pth --frames drive \\
        --labels drive_labels --ignore-id 11

Flicker is the share of points whose class differs from their class in the frame before. The place
of a point in the frame before is found by optical flow, which is finer than that of the smoothing.
Points for which the flow back is wrong by a pixel or more, such as points that were hidden, are
left out. With label maps, the flicker is also given for the points at which the truth stays the
same; each change there is an error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from clipmask.cli import run_main
from clipmask.cli.arguments import HelpFormatter
from clipmask.cli.demo.inputs import find_pictures
from clipmask.data import LabelFormat, read_labels
from clipmask.errors import UserError
from clipmask.film.opencv import load_cv2
from clipmask.film.smoothing import STRENGTH, Smoothing
from clipmask.inference import Predictor


class Tracks:
    """The places of the points of a frame in the frame before.

    Args:
        before: uint8 (H, W, 3), RGB.
        now: the next frame.

    Attributes:
        known: bool (H, W), whether the place of a point in the frame before is known.
    """

    def __init__(self, before: NDArray[np.uint8], now: NDArray[np.uint8]) -> None:
        self._cv2 = cv2 = load_cv2()
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        old, new = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, now))
        there, back = flow.calc(new, old, None), flow.calc(old, new, None)
        rows, columns = new.shape
        x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
        self._x, self._y = x + there[..., 0], y + there[..., 1]
        missed = there + cv2.remap(
            back, self._x, self._y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        inside = (self._x >= 0) & (self._x <= columns - 1) & (self._y >= 0) & (self._y <= rows - 1)
        self.known = inside & (np.hypot(missed[..., 0], missed[..., 1]) < 1)

    def changed(self, before: NDArray[np.uint8], now: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Returns where the label maps (H, W) of the two frames differ at the same point."""
        return now != self._cv2.remap(before, self._x, self._y, self._cv2.INTER_NEAREST)


class Measure:
    """Computes the flicker and the mIoU of one segmentation of a film.

    Args:
        classes: K, the number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._confusion = np.zeros((classes, classes), dtype=np.int64)
        # (pixels that changed, all pixels), over all points and over those with the same truth
        self._changed, self._steady = [0, 0], [0, 0]
        self._labels: NDArray[np.uint8] | None = None
        self.seconds = 0.0

    def add(
        self, labels: NDArray[np.uint8], truth: Any, tracks: Tracks | None, steady: Any
    ) -> None:
        """Adds a frame.

        Args:
            labels: (H, W), the prediction.
            truth: (H, W), or None; ids outside the classes are void.
            tracks: the tracks to the frame before; None for the first frame.
            steady: bool (H, W), the points at which the truth did not change; or None.
        """
        if tracks is not None and self._labels is not None:
            changed = tracks.changed(self._labels, labels)
            for count, points in ((self._changed, tracks.known), (self._steady, steady)):
                if points is not None:
                    count[0] += int((changed & points).sum())
                    count[1] += int(points.sum())
        self._labels = labels
        if truth is not None:
            classes = len(self._confusion)
            valid = truth < classes
            pairs = truth[valid].astype(np.int64) * classes + labels[valid]
            self._confusion += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def row(self, name: str, frames: int) -> str:
        """Returns the line of the table, with a dash for values that need the truth."""
        hits = np.diag(self._confusion)
        union = self._confusion.sum(0) + self._confusion.sum(1) - hits
        seen = self._confusion.sum(1) > 0
        iou = f"{100 * np.mean(hits[seen] / union[seen]):.2f}" if seen.any() else "-"
        shares = [
            f"{100 * part / whole:.2f}" if whole else "-"
            for part, whole in (self._changed, self._steady)
        ]
        return (
            f"{name:<14}{iou:>8}{shares[0]:>12}{shares[1]:>16}{1000 * self.seconds / frames:>14.0f}"
        )


def measure(
    predictor: Predictor,
    frames: Sequence[Path],
    labels: Sequence[Path] | None,
    ignore: int,
    strengths: Sequence[float],
) -> list[str]:
    """Segments frames in order, without smoothing and with each strength.

    Args:
        predictor: the predictor.
        frames: the frames of one film, in order.
        labels: the label maps of the frames, or None.
        ignore: the void id in the label maps.
        strengths: the strengths of smoothing.

    Returns:
        The lines of a table: mIoU, flicker, and flicker where the truth does not change, in
        percent; and the time of smoothing in milliseconds per frame.
    """
    ways: dict[str, Smoothing | None] = {"no smoothing": None}
    for value in strengths:
        ways[f"strength {value:g}"] = Smoothing(value)
    measures = {name: Measure(len(predictor.names)) for name in ways}
    image: Any = None
    truth: Any = None
    for index, path in enumerate(tqdm(frames, unit=" frames", disable=not sys.stderr.isatty())):
        result = predictor(str(path))
        scores = torch.from_numpy(result.scores())
        tracks = None
        if image is not None and image.shape == result.image.shape:
            tracks = Tracks(image, result.image)
        now, steady = None, None
        if labels is not None:
            now = read_labels(
                labels[index], LabelFormat(len(predictor.names), ignore), result.labels.shape
            ).astype(np.uint8)
            if tracks is not None:
                steady = tracks.known & ~tracks.changed(truth, now) & (now < len(predictor.names))
        for name, smoothing in ways.items():
            own, start = scores.clone(), time.perf_counter()
            smoothed = own if smoothing is None else smoothing(result.image, own)
            measures[name].seconds += time.perf_counter() - start
            measures[name].add(smoothed.argmax(0).numpy().astype(np.uint8), now, tracks, steady)
        image, truth = result.image, now
    head = f"{'':<14}{'mIoU %':>8}{'flicker %':>12}{'truth steady %':>16}{'ms a frame':>14}"
    return [head, *(measures[name].row(name, len(frames)) for name in ways)]


def _run(argv: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help="a checkpoint of train_net.py"
    )
    parser.add_argument(
        "--frames", required=True, metavar="FOLDER", help="the frames, in the order of their names"
    )
    parser.add_argument(
        "--labels",
        metavar="FOLDER",
        help="label maps, .png files of ids with the names of the frames (default: none)",
    )
    parser.add_argument("--ignore-id", type=int, default=255, help="the void id in the label maps")
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=[STRENGTH], help="strengths of smoothing"
    )
    args = parser.parse_args(argv)
    frames = [picture.path for picture in find_pictures([args.frames])]
    labels = None
    if args.labels is not None:
        labels = [Path(args.labels) / f"{path.stem}.png" for path in frames]
    predictor = Predictor.from_checkpoint(args.weights)
    if len(predictor.names) > 254:
        raise UserError(
            f"{args.weights} has {len(predictor.names)} classes; at most 254 are possible"
        )
    print(f"{len(frames)} frames of {args.frames}")
    print("\n".join(measure(predictor, frames, labels, args.ignore_id, args.strengths)))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; ``argv`` None takes ``sys.argv``."""
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
