"""Benchmarks ClipMask against other networks, by its parts, and at growing sizes.

    pip install -e '.[benchmark]' && python -m clipmask_tools.benchmark

The networks run alternately on the same tensors, so that their ratios stay valid if the speed of
the machine drifts. Memory is measured in one process per network. Do not use the machine for other
work meanwhile: all sections take about half an hour on two CPU cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clipmask.cli import run_main
from clipmask.cli.arguments import HelpFormatter
from clipmask.errors import UserError
from clipmask_tools.benchmarking.growth import curves, large_picture, measure_growth
from clipmask_tools.benchmarking.loading import measure_loading
from clipmask_tools.benchmarking.machine import processor_name, version
from clipmask_tools.benchmarking.measure import (
    MODES,
    Setting,
    cost,
    keep_memory,
    memory,
    paired,
    ratios,
    release_memory,
    spread,
)
from clipmask_tools.benchmarking.networks import NETWORKS, build_network
from clipmask_tools.benchmarking.parts import added_by_text, inference_parts, training_parts
from clipmask_tools.benchmarking.report import draw_growth, draw_peers, tables

SECTIONS = ("peers", "parts", "text", "large", "growth", "loading")
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter
    )
    parser.add_argument(
        "--sections", default=",".join(SECTIONS), metavar="A,B", help="the measurements"
    )
    parser.add_argument(
        "--networks", default=",".join(NETWORKS), metavar="A,B", help="the compared networks"
    )
    parser.add_argument(
        "--modes", default=",".join(MODES), metavar="A,B", help="modes of the comparison"
    )
    parser.add_argument(
        "--sizes",
        default="360x480:11,512x1024:19",
        metavar="HxW:K,...",
        help="height x width of the pictures : number of classes",
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of measured rounds")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="the device")
    parser.add_argument(
        "--precision", default="fp32", choices=list(PRECISIONS), help="the computing precision"
    )
    parser.add_argument("--threads", type=int, help="number of CPU threads; default: torch's")
    parser.add_argument(
        "--output",
        default="output/benchmark",
        metavar="FOLDER",
        help="the folder of benchmark.json, .md and plots",
    )
    return parser


def listed(text: str, known: Sequence[str], option: str) -> list[str]:
    """Reads names separated by commas.

    Args:
        text: the value of an option.
        known: the names that are allowed.
        option: the name of the option, for messages.

    Raises:
        UserError: there is no name, or one is unknown.
    """
    values = [value.strip() for value in text.split(",") if value.strip()]
    wrong = [value for value in values if value not in known]
    if wrong or not values:
        raise UserError(f"{option} {text}: choose from {', '.join(known)}")
    return values


def _sizes(text: str) -> list[tuple[tuple[int, int], int]]:
    try:
        found = []
        for part in text.split(","):
            size, classes = part.split(":")
            height, width = size.lower().split("x")
            found.append(((int(height), int(width)), int(classes)))
        for (rows, columns), count in found:
            if min(rows, columns, count) < 1:
                raise ValueError(text)
    except ValueError as error:
        raise UserError(
            f"--sizes {text}: write HEIGHTxWIDTH:CLASSES, e.g. 512x1024:19,360x480:11"
        ) from error
    return found


def _compare(
    names: Sequence[str], mode: str, setting: Setting, rounds: int, threads: int | None
) -> dict[str, Any]:
    """Measures all networks in one mode at one setting."""
    calls = {name: setting.call(build_network(name, setting.num_classes), mode) for name in names}
    times = paired(calls, rounds, f"{mode} {setting.size[0]}x{setting.size[1]}")
    calls.clear()
    release_memory()
    shares = ratios(times, "ClipMask")
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = {
            "seconds": spread(times[name]),
            "memory": memory(name, mode, setting, threads=threads),
        }
        rows[name] |= cost(name, setting)
        if name != "ClipMask":
            rows[name]["ratio"] = shares[name]
            rows[name]["memory_ratio"] = (
                rows["ClipMask"]["memory"]["above"] / rows[name]["memory"]["above"]
            )
    return {
        "mode": mode,
        "size": setting.size,
        "num_classes": setting.num_classes,
        "networks": rows,
    }


def _machine(args: argparse.Namespace) -> dict[str, Any]:
    packages = ("torch", "torchvision", "timm", "transformers", "segmentation_models_pytorch")
    return {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else processor_name(),
        "threads": torch.get_num_threads(),
        "precision": args.precision,
        "rounds": args.rounds,
        **{package: version(package) for package in packages},
    }


def _run(argv: Sequence[str] | None) -> None:
    args = build_parser().parse_args(argv)
    sections = listed(args.sections, SECTIONS, "--sections")
    names = listed(args.networks, list(NETWORKS), "--networks")
    modes, sizes = listed(args.modes, MODES, "--modes"), _sizes(args.sizes)
    names = ["ClipMask", *(name for name in names if name != "ClipMask")]
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds}: must be at least 1")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; use cpu")
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = [
        Setting(size, classes, args.device, PRECISIONS[args.precision]) for size, classes in sizes
    ]
    small, wide = settings[0], settings[-1]

    def parts() -> dict[str, Any]:
        return {
            "train": {**_described(small), "seconds": training_parts(small, args.rounds)},
            "infer": {**_described(wide), "seconds": inference_parts(wide, args.rounds)},
        }

    def peers() -> Iterator[list[dict[str, Any]]]:
        entries: list[dict[str, Any]] = []
        for mode, setting in itertools.product(modes, settings):
            entries.append(_compare(names, mode, setting, args.rounds, args.threads))
            yield entries

    measure: dict[str, Callable[[], Any]] = {
        "parts": parts,
        "text": lambda: {**_described(wide), **added_by_text(wide, 3 * args.rounds)},
        "large": lambda: large_picture(args.device, PRECISIONS[args.precision], args.threads),
        "growth": lambda: measure_growth(
            curves(args.device, PRECISIONS[args.precision]), args.threads
        ),
        "loading": measure_loading,
    }
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "machine": {**_machine(args), "memory_kept": args.device == "cpu" and keep_memory()}
    }
    for section in sections:
        for result in peers() if section == "peers" else [measure[section]()]:
            found[section] = result
            _write(folder, found)  # now, so that a later failure loses no measurement
        release_memory()
    print((folder / "benchmark.md").read_text())
    print(f"figures and plots: {folder}")


def _described(setting: Setting) -> dict[str, Any]:
    return {"size": setting.size, "num_classes": setting.num_classes}


def _write(folder: Path, found: Mapping[str, Any]) -> None:
    (folder / "benchmark.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "benchmark.md").write_text(tables(found))
    if "peers" in found:
        draw_peers(found, folder / "peers.png")
    if "growth" in found:
        draw_growth(found, folder / "growth.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
