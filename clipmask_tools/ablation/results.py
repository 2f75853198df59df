"""Result files: one small JSON file for each finished run, with its settings and scores.

    {"run": "no_text", "seed": 0, "settings": {...}, "iterations": 600, "images_per_step": 4,
     "seconds_per_step": 0.48, "training_seconds": 288, "hardware": {...}, "versions": {...},
     "parameters": ..., "trainable": ..., "flops": ..., "size": [360, 480], "curve": [[200, 41.2],
         ...],
     "boundary_iou": {"road": 58.4, ...}, "scores": {dataset: {"classes": [...], "confusion":
         [[...], ...]}}}

``confusion`` counts pixels, truth (rows) by prediction (columns); the other scores are computed
from it. ``boundary_iou``, in percent, is that of the classes in the first test dataset. Files are
named without their folders, so that the result does not depend on the machine.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import statistics
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode

from clipmask.config import stored_cfg
from clipmask.engine.evaluation import score_name
from clipmask.errors import UserError
from clipmask.evaluation.scores import Scores, scores
from clipmask.weights.checkpoint import load_checkpoint, write_atomically
from clipmask_tools.ablation.cost import measure_cost
from clipmask_tools.ablation.grid import Grid, Variant
from clipmask_tools.ablation.settings import differences, settings

# Settings that the grid itself changes: controls have other embeddings for each seed (the second
# key is in results of earlier versions), and each fold has its own datasets.
_DRAWN = ("MODEL.CLIP.EMBEDDINGS", "MODEL.CLIP.CONTROL_DRAW")
_OF_FOLDS = ("DATASETS.TRAIN", "DATASETS.TEST")


@dataclass(frozen=True)
class Result:
    """The result of a finished run; the docstring of the module describes the fields."""

    run: str
    seed: int
    settings: dict[str, Any]
    iterations: int
    images_per_step: int
    seconds_per_step: float
    training_seconds: float
    hardware: dict[str, Any]
    versions: dict[str, str]
    parameters: int
    trainable: int
    flops: int
    size: list[int]
    curve: list[list[float]]
    boundary_iou: dict[str, float]
    scores: dict[str, dict[str, Any]]

    @property
    def dataset(self) -> str:
        """The dataset of the main score, the first of DATASETS.TEST."""
        return next(iter(self.scores))

    def of(self, dataset: str) -> Scores:
        """Returns the IoU of each class, the mIoU and the pixel accuracy, in percent."""
        return scores(np.array(self.scores[dataset]["confusion"], dtype=np.int64))

    @property
    def mean_boundary_iou(self) -> float:
        """The mean boundary IoU of the classes, in percent; nan if it was not measured."""
        return statistics.fmean(self.boundary_iou.values()) if self.boundary_iou else math.nan

    def iou(self, dataset: str) -> dict[str, float]:
        """Returns the IoU by class name, in percent; nan for classes that the truth lacks."""
        names = self.scores[dataset]["classes"]
        return dict(zip(names, self.of(dataset).iou.tolist(), strict=True))


def result_path(folder: Path, grid: Grid, name: str, seed: int) -> Path:
    """Returns the path of the result of a run, ``folder``/GRID/NAME_seedN.json."""
    return folder / grid.name / f"{name}_seed{seed}.json"


def collect(folder: Path, cfg: CfgNode, variant: Variant, seed: int) -> Result:
    """Gathers the result of a finished run from its output folder.

    Args:
        folder: OUTPUT_DIR of ``train_net.py``.
        cfg: the config of the run.
        variant: the variant of the grid.
        seed: the seed of the run.

    Raises:
        UserError: the folder lacks a file or an entry of a finished run.
    """
    lines = _json_lines(folder / "metrics.json")
    # After an interruption, the steps since the last checkpoint are there twice; the later ones
    # count.
    times = {line["iteration"] + 1: line["time"] for line in lines if line.get("time")}
    if not times:
        raise UserError(
            f"{folder / 'metrics.json'}: has no time of a step; was SOLVER.MAX_ITER reached?"
        )
    # the time in a line is the mean over the steps since the line before
    since = np.diff([0, *sorted(times)])
    key = score_name(cfg.DATASETS.TEST)
    curve = {
        line["iteration"] + 1: round(line[key], 3) for line in lines if line.get(key) is not None
    }
    cost = measure_cost(cfg)
    last: dict[str, Any] = next((line for line in reversed(lines) if line.get(key) is not None), {})
    boundary = key.removesuffix("mIoU") + "BIoU-"
    return Result(
        run=variant.name,
        seed=seed,
        settings=settings(cfg),
        iterations=max(times),
        images_per_step=cfg.SOLVER.IMS_PER_BATCH,
        seconds_per_step=round(statistics.median(times.values()), 4),
        training_seconds=round(float(since @ [times[step] for step in sorted(times)])),
        hardware=hardware(cfg.MODEL.DEVICE),
        versions=load_checkpoint(folder / "model_final.pth")["versions"],
        parameters=cost.parameters,
        trainable=cost.trainable,
        flops=cost.flops,
        size=list(cost.size),
        curve=[[step, curve[step]] for step in sorted(curve)],
        boundary_iou={
            name.removeprefix(boundary): round(value, 3)
            for name, value in last.items()
            if name.startswith(boundary) and math.isfinite(value)
        },
        scores={
            name: _confusion(folder, name) for name in (*cfg.DATASETS.TEST, *variant.also_test)
        },
    )


def write_result(path: Path, result: Result) -> None:
    """Writes a result file with one line per field."""
    path.parent.mkdir(parents=True, exist_ok=True)
    items = []
    for name, value in asdict(result).items():
        items.append(f" {json.dumps(name)}: {json.dumps(value, sort_keys=name != 'scores')}")
    text = "{\n" + ",\n".join(items) + "\n}\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_result(path: Path) -> Result:
    """Reads a result file.

    Raises:
        UserError: it is missing, damaged or of another form.
    """
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        needed = ", ".join(field.name for field in fields(Result))
        raise UserError(
            f"result file {path}: {error}; it must be a JSON object of {needed}. To repeat the run,"
            " delete the file"
        ) from error


def read_results(folder: Path, grid: Grid) -> dict[str, dict[int, Result]]:
    """Reads all existing results of a grid.

    Args:
        folder: the folder of all grids' results.
        grid: the grid.

    Returns:
        Name of the variant -> seed -> result, in the order of the grid; variants without a result
        are left out.

    Raises:
        UserError: a file is damaged or renamed, or two runs have different budgets, so that a
            common table would be misleading.
    """
    found: dict[str, dict[int, Result]] = {}
    every: list[Result] = []
    for name in grid.variants:
        paths = (folder / grid.name).glob(f"{name}_seed*.json")
        runs = sorted(map(_read_named, sorted(paths)), key=lambda result: result.seed)
        if runs:
            found[name] = {result.seed: result for result in runs}
            every += found[name].values()
    for result in every[1:]:
        same = next(iter(found[result.run].values()))
        if not grid.folds:  # with folds, the rows are recipes, which may differ in everything
            _refuse_mixed(grid, every[0], result, budget=True)
        _refuse_mixed(grid, same, result, budget=False)
    return found


def _read_named(path: Path) -> Result:
    result = read_result(path)
    if path.name != f"{result.run}_seed{result.seed}.json":
        raise UserError(
            f"result file {path}: it is the result of {result.run}, seed {result.seed}; restore its"
            " name, or delete it"
        )
    return result


def _refuse_mixed(grid: Grid, first: Result, second: Result, *, budget: bool) -> None:
    drawn = any(grid.variants[result.run].text for result in (first, second))
    left_out = set(_DRAWN if drawn else ()) | set(_OF_FOLDS if grid.folds else ())
    one, other = (_without(result.settings, left_out) for result in (first, second))
    differ = differences(one, other, budget=budget)
    if differ:
        raise UserError(
            f"results of {grid.path}: {first.run} (seed {first.seed}) and {second.run} (seed"
            f" {second.seed}) can't be in one table, because their settings differ:"
            f" {'; '.join(differ[:4])}. Delete outdated results and repeat their runs"
        )


def _without(settings: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def hardware(device: str) -> dict[str, Any]:
    """Returns the hardware of the runs.

    Args:
        device: MODEL.DEVICE; without a GPU, cuda means the CPU.
    """
    if device.startswith("cuda") and torch.cuda.is_available():
        return {"device": "cuda", "name": torch.cuda.get_device_name(), "count": 1}
    return {"device": "cpu", "name": _cpu_name(), "count": 1}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _confusion(folder: Path, dataset: str) -> dict[str, Any]:
    """Reads the confusion matrix of an evaluation."""
    text = _read(folder / "inference" / dataset / "confusion_matrix.csv")
    header, *rows = csv.reader(text.splitlines())
    return {"classes": header[1:], "confusion": [list(map(int, row[1:])) for row in rows]}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in _read(path).splitlines()]
    except ValueError as error:
        raise UserError(
            f"{path}: a line is not JSON ({error}); remove this line, or delete the run's folder"
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: {os.strerror(error.errno or 0)}; the run in this folder is not finished"
        ) from error


def stored_settings(folder: Path) -> dict[str, Any] | None:
    """Returns the settings of an unfinished run in ``folder``; None if there is no run."""
    path = folder / "config.yaml"
    return settings(stored_cfg(path.read_text(encoding="utf-8"), path)) if path.is_file() else None
