"""The evaluation loop over a test set, and the printed table of its scores."""

from __future__ import annotations

import math
import sys
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

from clipmask.d2 import DatasetEvaluator
from clipmask.evaluation.metrics import METRICS


def evaluate(
    model: Callable[[list[dict[str, Any]]], Sequence[Any]],
    loader: Iterable[list[dict[str, Any]]],
    evaluator: DatasetEvaluator,
    *,
    progress: bool = True,
) -> OrderedDict[str, Any]:
    """Runs ``model`` over this process' share of a test set and returns the scores over all of it.

    The model runs in evaluation mode without gradients; afterwards each of its submodules is in the
    mode it was in. Hand in the module itself, not its DistributedDataParallel wrapper: processes
    may have unequal numbers of batches.

    Args:
        model: dataset dicts in, one output for each out, ``{"sem_seg": (K, H, W)}`` for
            ``SemSegEvaluator``.
        loader: batches of dataset dicts; ``len`` gives the bar its end.
        evaluator: any evaluator; reset first.
        progress: draw a bar on stderr, on the main process only.

    Returns:
        What the evaluator returned, such as ``{"sem_seg": {"mIoU": ...}}``; empty on all but the
        main process.
    """
    is_main = not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
    bar = tqdm(
        total=len(loader) if isinstance(loader, Sized) else None,
        desc="evaluating",
        unit="batch",
        disable=not (progress and is_main),
        # seconds; a redirected bar is a line for each update
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
    )
    evaluator.reset()
    images, start = 0, time.perf_counter()
    with evaluation_mode(model), torch.inference_mode(), bar:
        for batch in loader:
            evaluator.process(batch, model(batch))
            images += len(batch)
            bar.set_postfix_str(
                f"{images / (time.perf_counter() - start):.1f} images/s", refresh=False
            )
            bar.update()
    return OrderedDict(evaluator.evaluate() or {})


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Switches a module to evaluation, and restores the mode of each submodule afterwards.

    Each has its own, because frozen parts stay in evaluation mode during training.

    Args:
        model: the module; other callables have no mode and are left alone.
    """
    modes = {}
    if isinstance(model, nn.Module):
        modes = {module: module.training for module in model.modules()}
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def per_class_table(results: Mapping[str, Any]) -> str:
    """Lays out the scores of semantic segmentation for a terminal.

    Args:
        results: what ``evaluate`` returned with a ``SemSegEvaluator``, alone or with a
            ``LabelMapEvaluator``: ``{"sem_seg": {metric: percent}}``.

    Returns:
        A line for each class with its scores ('-' where it does not occur), then one with the
        scores of the dataset; no newline at the end. The metrics are those of ``METRICS`` that
        ``results`` has.
    """
    scores: Mapping[str, float] = results["sem_seg"]
    names = [key.removeprefix("IoU-") for key in scores if key.startswith("IoU-")]
    width = max(map(_columns, [*names, "class"]))

    def row(name: str, *cells: str) -> str:
        return name + " " * (width - _columns(name)) + "".join(f"{cell:>9}" for cell in cells)

    metrics = [metric for metric in METRICS if metric.name in scores]
    columns = [metric.of_class for metric in metrics if metric.of_class]
    rule = "-" * (width + 9 * len(columns))
    rows = []
    for name in names:
        values = [scores.get(f"{column}-{name}", math.nan) for column in columns]
        rows.append(row(name, *map(_percent, values)))
    means = [f"{metric.name} {_percent(scores[metric.name])}" for metric in metrics]
    return "\n".join([row("class", *columns), rule, *rows, rule, "   ".join(means)])


def _percent(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.2f}"


def _columns(text: str) -> int:
    """Returns the columns that ``text`` takes in a terminal, where an East Asian character takes
    two.
    """
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
