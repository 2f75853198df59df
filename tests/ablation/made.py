"""Results, grids and a dataset made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipmask_tools.ablation.grid import Grid, read_grid
from clipmask_tools.ablation.results import Result, result_path, write_result

CLASSES = ["road", "sky", "car"]
# Truth by prediction. IoU: road 6 / (8 + 8 - 6) = 60 %, sky 8 / (10 + 10 - 8) = 66.67 %, car 0.
CONFUSION = [[6, 2, 0], [2, 8, 0], [0, 0, 0]]


def made_result(run: str = "full", seed: int = 0, right: float = 0.8, **changes: Any) -> Result:
    """A result whose every class has the share ``right`` of its 1000 pixels right and the others
    taken for the next.
    """
    count, wrong = round(1000 * right), 1000 - round(1000 * right)
    confusion = (
        count * np.eye(3, dtype=int) + wrong * np.roll(np.eye(3, dtype=int), 1, axis=1)
    ).tolist()
    result = Result(
        run=run,
        seed=seed,
        settings={
            "DATASETS.TRAIN": ["made_train"],
            "SOLVER.MAX_ITER": 600,
            "INPUT.CROP.SIZE": [192, 256],
        },
        iterations=600,
        images_per_step=4,
        seconds_per_step=0.5,
        training_seconds=300,
        hardware={"device": "cpu", "name": "Abacus", "count": 1},
        versions={"torch": "2.4"},
        parameters=2_950_000,
        trainable=2_900_000,
        flops=4_270_000_000,
        size=[360, 480],
        curve=[[200, 30.0 + seed], [400, 40.0 + seed], [600, 50.0 + seed]],
        boundary_iou={"road": 50.0 * right, "sky": 60.0 * right},
        scores={"made_val": {"classes": CLASSES, "confusion": confusion}},
    )
    return dataclasses.replace(result, **changes)


def made_grid(folder: Path, text: str = "full: full model\n  less: less of it") -> Grid:
    """Writes and reads a grid whose runs are ``text``; each has an empty config."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "grid.yaml"
    path.write_text(f"against: full\nseeds: [0, 1]\nruns:\n  {text}\n")
    for line in text.splitlines():
        name = line.strip().split(":")[0]
        (folder / f"{name}.yaml").write_text("SOLVER: {MAX_ITER: 6}\n")
    return read_grid(path)


def write_results(folder: Path, grid: Grid, *results: Result) -> None:
    """Puts results where the tool looks for them."""
    for result in results:
        write_result(result_path(folder, grid, result.run, result.seed), result)


def write_pictures(root: Path, count: int = 2, size: tuple[int, int] = (48, 64)) -> None:
    """Writes pictures and label maps of ``CLASSES`` for a dataset below ``root``."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            labels = np.sort(generator.integers(0, 3, size), axis=0).astype(np.uint8)
            image = np.array([[90, 90, 90], [90, 140, 220], [200, 60, 40]], np.uint8)[labels]
            Image.fromarray(image).save(root / split / f"{index}.png")
            Image.fromarray(labels).save(root / split / f"{index}_labels.png")
