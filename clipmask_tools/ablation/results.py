"""One small JSON file for each finished run: what was trained, on what, and what came out.

    {"run": "no_text", "seed": 0, "settings": {...}, "iterations": 600, "images_per_step": 4,
     "seconds_per_step": 0.48, "training_seconds": 288, "hardware": {...}, "versions": {...},
     "parameters": ..., "trainable": ..., "flops": ..., "size": [360, 480], "curve": [[200, 41.2],
         ...],
     "boundary_iou": {"road": 58.4, ...}, "scores": {dataset: {"classes": [...], "confusion":
         [[...], ...]}}}

``confusion`` counts pixels, truth by prediction; all other scores follow from it. ``boundary_iou``,
in percent, is of the classes that the dataset shows by which the run is judged. Nothing in the file
tells where the run was: files are named without their folders.
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

# Settings that differ by the grid's own doing: a control's text is drawn for each seed (the second
# key stands in results of earlier versions), and folds have datasets of their own.
_DRAWN = ("MODEL.CLIP.EMBEDDINGS", "MODEL.CLIP.CONTROL_DRAW")
_OF_FOLDS = ("DATASETS.TRAIN", "DATASETS.TEST")


@dataclass(frozen=True)
class Result:
    """A finished run; see the module for the fields."""

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
        """The one that the run is judged by, the first of DATASETS.TEST."""
        return next(iter(self.scores))

    def of(self, dataset: str) -> Scores:
        """Returns IoU of each class, their mean and the share of right pixels, in percent."""
        return scores(np.array(self.scores[dataset]["confusion"], dtype=np.int64))

    @property
    def mean_boundary_iou(self) -> float:
        """Over the classes, in percent; nan where none was measured."""
        return statistics.fmean(self.boundary_iou.values()) if self.boundary_iou else math.nan

    def iou(self, dataset: str) -> dict[str, float]:
        """Returns the IoU of each class by its name, in percent; nan for one that the truth
        lacks.
        """
        return dict(
            zip(self.scores[dataset]["classes"], self.of(dataset).iou.tolist(), strict=True)
        )


def result_path(folder: Path, grid: Grid, name: str, seed: int) -> Path:
    """Returns where the result of a run belongs: ``folder``/GRID/NAME_seedN.json."""
    return folder / grid.name / f"{name}_seed{seed}.json"


def collect(folder: Path, cfg: CfgNode, variant: Variant, seed: int) -> Result:
    """Gathers the result of a finished run from its output folder.

    Args:
        folder: OUTPUT_DIR of ``train_net.py``.
        cfg: the config that the run was given.
        variant: of the grid.
        seed: of the run.

    Raises:
        UserError: the folder lacks something that a finished run has.
    """
    lines = _json_lines(folder / "metrics.json")
    # Steps after the last checkpoint stand there twice where a run was interrupted: the later ones
    # made the model.
    times = {line["iteration"] + 1: line["time"] for line in lines if line.get("time")}
    if not times:
        raise UserError(
            f"{folder / 'metrics.json'}: no step's time is in it; was SOLVER.MAX_ITER reached?"
        )
    # a line's time is the mean over the steps since the line before
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
    """Writes a result file, one line a field."""
    path.parent.mkdir(parents=True, exist_ok=True)
    items = (
        f" {json.dumps(name)}: {json.dumps(value, sort_keys=name != 'scores')}"
        for name, value in asdict(result).items()
    )
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
            f"result file {path}: {error}; it must be a JSON object of {needed}. Delete it to run"
            " it anew"
        ) from error


def read_results(folder: Path, grid: Grid) -> dict[str, dict[int, Result]]:
    """Reads all results of a grid that are there.

    Args:
        folder: of all grids' results.
        grid: the grid.

    Returns:
        Name of the variant to seed to result, in the grid's order; variants without a result are
        left out.

    Raises:
        UserError: a file is damaged or renamed, or two runs had other budgets, so that one table of
            them would mislead.
    """
    found: dict[str, dict[int, Result]] = {}
    for name in grid.variants:
        own = [
            _read_named(path) for path in sorted((folder / grid.name).glob(f"{name}_seed*.json"))
        ]
        if own:
            found[name] = {
                result.seed: result for result in sorted(own, key=lambda result: result.seed)
            }
    every = [result for of_seeds in found.values() for result in of_seeds.values()]
    for result in every[1:]:
        same = next(iter(found[result.run].values()))
        if not grid.folds:  # whose rows are recipes: they may differ in anything
            _refuse_mixed(grid, every[0], result, budget=True)
        _refuse_mixed(grid, same, result, budget=False)
    return found


def _read_named(path: Path) -> Result:
    result = read_result(path)
    if path.name != f"{result.run}_seed{result.seed}.json":
        raise UserError(
            f"result file {path}: it says that it is of {result.run}, seed {result.seed}; give it"
            " back its name, or delete it"
        )
    return result


def _refuse_mixed(grid: Grid, first: Result, second: Result, *, budget: bool) -> None:
    drawn = any(grid.variants[result.run].text for result in (first, second))
    left_out = set(_DRAWN if drawn else ()) | set(_OF_FOLDS if grid.folds else ())
    own, other = (_without(result.settings, left_out) for result in (first, second))
    differ = differences(own, other, budget=budget)
    if differ:
        raise UserError(
            f"results of {grid.path}: {first.run} (seed {first.seed}) and {second.run} (seed"
            f" {second.seed}) can't stand in one table, they were made with different settings:"
            f" {'; '.join(differ[:4])}. Delete those that are out of date and run them anew"
        )


def _without(settings: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def hardware(device: str) -> dict[str, Any]:
    """Returns what the runs of this process are computed on.

    Args:
        device: MODEL.DEVICE; cuda means a GPU only where there is one.
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
    """Reads the confusion matrix that an evaluation wrote."""
    header, *rows = csv.reader(
        _read(folder / "inference" / dataset / "confusion_matrix.csv").splitlines()
    )
    return {"classes": header[1:], "confusion": [[int(cell) for cell in row[1:]] for row in rows]}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in _read(path).splitlines()]
    except ValueError as error:
        raise UserError(
            f"{path}: a line is no JSON ({error}); take that line out, or delete the run's folder"
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: {os.strerror(error.errno or 0)}; the run in this folder is not finished"
        ) from error


def stored_settings(folder: Path) -> dict[str, Any] | None:
    """Returns the settings that an unfinished run in ``folder`` goes by; None where there is no
    run.
    """
    path = folder / "config.yaml"
    return settings(stored_cfg(path.read_text(encoding="utf-8"), path)) if path.is_file() else None
