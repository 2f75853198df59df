"""Scores of label maps beyond Detectron2's: boundary IoU and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.builtin.evaluation import gather_to_main
from clipmask.d2 import DatasetEvaluator, MetadataCatalog
from clipmask.data import label_reader
from clipmask.data.catalog import load_dataset
from clipmask.evaluation.boundary import boundary_counts
from clipmask.evaluation.confusion import MOST_DRAWN, draw_confusion, write_confusion
from clipmask.evaluation.together import predicted_labels


class LabelMapEvaluator(DatasetEvaluator):
    """Boundary IoU (see ``boundary.py``) and the confusion matrix of a dataset, over all
    processes.

    Args:
        dataset_name: registered, with label maps.
        output_dir: where confusion_matrix.csv and, up to 200 classes, confusion_matrix.png go;
            None: not written.
        read_labels: what to read them with, called as what ``label_reader`` returns, which is the
            default.

    Raises:
        UserError: the dataset is not registered, or its metadata are not usable.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: Path | None = None,
        read_labels: Callable[..., NDArray[np.integer]] | None = None,
    ) -> None:
        self._read_labels = read_labels or label_reader(dataset_name)
        # each error occurs when the map is read
        records = load_dataset(dataset_name, labelled=True, present=False).records
        self._files = {
            str(record["file_name"]): str(record["sem_seg_file_name"]) for record in records
        }
        metadata = MetadataCatalog.get(dataset_name)
        self._names = tuple(metadata.stuff_classes)
        self._ignore_label: int = metadata.ignore_label
        kinds = map(np.min_scalar_type, (len(self._names), self._ignore_label))
        self._dtype = np.promote_types(*kinds)  # all ids, and K for void: a byte a pixel for most
        self._output_dir = output_dir
        self.reset()

    def reset(self) -> None:
        """Forgets all batches seen."""
        count = len(self._names)
        # (true, predicted); the last is void
        self._confusion = np.zeros((count + 1, count + 1), dtype=np.int64)
        self._shared = np.zeros(count, dtype=np.int64)  # |G_d ∩ P_d| of each class
        self._either = np.zeros(count, dtype=np.int64)  # |G_d ∪ P_d|

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Counts a batch.

        Args:
            inputs: dataset dicts; ``file_name`` finds the label map in the catalog.
            outputs: for each, ``labels``, (H, W) class ids at the size of the label map, or
                ``sem_seg``, (K, H, W) scores.

        Raises:
            UserError: a label map is missing, unreadable, of another size, or holds an id that is
                no class.
        """
        count = len(self._names)
        for sample, output in zip(inputs, outputs, strict=True):
            predicted = predicted_labels(output)
            truth = self._read_labels(
                self._files[str(sample["file_name"])], dtype=self._dtype, size=predicted.shape
            )
            truth = np.where(truth == self._ignore_label, count, truth)
            cells = np.multiply(truth, count + 1, dtype=np.int64) + predicted
            cells = np.bincount(cells.ravel(), minlength=self._confusion.size)
            self._confusion += cells.reshape(self._confusion.shape)
            shared, either = boundary_counts(truth, predicted, count)
            self._shared += shared
            self._either += either

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Writes the confusion matrix and returns ``{"sem_seg": {"mBIoU": ..., "BIoU-<class>":
        ...}}``, in percent.

        A class that does not occur in the truth is nan, and so is one that has no contour in truth
        or prediction; mBIoU is the mean over the others. None on all processes but the main one.
        """
        parts = gather_to_main((self._confusion, self._shared, self._either))
        if not parts:
            return None
        confusion, shared, either = (np.sum(counts, axis=0) for counts in zip(*parts, strict=True))
        if self._output_dir is not None:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            among = confusion[:-1, :-1]
            write_confusion(among, self._names, self._output_dir / "confusion_matrix.csv")
            if len(self._names) <= MOST_DRAWN:
                draw_confusion(among, self._names, self._output_dir / "confusion_matrix.png")
        scored = (confusion[:-1, :-1].sum(axis=1) > 0) & (either > 0)
        scores = np.where(scored, 100 * shared / np.maximum(either, 1), math.nan)
        mean = float(scores[scored].mean()) if scored.any() else math.nan
        of_classes = {
            f"BIoU-{name}": float(score) for name, score in zip(self._names, scores, strict=True)
        }
        return {"sem_seg": {"mBIoU": mean, **of_classes}}
