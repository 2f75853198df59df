"""The table of metrics: its names can be told apart, and scores of other names are left out."""

from __future__ import annotations

from clipmask.evaluation import METRICS, known_scores


def test_names_of_metrics_differ() -> None:
    names = [metric.name for metric in METRICS]
    of_class = [metric.of_class for metric in METRICS if metric.of_class]
    assert len({*names, *of_class}) == len(names) + len(of_class)
    assert all("-" not in name for name in [*names, *of_class])


def test_scores_of_other_evaluators_are_left_out() -> None:
    scores = {"mIoU": 1.0, "IoU-a-b": 2.0, "BoundaryIoU-a": 3.0, "min(IoU, B-Iou)-a": 4.0}
    assert known_scores(scores) == {"mIoU": 1.0, "IoU-a-b": 2.0}
