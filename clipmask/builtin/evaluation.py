"""The base class of evaluators, and an evaluator of semantic segmentation.

Its scores come from a confusion matrix. g is the number of pixels of a class in the ground truth, p
in the prediction, and t in both. IoU = t / (g + p - t) and ACC = t / g. mIoU and mACC are means
over the classes that occur in the ground truth; the others are nan. fwIoU is the mean IoU weighted
by g. pACC is the share of labelled pixels with the right class. Pixels with the ignore label are
left out of all scores.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image

from clipmask.builtin.catalog import DatasetCatalog, MetadataCatalog
from clipmask.errors import UserError


class DatasetEvaluator:
    """Computes the scores of a model on a dataset.

    Call ``reset``, then ``process`` for each batch, then ``evaluate``.
    """

    def reset(self) -> None:
        """Discards all batches processed so far."""

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[Any]) -> None:
        """Processes one batch.

        Args:
            inputs: the dataset dicts that the model received.
            outputs: the model's result for each of them.
        """

    def evaluate(self) -> dict[str, Any] | None:
        """Returns task -> {metric: score}; None on all processes except the main one."""


def _load_image(filename: str, dtype: Any = None) -> np.ndarray:
    """Returns the values of an image file, (H, W) or (H, W, channels).

    The values of an image with a palette are the indices.
    """
    with Image.open(filename) as image:
        return np.asarray(image, dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """Computes mIoU, fwIoU, mACC and pACC of a dataset, and IoU and ACC of each class, in percent.

    Args:
        dataset_name: a dataset with ``stuff_classes`` and ``ignore_label`` in its metadata.
        distributed: True: gather over all processes, if ``torch.distributed`` is initialised.
        output_dir: the folder for ``sem_seg_predictions.json`` (RLEs) and
            ``sem_seg_evaluation.pth``; None: they are not written.
        sem_seg_loading_fn: a function from (file name, dtype=int) to label ids (H, W).
        num_classes: compared with the metadata, and not used otherwise.
        ignore_label: replaces the one in the metadata.

    Raises:
        UserError: the metadata or the samples lack something that the scores need.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] = _load_image,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._output_dir = Path(output_dir) if output_dir else None
        self.sem_seg_loading_fn = sem_seg_loading_fn
        self.input_file_to_gt_file = dict(map(self._pair, DatasetCatalog.get(dataset_name)))
        self._class_names: list[str] = self._need(metadata.get("stuff_classes"), "stuff_classes")
        self._num_classes = len(self._class_names)
        if num_classes not in (None, self._num_classes):
            raise AssertionError(
                f"num_classes {num_classes} but {dataset_name} has {self._num_classes}"
                " stuff_classes"
            )
        if ignore_label is None:
            ignore_label = metadata.get("ignore_label")
        self._ignore_label: int = self._need(ignore_label, "ignore_label")
        to_contiguous = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
        self._dataset_ids = {new: old for old, new in to_contiguous.items()}
        self.reset()

    def _need(self, value: Any, key: str) -> Any:
        if value is None:
            raise UserError(
                f"dataset {self._dataset_name} can't be evaluated: its metadata lack {key}; "
                f"set MetadataCatalog.get({self._dataset_name!r}).{key} where it is registered"
            )
        return value

    def _pair(self, sample: dict[str, Any]) -> tuple[str, str]:
        try:
            return str(sample["file_name"]), str(sample["sem_seg_file_name"])
        except KeyError as error:
            raise UserError(
                f"dataset {self._dataset_name} can't be evaluated:"
                f" {sample.get('file_name', 'a sample')} has no {error}; sem_seg_file_name must be"
                " the file of its label ids"
            ) from error

    def reset(self) -> None:
        """Discards all batches processed so far."""
        size = self._num_classes + 1  # the last row and column are void
        self._confusion = np.zeros((size, size), dtype=np.int64)  # (predicted, true)
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[Any]) -> None:
        """Adds a batch to the confusion matrix.

        Args:
            inputs: dataset dicts with a ``file_name`` of the dataset.
            outputs: for each, ``{"sem_seg": (K, H, W)}``, scores at the size of the labels.

        Raises:
            UserError: a label file is missing or unreadable, has not the shape (H, W), or holds an
                id that is neither a class nor the ignore label; the scores have another size than
                the labels, or more channels than there are classes.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            scores = output["sem_seg"]
            predicted = scores.max(dim=0).indices.cpu().numpy()  # faster than argmax on a CPU
            true = self._read_labels(
                self.input_file_to_gt_file[str(sample["file_name"])], predicted.shape
            )
            if len(scores) > self._num_classes + 1:
                raise UserError(
                    f"the model gives {len(scores)} classes, but dataset {self._dataset_name} has"
                    f" {self._num_classes}: {', '.join(self._class_names)}"
                )
            cells = (self._num_classes + 1) * predicted.ravel() + true.ravel()
            self._confusion += np.bincount(cells, minlength=self._confusion.size).reshape(
                self._confusion.shape
            )
            if self._output_dir:
                self._predictions.extend(self._encode(predicted, str(sample["file_name"])))

    def _read_labels(self, filename: str, shape: tuple[int, ...]) -> np.ndarray:
        """Reads the label ids (H, W) of a file, with K for ignored pixels.

        Args:
            filename: the label file.
            shape: the shape of the prediction.
        """
        try:
            labels = np.asarray(self.sem_seg_loading_fn(filename, dtype=int))
        except OSError as error:
            raise UserError(
                f"label file {filename} of dataset {self._dataset_name} can't be read: {error}"
            ) from error
        if labels.shape != shape:
            raise UserError(
                f"label file {filename} holds an array of {labels.shape}, but the prediction is"
                f" {shape}, height by width; labels must be one id per pixel, at the size of the"
                " image"
            )
        ignored = labels == self._ignore_label
        wrong = np.unique(labels[((labels < 0) | (labels >= self._num_classes)) & ~ignored])
        if wrong.size:
            raise UserError(
                f"label file {filename} holds the ids {', '.join(map(str, wrong[:10]))}, but"
                f" dataset {self._dataset_name} has the classes 0 to {self._num_classes - 1} and"
                f" ignores {self._ignore_label}"
            )
        return np.where(ignored, self._num_classes, labels)

    def _encode(self, labels: np.ndarray, filename: str) -> Iterable[dict[str, Any]]:
        """Yields the region of each predicted class in COCO's run-length encoding."""
        from pycocotools import mask as coco_mask  # compiled, and needed for this output only

        for label in np.unique(labels).tolist():
            region = coco_mask.encode(np.asfortranarray(labels == label, dtype=np.uint8))
            yield {
                "file_name": filename,
                "category_id": self._dataset_ids.get(label, label),
                "segmentation": {
                    "size": region["size"],
                    "counts": region["counts"].decode("ascii"),
                },
            }

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """Returns ``{"sem_seg": {metric: percent}}`` over the batches of all processes.

        The result is None on all processes except the main one. The metrics are ``mIoU``,
        ``fwIoU``, ``mACC``, ``pACC``, and ``IoU-<class>`` and ``ACC-<class>`` for each class.
        """
        own = (self._confusion, self._predictions)
        parts = gather_to_main(own) if self._distributed else [own]
        if not parts:
            return None
        scores = self._scores(np.sum([confusion for confusion, _ in parts], axis=0))
        if self._output_dir:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            predictions: list[dict[str, Any]] = []
            for _, regions in parts:
                predictions.extend(regions)
            (self._output_dir / "sem_seg_predictions.json").write_text(
                json.dumps(predictions), encoding="utf-8"
            )
            torch.save(scores, self._output_dir / "sem_seg_evaluation.pth")
        return OrderedDict(sem_seg=scores)

    def _scores(self, confusion: np.ndarray) -> dict[str, float]:
        """Returns the scores, in percent by name, of a confusion matrix.

        Args:
            confusion: (K + 1, K + 1), rows: predicted class, columns: true class.
        """
        among = confusion[:-1, :-1].astype(float)
        right, true, predicted = among.diagonal(), among.sum(axis=0), among.sum(axis=1)
        seen = true > 0
        # the score of a class without pixels, or of a dataset without any, is nan
        with np.errstate(invalid="ignore", divide="ignore"):
            acc = np.where(seen, right / true, np.nan)
            iou = np.where(seen, right / (true + predicted - right), np.nan)
            scores = {
                "mIoU": iou[seen].sum() / seen.sum(),
                "fwIoU": (iou * (true / true.sum()))[seen].sum(),
            }
            scores |= {
                f"IoU-{name}": value for name, value in zip(self._class_names, iou, strict=True)
            }
            scores |= {"mACC": acc[seen].sum() / seen.sum(), "pACC": right.sum() / true.sum()}
            scores |= {
                f"ACC-{name}": value for name, value in zip(self._class_names, acc, strict=True)
            }
        return {name: 100 * float(value) for name, value in scores.items()}


def gather_to_main(value: Any) -> list[Any]:
    """Gathers a value of each process on the main process.

    All processes must call it.

    Returns:
        The values in the order of the ranks; an empty list on the other processes.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    # Pickled objects are sent over the host (gloo): NCCL would need device memory for all of them,
    # each padded to the largest.
    own_group: Any = None
    if dist.get_backend() == "nccl":
        own_group = dist.new_group(backend="gloo")
    gathered: list[Any] | None = None
    if dist.get_rank() == 0:
        gathered = [None] * dist.get_world_size()
    dist.gather_object(value, gathered, dst=0, group=own_group)
    if own_group is not None:
        dist.destroy_process_group(own_group)
    return gathered or []
