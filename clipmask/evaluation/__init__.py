"""Predictions over a dataset -> scores, the table of them, and files to look at or to send in."""

from clipmask.evaluation.evaluate import evaluate, per_class_table
from clipmask.evaluation.label_maps import LabelMapEvaluator
from clipmask.evaluation.metrics import METRICS, known_scores
from clipmask.evaluation.server_ids import ServerIdEvaluator, labels_withheld, server_ids
from clipmask.evaluation.together import Together

__all__ = [
    "METRICS",
    "LabelMapEvaluator",
    "ServerIdEvaluator",
    "Together",
    "evaluate",
    "known_scores",
    "labels_withheld",
    "per_class_table",
    "server_ids",
]
