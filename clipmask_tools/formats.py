"""Compares a model in all export formats: PyTorch, ONNX, OpenVINO, ``torch.export``.

    pip install -e '.[export]'
    python -m clipmask_tools.formats --dataset camvid_sem_seg_val --int8 CamVid/train

All formats segment the same pictures, alternately in one process. Measured are the agreement of the
labels with PyTorch's, the largest difference of a score, the mIoU and the time: processor time on
one thread, wall time on several. The table is printed, and written with all figures (JSON) and a
chart. Formats that an earlier run on the same pictures measured are kept in these files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipmask.cli import run_main
from clipmask.cli.arguments import HelpFormatter
from clipmask.cli.demo.truth import LabelledPictures, dataset_name
from clipmask.cli.export import read_size
from clipmask.errors import UserError
from clipmask.export.quantize import spread_evenly
from clipmask.inference import Predictor
from clipmask.inference.pixels import to_pixels
from clipmask_tools.benchmark import listed
from clipmask_tools.benchmarking.format_report import draw_formats, format_table, merged
from clipmask_tools.benchmarking.formats import (
    EAGER,
    FORMATS,
    Frame,
    Source,
    Truth,
    agreement,
    clock_for,
    frame_seconds,
    make,
)
from clipmask_tools.benchmarking.machine import processor_name, version
from clipmask_tools.benchmarking.measure import ratios, spread

PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter
    )
    parser.add_argument("--weights", default="clipmask-street", metavar="MODEL", help="the model")
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help="a descriptor or a registered name"
    )
    parser.add_argument("--split", metavar="NAME", help="the split of a descriptor; default: val")
    parser.add_argument(
        "--int8", nargs="+", default=[], metavar="PATH", help="calibration pictures for 8 bits"
    )
    parser.add_argument(
        "--formats", default=",".join(FORMATS), metavar="A,B", help="the compared formats"
    )
    parser.add_argument(
        "--pictures", type=int, metavar="N", help="number of pictures; default: all"
    )
    parser.add_argument(
        "--sizes", default="360x480,512x1024", metavar="HxW,...", help="sizes of the time tests"
    )
    parser.add_argument("--rounds", type=int, default=20, help="number of rounds at each size")
    parser.add_argument("--threads", type=int, default=1, help="number of threads")
    parser.add_argument(
        "--output",
        default="output/formats",
        metavar="FOLDER",
        help="the folder of formats.json, .md and .png",
    )
    return parser


def _run(argv: Sequence[str] | None) -> None:
    args = build_parser().parse_args(argv)
    names = [EAGER, *(n for n in listed(args.formats, list(FORMATS), "--formats") if n != EAGER)]
    if any("--int8" in FORMATS[name].options for name in names) and not args.int8:
        raise UserError("--int8: 8 bits need pictures, such as those of the training")
    if args.rounds < 1 or args.threads < 1:
        raise UserError("--rounds and --threads: must be at least 1")
    sizes = [read_size(text) for text in args.sizes.split(",")]
    torch.set_num_threads(args.threads)
    dataset = LabelledPictures(dataset_name(args.dataset, args.split))
    frames, truths = _read(dataset, args.pictures or len(dataset.inputs))
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    figures = folder / "formats.json"
    earlier = json.loads(figures.read_text()) if figures.is_file() else {}
    found: dict[str, Any] = {
        "machine": {
            "device": processor_name(),
            "threads": torch.get_num_threads(),
            **{package: version(package) for package in PACKAGES},
        },
        "dataset": dataset.name,
        "pictures": len(frames),
        "rounds": args.rounds,
        "formats": {},
        "times": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        source = Source(args.weights, tuple(args.int8), Path(temporary))
        found["formats"] = _agreement(source, names, frames, truths)
        _write(folder, found, earlier)
        for size in sizes:
            times, files = _times(source, names, frames[: args.rounds], size)
            found["times"].append({"size": size, **times})
            for name, total in files.items():
                found["formats"][name].setdefault("bytes", total)
            _write(folder, found, earlier)
    print((folder / "formats.md").read_text())


def _read(dataset: LabelledPictures, count: int) -> tuple[list[Frame], list[Truth]]:
    """Reads up to ``count`` pictures, spread evenly over a dataset, and their label maps."""
    frames: list[Frame] = []
    truths: list[Truth] = []
    for path in spread_evenly([item.path for item in dataset.inputs], count):
        frame = to_pixels(path)
        truth = dataset.labels(path, (frame.shape[0], frame.shape[1]))
        if truth is None:
            raise UserError(f"{dataset.name}: {path} has no labels for a score")
        frames.append(frame)
        truths.append(truth)
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{dataset.name}: its pictures differ in size")
    return frames, truths


def _agreement(
    source: Source, names: Sequence[str], frames: Sequence[Frame], truths: Sequence[Truth]
) -> dict[str, Any]:
    """Returns, for each format, its agreement with PyTorch and its restrictions."""
    size = (frames[0].shape[0], frames[0].shape[1])
    predictors = {name: make(source, name, size)[0] for name in names}
    rows: dict[str, Any] = agreement(predictors, frames, truths)
    for name, row in rows.items():
        row["any_size"] = not FORMATS[name].fixed
        row["any_names"] = FORMATS[name].free_vocabulary
    return rows


def _times(
    source: Source, names: Sequence[str], frames: Sequence[Frame], size: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, int | None]]:
    """Returns the times at one size and the speed relative to PyTorch; and the sizes of files."""
    predictors: dict[str, Predictor] = {}
    sizes: dict[str, int | None] = {}
    for name in names:
        predictors[name], sizes[name] = make(source, name, size)
    resized = [np.array(Image.fromarray(frame).resize((size[1], size[0]))) for frame in frames]
    clock = clock_for(torch.get_num_threads())
    times = frame_seconds(predictors, resized, len(resized), clock)
    seconds = {name: spread(values) for name, values in times.items()}
    return {"seconds": seconds, "speed": ratios(times, EAGER)}, sizes


def _write(folder: Path, found: dict[str, Any], earlier: dict[str, Any]) -> None:
    found = merged(earlier, found)
    (folder / "formats.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "formats.md").write_text(format_table(found))
    if found["times"]:
        draw_formats(found, folder / "formats.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
