"""Evaluation on the test datasets: during training, at its end, and of a checkpoint."""

from __future__ import annotations

import functools
import json
import logging
import math
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from lightning_fabric import Fabric

from clipmask.config import leaf_keys
from clipmask.d2 import DatasetEvaluator, SemSegEvaluator
from clipmask.data import build_test_loader, label_reader
from clipmask.data.catalog import class_names
from clipmask.data.guarded import read_by_format
from clipmask.engine.assembly import (
    assemble,
    evaluated_vocabularies,
    load_same_model,
    warn_of_another_network,
)
from clipmask.engine.channels import fit_channels
from clipmask.engine.folder import newest_checkpoint, run_folder
from clipmask.engine.launch import is_main_process, launched
from clipmask.engine.random_state import preserved_random_state
from clipmask.errors import UserError
from clipmask.evaluation import (
    LabelMapEvaluator,
    ServerIdEvaluator,
    Together,
    evaluate,
    known_scores,
    labels_withheld,
    per_class_table,
    server_ids,
)
from clipmask.inference.views import with_views
from clipmask.modeling import ClipMask
from clipmask.paths import user_path
from clipmask.ranges import check_ranges
from clipmask.vocabulary import shown_names
from clipmask.weights.checkpoint import (
    describe,
    load_checkpoint,
    trained_vocabularies,
    write_atomically,
)

logger = logging.getLogger(__name__)

Results = dict[str, dict[str, Any]]  # dataset -> {"sem_seg": {"mIoU": ..., ...}}


def evaluate_dataset(
    cfg: CfgNode, model: ClipMask, fabric: Fabric, name: str, folder: Path | None
) -> dict[str, Any]:
    """Scores a model on one dataset. The images are divided among all processes, and every process
    must call this function.

    Args:
        cfg: the config.
        model: the bare model, on the device. Its mode and the random states are restored.
        fabric: launched.
        name: of the dataset.
        folder: OUTPUT_DIR; under inference/``name`` go the predictions, the confusion matrix and,
            where the dataset has ``server_ids``, label PNGs in server_ids/. None writes nothing.

    Returns:
        ``{"sem_seg": {...}}`` in the main process, with ``cityscapes`` beside it where Cityscapes'
        official script ran; empty in others, and for a dataset whose labels are withheld.

    Raises:
        UserError: a file can't be read or written.
    """
    evaluator = build_evaluator(name, None if folder is None else folder / "inference" / name)
    if not evaluator.evaluators:
        return {}
    with preserved_random_state():
        loader = build_test_loader(
            cfg,
            name,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            pin_memory=fabric.device.type == "cuda",
        )
        shown = fabric.is_global_zero and sys.stderr.isatty()
        try:
            results = evaluate(with_views(cfg, model), loader, evaluator, progress=shown)
        except OSError as error:
            raise UserError(
                f"the evaluation on {name} stopped: {describe(error)}; the weights are saved"
            ) from error
    return {task: _readable(scores, class_names(name)) for task, scores in results.items()}


def _readable(scores: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Calls the scores of a class with synonyms, ``IoU-car;automobile``, by its first:
    ``IoU-car``.
    """
    shown = dict(zip(names, shown_names(names), strict=True))
    readable = {}
    for key, value in scores.items():
        metric, dash, name = key.partition("-")
        if dash and name in shown:
            key = f"{metric}-{shown[name]}"
        readable[key] = value
    return readable


class _Scores(SemSegEvaluator):
    """``SemSegEvaluator`` with the scores that both of its implementations have.

    If OpenCV is installed, Detectron2's implementation adds boundary scores of its own. They are
    left out, because installed packages must not change the metrics. These scores also depend on
    the order of the classes: they compare differences of neighbouring ids.
    """

    def __init__(self, name: str, folder: Path | None, read_labels: Callable[..., Any]) -> None:
        self._read, self._folder = read_labels, folder
        self._size: tuple[int, int] | None = None
        with read_by_format():
            super().__init__(
                name,
                output_dir=None if folder is None else str(folder),
                sem_seg_loading_fn=self._read_at_size,
            )
        self._compute_boundary_iou = False  # Detectron2's: not even computed

    def _read_at_size(self, path: str, dtype: Any = int) -> Any:
        return self._read(path, dtype, self._size)

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[Any]) -> None:
        for sample, output in zip(inputs, outputs, strict=True):
            height, width = output["sem_seg"].shape[-2:]
            # an error about a label map of another size names the file, on both sides
            self._size = (height, width)
            super().process([sample], [output])

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        results = super().evaluate()
        if not results:
            return None
        scores = known_scores(results["sem_seg"])
        if self._folder is not None:  # numpy's numbers would keep torch.load from reading it
            torch.save(scores, self._folder / "sem_seg_evaluation.pth")
        return OrderedDict(sem_seg=scores)


def build_evaluator(name: str, output: str | Path | None = None) -> Together:
    """Returns the evaluator of a registered dataset: IoU, accuracy, boundary IoU, and the scores
    that are special to the dataset.

    Args:
        name: of the dataset; one whose labels are withheld is only predicted.
        output: folder for predictions, confusion matrix and label PNGs for a server; made if
            missing. None writes nothing.

    Returns:
        An evaluator for ``clipmask.evaluation.evaluate`` and for Detectron2's
        ``inference_on_dataset``.

    Raises:
        UserError: the dataset is not registered or lacks something.
    """
    folder = None if output is None else Path(output)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    evaluators: list[DatasetEvaluator] = []
    if not labels_withheld(name):
        read_labels = _read_once(name)
        evaluators = [
            _Scores(name, folder, read_labels),
            LabelMapEvaluator(name, folder, read_labels),
        ]
    if folder is not None and server_ids(name) is not None:
        evaluators.append(ServerIdEvaluator(name, folder / "server_ids"))
    return Together(evaluators)


def _read_once(name: str) -> Callable[..., Any]:
    """Returns a ``label_reader`` for several evaluators: a file is decoded for the first of
    them.
    """
    read = functools.lru_cache(maxsize=1)(functools.partial(label_reader(name), dtype=None))

    def read_again(path: str, dtype: Any = int, size: tuple[int, int] | None = None) -> Any:
        return read(path, size=size).astype(dtype)

    return read_again


def evaluate_datasets(
    cfg: CfgNode, model: ClipMask, fabric: Fabric, folder: Path | None = None
) -> Results:
    """Scores a model on each of DATASETS.TEST; see ``evaluate_dataset``. Empty in all but the main
    process.
    """
    results: Results = {}
    for name in cfg.DATASETS.TEST:
        scores = evaluate_dataset(cfg, model, fabric, name, folder)
        if scores:
            results[name] = scores
    return results


def write_scores(
    folder: Path, results: Results, weights: str | Path, iteration: int | None
) -> None:
    """Writes inference/DATASET/scores.json for each dataset; numbers that are not finite become
    null.

    Args:
        folder: OUTPUT_DIR.
        results: of an evaluation, in the main process.
        weights: the checkpoint that was scored.
        iteration: its last finished step, 0-based; None where it does not say.

    Raises:
        UserError: a file can't be written.
    """
    for dataset, tasks in results.items():
        scores = {task: _finite(values) for task, values in tasks.items()}
        content = {"dataset": dataset, "weights": str(weights), "iteration": iteration, **scores}
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        path = folder / "inference" / dataset / "scores.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in scores.items()}


def flatten(results: Results) -> dict[str, float]:
    """Names each score as Detectron2 does: ``sem_seg/mIoU``, after ``dataset/`` where there are
    several datasets.

    If there are several, ``mean/sem_seg/mIoU`` is added, the mean over the datasets.
    """
    flat: dict[str, float] = {}
    for dataset, tasks in results.items():
        for task, scores in tasks.items():
            start = f"{task}/"
            if len(results) > 1:
                start = f"{dataset}/{start}"
            flat |= {start + key: float(value) for key, value in scores.items()}
    if len(results) > 1:
        flat["mean/sem_seg/mIoU"] = sum(
            tasks["sem_seg"]["mIoU"] for tasks in results.values()
        ) / len(results)
    return flat


def score_name(datasets: Sequence[str]) -> str:
    """Returns what ``flatten`` calls the score that the best checkpoint is chosen by: mIoU, the
    mean over datasets.
    """
    if len(datasets) < 2:
        return "sem_seg/mIoU"
    return "mean/sem_seg/mIoU"


def check_expected(cfg: CfgNode, results: Results) -> None:
    """Compares scores with TEST.EXPECTED_RESULTS, as Detectron2's ``verify_results`` does.

    Args:
        cfg: its items are [task, metric, value, tolerance], such as ["sem_seg", "mIoU", 74.8, 0.5];
            where several datasets are tested, the task is dataset/task.
        results: of all processes.

    Raises:
        UserError: a score is missing, not finite, or further from its value than the tolerance.
    """
    scores, faults = flatten(results), []
    for item in cfg.TEST.EXPECTED_RESULTS:
        if not isinstance(item, list | tuple) or len(item) != 4:
            raise UserError(f"TEST.EXPECTED_RESULTS {item!r}: say [task, metric, value, tolerance]")
        task, metric, value, tolerance = item
        score = scores.get(f"{task}/{metric}", math.nan)
        if not abs(score - value) <= tolerance:
            faults.append(f"{task}/{metric} is {score:.2f}, not {value} +- {tolerance}")
    if faults:
        raise UserError(f"TEST.EXPECTED_RESULTS: {'; '.join(faults)}")
    if cfg.TEST.EXPECTED_RESULTS:
        logger.info("all of TEST.EXPECTED_RESULTS are as expected")


def log_tables(results: Results) -> None:
    """Logs the per-class table of each dataset, and the means of Cityscapes' official script."""
    for dataset, scores in results.items():
        logger.info("%s:\n%s", dataset, per_class_table(scores))
        if "cityscapes" in scores:
            means = scores["cityscapes"]
            logger.info(
                "Cityscapes' script: IoU %.2f of classes, %.2f of categories",
                means["IoU"],
                means["IoU_sup"],
            )
    if len(results) > 1:
        logger.info(
            "mean of %d datasets: mIoU %.2f", len(results), flatten(results)["mean/sem_seg/mIoU"]
        )


def evaluate_checkpoint(
    cfg: CfgNode, *, resume: bool = False, num_gpus: int = 1, num_machines: int = 1
) -> Results:
    """Scores a checkpoint on DATASETS.TEST and logs the tables.

    A dataset with other classes than the checkpoint's is scored too: they become the model's
    vocabulary. One without labels is only predicted, if it has ``server_ids``.

    Args:
        cfg: MODEL.WEIGHTS names the checkpoint.
        resume: take OUTPUT_DIR's last checkpoint, where there is one, instead.
        num_gpus: devices (on a CPU: processes) per machine.
        num_machines: machines.

    Returns:
        Dataset to ``{"sem_seg": {...}}``, in the main process.

    Raises:
        UserError: no checkpoint is named, it is not one, or it does not fit the config.
    """
    check_ranges(leaf_keys(cfg))
    folder = user_path(cfg.OUTPUT_DIR)
    with run_folder(folder, is_main_process()), launched(cfg, num_gpus, num_machines) as fabric:
        found = None
        source = cfg.MODEL.WEIGHTS
        if resume and (found := newest_checkpoint(folder, training=False)):
            source = found.path
        if not source:
            raise UserError(
                "nothing to evaluate: say MODEL.WEIGHTS PATH, or --resume for the last one of"
                f" {folder}"
            )
        if not cfg.DATASETS.TEST:
            raise UserError("DATASETS.TEST is empty: name the dataset(s) to evaluate on")
        start = time.perf_counter()
        checkpoint = found.checkpoint if found else load_checkpoint(source)
        cfg = fit_channels(cfg, checkpoint)
        tested = evaluated_vocabularies(cfg, fabric, withheld=True)
        trained = trained_vocabularies(checkpoint) or (tested[cfg.DATASETS.TEST[0]],)
        model = assemble(cfg, fabric, trained, str(source), checkpoint).to(fabric.device)
        load_same_model(model, checkpoint, checkpoint["model"], str(source))
        warn_of_another_network(checkpoint, cfg, str(source))
        logger.info("evaluating %s on %s", source, fabric.device)
        results: Results = {}
        for name in cfg.DATASETS.TEST:  # before any is scored: their names may not be had
            model.check_vocabulary(tested[name])
        for name in cfg.DATASETS.TEST:
            if tested[name].label_space != model.vocabulary.label_space:
                logger.info(
                    "%s is segmented into classes of its own: %s",
                    name,
                    ", ".join(tested[name].shown),
                )
            scores = evaluate_dataset(cfg, model, fabric, name, folder)
            if scores:
                results[name] = scores
        log_tables(results)
        write_scores(folder, results, source, checkpoint.get("iteration"))
        took = timedelta(seconds=round(time.perf_counter() - start))
        logger.info("predictions: %s; took %s", folder / "inference", took)
        if fabric.is_global_zero:
            check_expected(cfg, results)
        return results
