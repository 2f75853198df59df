"""Measures how many samples per second one worker of the data loader prepares, and the time of each
step.

The pictures are made here: enlarged scenes of the toy dataset with camera noise, so that their
files are about as large as those of CamVid and Cityscapes. Everything runs in one process on one
thread, as in a worker.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipmask.config import get_cfg
from clipmask.data import LabelFormat, TestMapper, TrainMapper, read_image, read_labels
from clipmask.data.loader import TestSamples, TrainSamples
from clipmask.data.toy.canvas import VOID
from clipmask.data.toy.objects import CLASSES
from clipmask.data.toy.scene import draw_scene

BASE = Path(__file__).resolve().parents[2] / "configs" / "base.yaml"
NOISE = 0.7  # in grey levels; a PNG of 1024x2048 pixels then has 2.3 MB, about as in Cityscapes
JPEG_QUALITY = 92  # as in CamVid's files


class Case(NamedTuple):
    """The size of the pictures and of the training crops in one measurement.

    Attributes:
        name: name in the report.
        size: (height, width) of the pictures.
        crop: INPUT.CROP.SIZE, (height, width) of training samples.
    """

    name: str
    size: tuple[int, int]
    crop: tuple[int, int]


CASES = (Case("camvid", (360, 480), (256, 320)), Case("cityscapes", (1024, 2048), (512, 1024)))


def measure_loading(
    cases: Sequence[Case] = CASES,
    formats: Sequence[str] = ("png", "jpg"),
    *,
    pictures: int = 4,
    samples: int = 24,
    rounds: int = 3,
) -> list[dict[str, Any]]:
    """Measures the loading of training and test samples with the augmentation of configs/base.yaml.

    Args:
        cases: sizes of pictures and crops.
        formats: file formats of the pictures, png or jpg; labels are 8-bit PNGs.
        pictures: number of different pictures per case, at least 1.
        samples: number of samples that a round loads, at least 1. Each has its own random crop and
            colours.
        rounds: how often each sample is loaded, at least 1. Its shortest time counts, because
            disturbances can only add time.

    Returns:
        For each case and format ``name``, ``height``, ``width``, ``crop``, ``format``,
        ``file_kilobytes`` (mean size of a picture's file), ``train`` and ``test``. The last two
        hold ``images_per_second`` of one worker and, in milliseconds per sample, ``decode`` (of the
        picture), ``labels`` (decoding and checking; only in ``train``) and ``augment`` (the rest:
        crop, resize, flip and colours in training, the change to channels-first in test).
    """
    results = []
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        for case in cases:
            scenes = [_enlarged_scene(number, case.size) for number in range(pictures)]
            for format in formats:
                records = []
                for number, (picture, labels) in enumerate(scenes):
                    case_folder = Path(folder) / case.name
                    records.append(_write(case_folder, number, picture, labels, format))
                results.append(_measure(case, format, records, samples, rounds))
    return results


def workers_for(rate: float, images_per_second: float) -> int:
    """Returns how many workers are needed to keep up with a model.

    Args:
        rate: images per second that the model processes, above 0.
        images_per_second: images per second that one worker prepares, above 0.
    """
    return int(-(-rate // images_per_second))


def _measure(
    case: Case, format: str, records: list[dict[str, Any]], samples: int, rounds: int
) -> dict[str, Any]:
    cfg = get_cfg()
    cfg.merge_from_file(str(BASE))
    cfg.INPUT.CROP.SIZE = list(case.crop)
    numbers = [number % len(records) for number in range(samples)]
    label_format = LabelFormat(len(CLASSES), VOID)
    train = TrainSamples([(records, TrainMapper.from_config(cfg, label_format))], seed=0)
    test = TestSamples(records, TestMapper.from_config(cfg))

    def labels(number: int) -> object:
        return read_labels(records[number]["sem_seg_file_name"], label_format, case.size)

    seconds = _least_seconds(
        {
            "decode": lambda position: read_image(records[numbers[position]]["file_name"]),
            "labels": lambda position: labels(numbers[position]),
            "train": lambda position: train[position, numbers[position]],
            "test": lambda position: test[numbers[position]],
        },
        samples,
        rounds,
    )
    decode = seconds["decode"]
    file_bytes = [Path(record["file_name"]).stat().st_size for record in records]
    return {
        "name": case.name,
        "height": case.size[0],
        "width": case.size[1],
        "crop": list(case.crop),
        "format": format,
        "file_kilobytes": float(np.mean(file_bytes)) / 1000,
        "train": _parts(seconds["train"], decode=decode, labels=seconds["labels"]),
        "test": _parts(seconds["test"], decode=decode),
    }


def _parts(whole: float, **parts: float) -> dict[str, float]:
    """Returns the rate in samples per second, and the parts and the rest in milliseconds.

    Args:
        whole: seconds per sample.
        parts: seconds per sample of the parts that were measured alone.
    """
    parts["augment"] = max(0.0, whole - sum(parts.values()))
    milliseconds = {name: 1000 * part for name, part in parts.items()}
    return {"images_per_second": 1 / whole, **milliseconds}


def _least_seconds(
    loads: Mapping[str, Callable[[int], object]], samples: int, rounds: int
) -> dict[str, float]:
    """Measures the seconds per sample of each of ``loads``.

    The shortest time of each sample over all rounds counts; the result is the mean of these over
    the samples. The loads take turns within a round, so that a slow phase of the machine affects
    all of them.

    Args:
        loads: functions that load the sample at a position, by name.
        samples: number of positions.
        rounds: how often each position is loaded.
    """
    times = {name: np.empty((rounds, samples)) for name in loads}
    for load in loads.values():
        load(0)  # warm up: some work is done only once per process
    for index in np.ndindex(rounds, samples):
        for name, load in loads.items():
            start = time.perf_counter()
            load(index[1])
            times[name][index] = time.perf_counter() - start
    return {name: float(taken.min(axis=0).mean()) for name, taken in times.items()}


def _enlarged_scene(
    number: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws a toy scene and enlarges it to ``size``: picture (H, W, 3) and labels (H, W)."""
    picture, labels = draw_scene("train", number)
    wide = (size[1], size[0])
    smooth = np.asarray(
        Image.fromarray(picture).resize(wide, Image.Resampling.BICUBIC), dtype=np.float32
    )
    noise = np.random.default_rng(number).standard_normal(smooth.shape, np.float32)
    noisy = np.clip(np.rint(smooth + NOISE * noise), 0, 255).astype(np.uint8)
    return noisy, np.asarray(Image.fromarray(labels).resize(wide, Image.Resampling.NEAREST))


def _write(
    folder: Path, number: int, picture: NDArray[np.uint8], labels: NDArray[np.uint8], format: str
) -> dict[str, Any]:
    """Writes a picture and its labels; returns their dataset dict."""
    folder.mkdir(exist_ok=True)
    image, label_map = folder / f"{number}.{format}", folder / f"{number}_labels.png"
    if format == "jpg":
        Image.fromarray(picture).save(image, quality=JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(picture).save(image)
    Image.fromarray(labels).save(label_map)
    return {"file_name": str(image), "sem_seg_file_name": str(label_map)}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limits torch to one thread, as in a worker process, until the end of the ``with`` block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
