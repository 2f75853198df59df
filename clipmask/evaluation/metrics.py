"""The table of metrics: what is reported of semantic segmentation, and under which names.

To add a metric, add its row here and let an evaluator of ``build_evaluator``
(``clipmask/engine/evaluation.py``) return its scores under these names. It then appears in the
printed table, in ``metrics.json`` and in ``scores.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Metric(NamedTuple):
    """One metric, in percent; higher is better.

    Attributes:
        name: of the score over a dataset.
        of_class: the score of the class ``car`` is called ``{of_class}-car``; empty if there is no
            score of single classes.
        meaning: what is measured, with t, p and r pixels of a class in truth, in the prediction and
            in both.
    """

    name: str
    of_class: str
    meaning: str


METRICS = (
    Metric("mIoU", "IoU", "r / (t + p - r), the mean over the classes in the truth"),
    Metric("fwIoU", "", "IoU weighted by t"),
    Metric("mACC", "ACC", "r / t, the mean over the classes in the truth"),
    Metric("pACC", "", "the share of all labelled pixels that are right"),
    Metric("mBIoU", "BIoU", "IoU of the pixels near boundaries (arXiv 2103.16562), the mean"),
)


def known_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Returns the scores that are in the table, and leaves others out."""
    names = {metric.name for metric in METRICS}
    of_class = {metric.of_class for metric in METRICS if metric.of_class}
    known: dict[str, float] = {}
    for key, value in scores.items():
        metric, dash, _ = key.partition("-")
        if key in names or (dash and metric in of_class):
            known[key] = float(value)
    return known
