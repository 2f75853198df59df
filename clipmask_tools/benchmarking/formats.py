"""Compares one model in all its export formats: predictions, speed, file size.

Shapes: K classes, H and W height and width of a picture.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from clipmask.cli import export
from clipmask.errors import UserError
from clipmask.evaluation.scores import count_pixels, scores
from clipmask.inference import Predictor
from clipmask.modeling import ClipMask

EAGER = "PyTorch"
Frame = NDArray[np.uint8]  # (H, W, 3), RGB
Truth = NDArray[np.integer]  # (H, W) ids


@dataclass(frozen=True)
class Format:
    """One format in which a model can run.

    Attributes:
        ending: ending of the file that ``clipmask-export`` writes; empty for the model in PyTorch.
        fixed: whether the file accepts pictures of one size only.
        options: further options of ``clipmask-export``; the calibration pictures of ``--int8`` are
            added later.
        dtype: data type to which the model in PyTorch is converted; None: no conversion.
        compiled: whether the model in PyTorch runs with ``torch.compile``.
    """

    ending: str = ""
    fixed: bool = False
    options: tuple[str, ...] = ()
    dtype: torch.dtype | None = None
    compiled: bool = False

    @property
    def free_vocabulary(self) -> bool:
        """Whether the format can segment other class names than those it was exported with."""
        return not self.ending or "--free-vocabulary" in self.options


FORMATS = {
    EAGER: Format(),
    "PyTorch compiled": Format(compiled=True),
    "PyTorch bfloat16": Format(dtype=torch.bfloat16),
    "PyTorch float16": Format(dtype=torch.float16),
    "ONNX": Format(".onnx", fixed=True),
    "ONNX any size": Format(".onnx"),
    "ONNX any size and names": Format(".onnx", options=("--free-vocabulary",)),
    "ONNX 16-bit weights": Format(".onnx", fixed=True, options=("--half",)),
    "ONNX int8": Format(".onnx", fixed=True, options=("--int8",)),
    "ONNX int8 any size": Format(".onnx", options=("--int8",)),
    "OpenVINO": Format(".xml", fixed=True),
    "OpenVINO any size": Format(".xml"),
    "torch.export": Format(".pt2", fixed=True),
    "torch.export any size": Format(".pt2"),
}
_WRITERS = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}


@dataclass(frozen=True)
class Source:
    """The model to export, the calibration pictures and the output folder.

    Attributes:
        weights: the model; see ``clipmask-export --weights``.
        calibration: pictures, or folders of pictures, with which int8 models are calibrated.
        folder: folder into which the files are written.
    """

    weights: str
    calibration: tuple[str, ...]
    folder: Path


def make(source: Source, name: str, size: tuple[int, int]) -> tuple[Predictor, int | None]:
    """Exports the model in one of ``FORMATS`` and loads it.

    A file that exists already is not written again: a format for any size is exported once.

    Args:
        source: the model.
        name: name of the format.
        size: H and W of the pictures that will be predicted.

    Returns:
        A predictor that gives scores too, and the size of its files in bytes (None in PyTorch).

    Raises:
        UserError: ``clipmask-export`` failed.
    """
    format = FORMATS[name]
    if not format.ending:
        opts = ["MODEL.COMPILE", "True"] if format.compiled else []
        predictor = Predictor.from_pretrained(source.weights, "cpu", opts)
        if format.dtype is not None:
            assert isinstance(predictor.model, ClipMask)
            predictor.model.to(format.dtype)
        return predictor, None
    height_width = f"{size[0]}x{size[1]}"
    size_in_name = height_width if format.fixed else "any"
    path = source.folder / f"{list(FORMATS).index(name)}_{size_in_name}{format.ending}"
    argv = ["--weights", source.weights, "--output", str(path)]
    argv += ["--format", _WRITERS[format.ending]]
    if format.fixed:
        argv += ["--size", height_width]
    argv += ["--scores"]
    for option in format.options:
        argv.append(option)
        if option == "--int8":
            argv += source.calibration
    if not path.exists() and export.main(argv):
        raise UserError(f"{name}: clipmask-export {' '.join(argv)} failed; its error is above")
    files = source.folder.glob(f"{path.stem}.*")
    return Predictor.from_checkpoint(path), sum(file.stat().st_size for file in files)


def agreement(
    predictors: Mapping[str, Predictor], frames: Sequence[Frame], truths: Sequence[Truth]
) -> dict[str, dict[str, float]]:
    """Compares the predictions of all predictors with those of the model in PyTorch.

    Args:
        predictors: predictors with scores, by the name of their format; ``EAGER`` is among them.
        frames: pictures.
        truths: the correct label map of each picture.

    Returns:
        For each name ``labels``, the share of pixels that get the same class as from ``EAGER``, in
        [0, 1]; ``difference``, the largest absolute difference of a score; and ``mean_iou``, in
        percent.
    """
    count = len(predictors[EAGER].names)
    same = dict.fromkeys(predictors, 0)
    differences = dict.fromkeys(predictors, 0.0)
    confusions = {name: np.zeros((count, count), dtype=np.int64) for name in predictors}
    pairs = tqdm(zip(frames, truths, strict=True), "agreement", len(frames), leave=False)
    for frame, truth in pairs:
        (reference,) = predictors[EAGER].stream([frame], scores=True)
        for name, predictor in predictors.items():
            result = reference
            if name != EAGER:
                (result,) = predictor.stream([frame], scores=True)
            same[name] += int((result.labels == reference.labels).sum())
            difference = float(np.abs(result.scores() - reference.scores()).max())
            differences[name] = max(differences[name], difference)
            confusions[name] += count_pixels(truth, result.labels, count)
    total = sum(frame.shape[0] * frame.shape[1] for frame in frames)
    return {
        name: {
            "labels": same[name] / total,
            "difference": differences[name],
            "mean_iou": scores(confusions[name]).mean_iou,
        }
        for name in predictors
    }


def clock_for(threads: int) -> Callable[[], float]:
    """Returns the clock, in seconds, by which predictors on so many threads are timed.

    One thread: processor time, which other work on the machine changes little, and which equals the
    time that a frame would take on a core of its own. Several threads: wall time, because processor
    time adds up what all threads spend; the cores must be free.
    """
    return time.process_time if threads == 1 else time.perf_counter


def frame_seconds(
    predictors: Mapping[str, Predictor],
    frames: Sequence[Frame],
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Measures the time of each predictor, frame by frame in alternation.

    Args:
        predictors: predictors by name.
        frames: pictures; they are used in turn.
        rounds: number of measured rounds. Two more rounds run first, to warm up.
        clock: function that returns the time in seconds, see ``clock_for``.

    Returns:
        For each name, the seconds of every measured round.
    """
    times: dict[str, list[float]] = {name: [] for name in predictors}
    shown = itertools.islice(itertools.cycle(frames), rounds + 2)
    for number, frame in enumerate(tqdm(shown, "times", rounds + 2, leave=False)):
        for name, predictor in predictors.items():
            began = clock()
            predictor(frame)
            if number >= 2:
                times[name].append(clock() - began)
    return times
