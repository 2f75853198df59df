"""Measures a model in every format that it can have: PyTorch, ONNX, OpenVINO, ``torch.export``.

    pip install -e '.[export]'
    python -m clipmask_tools.formats --dataset camvid_sem_seg_val --int8 CamVid/train

Each format segments the same pictures as PyTorch does, in one process and in turn: agreement of
labels, the largest difference of a score, mIoU, processor time. It prints a table and writes it
with all figures (JSON) and a chart; formats that an earlier run on the same pictures has put into
the folder stay in them.
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

from clipmask.cli import HelpFormatter, run_main
from clipmask.cli.demo.truth import LabelledPictures, dataset_name
from clipmask.cli.export import read_size
from clipmask.errors import UserError
from clipmask.export.quantize import spread_evenly
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
    make,
    processor_seconds,
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
    parser.add_argument("--split", metavar="NAME", help="of a descriptor; val where left out")
    parser.add_argument(
        "--int8", nargs="+", default=[], metavar="PATH", help="pictures for the ranges of 8 bits"
    )
    parser.add_argument("--formats", default=",".join(FORMATS), metavar="A,B", help="which")
    parser.add_argument("--pictures", type=int, metavar="N", help="of the dataset; all if left out")
    parser.add_argument(
        "--sizes", default="360x480,512x1024", metavar="HxW,...", help="at which time is taken"
    )
    parser.add_argument("--rounds", type=int, default=20, help="of all formats, at each size")
    parser.add_argument("--threads", type=int, default=1, help="of all runtimes")
    parser.add_argument(
        "--output", default="output/formats", metavar="FOLDER", help="of formats.json, .md, .png"
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
    """Up to ``count`` pictures from all of a dataset, with their label maps."""
    frames: list[Frame] = []
    truths: list[Truth] = []
    for path in spread_evenly([item.path for item in dataset.inputs], count):
        frame = to_pixels(path)
        truth = dataset.labels(path, (frame.shape[0], frame.shape[1]))
        if truth is None:
            raise UserError(f"{dataset.name}: {path} has no labels to score with")
        frames.append(frame)
        truths.append(truth)
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{dataset.name}: its pictures differ in size")
    return frames, truths


def _agreement(
    source: Source, names: Sequence[str], frames: Sequence[Frame], truths: Sequence[Truth]
) -> dict[str, Any]:
    """What formats answer beside PyTorch, and what they take, by name."""
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
    """Times at one size, with PyTorch's divided by each; and the bytes of the files."""
    made = {name: make(source, name, size) for name in names}
    resized = [np.array(Image.fromarray(frame).resize((size[1], size[0]))) for frame in frames]
    times = processor_seconds(
        {name: predictor for name, (predictor, _) in made.items()}, resized, len(resized)
    )
    return (
        {
            "seconds": {name: spread(values) for name, values in times.items()},
            "speed": ratios(times, EAGER),
        },
        {name: total for name, (_, total) in made.items()},
    )


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
