"""The base class of evaluators and the scores of semantic segmentation: IoU and accuracy from a
confusion matrix.

With g the labelled pixels of a class, p those predicted as it and t those that are both: IoU = t /
(g + p - t) and ACC = t / g. mIoU and mACC are means over the classes that occur in the ground truth
(the others are nan), fwIoU is the mean weighted by g, pACC the share of labelled pixels that are
right. Pixels with the ignore label count nowhere.
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
    """Scores a model over a dataset: ``reset``, then ``process`` for each batch, then
    ``evaluate``.
    """

    def reset(self) -> None:
        """Forgets all batches seen."""

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[Any]) -> None:
        """Takes in one batch.

        Args:
            inputs: the dataset dicts that the model was given.
            outputs: what the model returned for each of them.
        """

    def evaluate(self) -> dict[str, Any] | None:
        """Returns task -> {metric: score}, or None on a process that is not the main one."""


def _load_image(filename: str, dtype: Any = None) -> np.ndarray:
    """Returns the values of an image file, (H, W) or (H, W, channels); those of a palette image are
    its indices.
    """
    with Image.open(filename) as image:
        return np.asarray(image, dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """mIoU, fwIoU, mACC and pACC over a dataset, and IoU and ACC of each class, in percent."""

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
        """Reads the list of samples and the metadata from the catalogs.

        Args:
            dataset_name: with ``stuff_classes`` and ``ignore_label`` in its metadata.
            distributed: gather over all processes of ``torch.distributed``, where that is
                initialised.
            output_dir: where ``sem_seg_predictions.json`` (RLEs) and ``sem_seg_evaluation.pth`` go;
                None: not written.
            sem_seg_loading_fn: ``(file name, dtype=int)`` to label ids (H, W).
            num_classes: only checked against the metadata.
            ignore_label: instead of the one in the metadata.

        Raises:
            UserError: the metadata or the samples lack what the scores need.
        """
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._output_dir = Path(output_dir) if output_dir else None
        self.sem_seg_loading_fn = sem_seg_loading_fn
        self.input_file_to_gt_file = dict(
            self._pair(sample) for sample in DatasetCatalog.get(dataset_name)
        )
        self._class_names: list[str] = self._need(metadata.get("stuff_classes"), "stuff_classes")
        self._num_classes = len(self._class_names)
        if num_classes not in (None, self._num_classes):
            raise AssertionError(
                f"num_classes {num_classes} but {dataset_name} has {self._num_classes}"
                " stuff_classes"
            )
        ignored = metadata.get("ignore_label") if ignore_label is None else ignore_label
        self._ignore_label: int = self._need(ignored, "ignore_label")
        to_contiguous = metadata.get("stuff_dataset_id_to_contiguous_id")
        self._dataset_ids = (
            None if to_contiguous is None else {new: old for old, new in to_contiguous.items()}
        )
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
                f" {sample.get('file_name', 'a sample')} has no {error}; sem_seg_file_name is the"
                " file of its label ids"
            ) from error

    def reset(self) -> None:
        """Forgets all batches seen."""
        size = self._num_classes + 1  # the last row and column hold what is void
        self._confusion = np.zeros((size, size), dtype=np.int64)  # (predicted, true)
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[Any]) -> None:
        """Adds a batch to the confusion matrix.

        Args:
            inputs: dataset dicts; ``file_name`` finds the labels.
            outputs: for each, ``{"sem_seg": (K, H, W)}``, scores at the size of the labels.

        Raises:
            UserError: a label file is missing or unreadable, not (H, W), or holds an id that is
                neither a class nor ignored; the scores have another size or more channels than
                there are classes.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            scores = output["sem_seg"]
            predicted = scores.max(dim=0).indices.cpu().numpy()  # argmax, faster on a CPU
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
        """Returns the ids in ``filename`` (H, W), the ignored ones as K; ``shape`` is the
        prediction's.
        """
        try:
            labels = np.asarray(self.sem_seg_loading_fn(filename, dtype=int))
        except OSError as error:
            raise UserError(
                f"label file {filename} of dataset {self._dataset_name} can't be read: {error}"
            ) from error
        if labels.shape != shape:
            raise UserError(
                f"label file {filename} holds an array of {labels.shape} where the prediction is"
                f" {shape}, height by width; labels are one id a pixel, at the size of the image"
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
        """Yields the region of each predicted class as COCO's run-length encoding."""
        from pycocotools import mask as coco_mask  # compiled; needed for this file only

        for label in np.unique(labels).tolist():
            region = coco_mask.encode(np.asfortranarray(labels == label, dtype=np.uint8))
            yield {
                "file_name": filename,
                "category_id": label if self._dataset_ids is None else self._dataset_ids[label],
                "segmentation": {
                    "size": region["size"],
                    "counts": region["counts"].decode("ascii"),
                },
            }

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """Returns ``{"sem_seg": {metric: percent}}`` over all processes; None on all but the main
        one.

        The metrics are ``mIoU``, ``fwIoU``, ``IoU-<class>`` each, ``mACC``, ``pACC`` and
        ``ACC-<class>`` each.
        """
        own = (self._confusion, self._predictions)
        parts = gather_to_main(own) if self._distributed else [own]
        if not parts:
            return None
        scores = self._scores(np.sum([confusion for confusion, _ in parts], axis=0))
        if self._output_dir:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            predictions = [region for _, regions in parts for region in regions]
            (self._output_dir / "sem_seg_predictions.json").write_text(
                json.dumps(predictions), encoding="utf-8"
            )
            torch.save(scores, self._output_dir / "sem_seg_evaluation.pth")
        return OrderedDict(sem_seg=scores)

    def _scores(self, confusion: np.ndarray) -> dict[str, float]:
        """Turns a confusion matrix (K + 1, K + 1), predicted by true, into percentages by name."""
        among = confusion[:-1, :-1].astype(float)
        right, true, predicted = among.diagonal(), among.sum(axis=0), among.sum(axis=1)
        seen = true > 0
        # a class or a whole dataset without pixels is nan
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
    """Returns the values of all processes by rank on the main process, an empty list on the others;
    all call it.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    # Pickled objects travel through the host: NCCL would pad all of them to the largest in device
    # memory.
    own_group: Any = dist.new_group(backend="gloo") if dist.get_backend() == "nccl" else None
    gathered: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, gathered, dst=0, group=own_group)
    if own_group is not None:
        dist.destroy_process_group(own_group)
    return gathered or []
