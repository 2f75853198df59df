"""Predictions over a dataset -> scores and the table of them."""

from clipmask.evaluation.evaluate import evaluate, per_class_table

__all__ = ["evaluate", "per_class_table"]
