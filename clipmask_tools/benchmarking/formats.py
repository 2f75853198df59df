"""A model in every format that it can have: the same answers, how fast, how large.

Shapes: K classes, H and W rows and columns of a picture.
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
    """One way to run a model.

    Attributes:
        ending: of the file that ``clipmask-export`` writes; empty: the model in PyTorch.
        fixed: the file takes pictures of one size.
        options: more options of ``clipmask-export``; ``--int8`` gets its pictures later.
        dtype: that the model in PyTorch is converted to.
        compiled: ``torch.compile`` of the model in PyTorch.
    """

    ending: str = ""
    fixed: bool = False
    options: tuple[str, ...] = ()
    dtype: torch.dtype | None = None
    compiled: bool = False

    @property
    def free_vocabulary(self) -> bool:
        """Whether it segments other class names than those it was made for."""
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
    """What formats are made from.

    Attributes:
        weights: see ``clipmask-export --weights``.
        calibration: pictures and folders for 8 bits.
        folder: for the files.
    """

    weights: str
    calibration: tuple[str, ...]
    folder: Path


def make(source: Source, name: str, size: tuple[int, int]) -> tuple[Predictor, int | None]:
    """Returns a predictor in one of ``FORMATS``, and the bytes of its files, which give scores.

    Args:
        source: the model.
        name: of the format.
        size: H and W of the pictures to come. A file for any size is made once.

    Raises:
        UserError: see ``clipmask-export``.
    """
    way = FORMATS[name]
    if not way.ending:
        opts = ["MODEL.COMPILE", "True"] if way.compiled else []
        predictor = Predictor.from_pretrained(source.weights, "cpu", opts)
        if way.dtype is not None:
            assert isinstance(predictor.model, ClipMask)
            predictor.model.to(way.dtype)
        return predictor, None
    taken = f"{size[0]}x{size[1]}" if way.fixed else "any"
    path = source.folder / f"{list(FORMATS).index(name)}_{taken}{way.ending}"
    argv = ["--weights", source.weights, "--output", str(path), "--format", _WRITERS[way.ending]]
    argv += ["--size", f"{size[0]}x{size[1]}"] if way.fixed else []
    argv += ["--scores"]
    for option in way.options:
        argv += [option, *source.calibration] if option == "--int8" else [option]
    if not path.exists() and export.main(argv):
        raise UserError(f"{name}: clipmask-export {' '.join(argv)} failed, see above")
    files = source.folder.glob(f"{path.stem}.*")
    return Predictor.from_checkpoint(path), sum(file.stat().st_size for file in files)


def agreement(
    predictors: Mapping[str, Predictor], frames: Sequence[Frame], truths: Sequence[Truth]
) -> dict[str, dict[str, float]]:
    """Shows all frames to all predictors, which give scores.

    Returns:
        By name ``labels``, the share of pixels with the class that ``EAGER`` gives them, in
        [0, 1]; ``difference``, the largest of a score; and ``mean_iou``, in percent.
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


def processor_seconds(
    predictors: Mapping[str, Predictor],
    frames: Sequence[Frame],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Runs all predictors in turn on one frame after the other.

    Processor time is taken, which other work on the machine changes little; one thread's is the
    time that the frame would take on a core of its own.

    Args:
        predictors: by name.
        frames: shown in turn.
        rounds: that count; two go before them, for what is made at the first use.
        clock: seconds.

    Returns:
        Of every counted round, by name.
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
