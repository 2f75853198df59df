"""Boundary IoU and the confusion matrix of a dataset."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipmask.d2 import DatasetCatalog, MetadataCatalog, SemSegEvaluator
from clipmask.data import label_reader
from clipmask.errors import UserError
from clipmask.evaluation import LabelMapEvaluator, Together
from clipmask.evaluation.boundary import boundary_counts

NAMES, VOID = ("a", "b", "c"), 255
_numbers = itertools.count()


def dataset(folder: Path, truths: list[np.ndarray], **metadata: Any) -> str:
    """Writes label files and registers them under a new name."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index, truth in enumerate(truths):
        Image.fromarray(truth.astype(np.uint8)).save(folder / f"{index}.png")
        records.append(
            {"file_name": f"{index}.jpg", "sem_seg_file_name": str(folder / f"{index}.png")}
        )
    name = f"label_maps_{next(_numbers)}"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(stuff_classes=list(NAMES), ignore_label=VOID, **metadata)
    return name


def scores(
    name: str, predictions: list[np.ndarray], output: Path | None = None
) -> dict[str, float]:
    evaluator = LabelMapEvaluator(name, output)
    evaluator.process(
        DatasetCatalog.get(name), [{"labels": predicted} for predicted in predictions]
    )
    result = evaluator.evaluate()
    assert result is not None
    return result["sem_seg"]


def maps(
    count: int = 4, seed: int = 0, classes: int = 3
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Truths with void, and predictions."""
    rng = np.random.default_rng(seed)

    def blocks(high: int) -> np.ndarray:
        return np.kron(rng.integers(0, high, (5, 6)), np.ones((6, 6), dtype=int)).astype(np.uint8)

    truths = [blocks(classes + 1) for _ in range(count)]
    return [np.where(truth == classes, VOID, truth) for truth in truths], [
        blocks(classes) for _ in range(count)
    ]


def table(path: Path, names: Sequence[str] = NAMES) -> np.ndarray:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == [row[0] for row in rows[1:]] == list(names)
    return np.array([[int(cell) for cell in row[1:]] for row in rows[1:]])


def test_counts_are_summed_before_the_ratio(tmp_path: Path) -> None:
    truths, predictions = maps()
    counts = [
        boundary_counts(truth, predicted, 3)
        for truth, predicted in zip(truths, predictions, strict=True)
    ]
    shared, either = np.sum(counts, axis=0)
    found = scores(dataset(tmp_path, truths), predictions)
    assert list(found) == ["mBIoU", "BIoU-a", "BIoU-b", "BIoU-c"]
    assert [found[f"BIoU-{name}"] for name in NAMES] == pytest.approx(100 * shared / either)
    assert found["mBIoU"] == pytest.approx(np.mean(100 * shared / either))


def test_the_truth_scores_100_and_absent_classes_are_left_out(tmp_path: Path) -> None:
    truths, _ = maps(classes=2)
    found = scores(
        dataset(tmp_path, truths), [np.where(truth == VOID, 0, truth) for truth in truths]
    )
    assert (found["mBIoU"], found["BIoU-a"], found["BIoU-b"]) == (100, 100, 100)
    assert math.isnan(found["BIoU-c"])


def test_a_class_that_is_only_predicted_is_nan_as_its_iou(tmp_path: Path) -> None:
    truths, _ = maps(classes=2)
    found = scores(dataset(tmp_path, truths), maps(seed=1)[1])
    assert math.isnan(found["BIoU-c"])
    assert found["mBIoU"] == pytest.approx((found["BIoU-a"] + found["BIoU-b"]) / 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("label", [1, VOID])
def test_nothing_to_score_is_nan(tmp_path: Path, label: int) -> None:
    """One class without a contour, or nothing but void."""
    found = scores(
        dataset(tmp_path, [np.full((9, 9), label)]),
        [np.ones((9, 9), dtype=np.uint8)],
        tmp_path / "out",
    )
    assert all(math.isnan(score) for score in found.values())
    assert table(tmp_path / "out" / "confusion_matrix.csv").sum() == (81 if label == 1 else 0)


def test_what_is_predicted_on_void_does_not_matter(tmp_path: Path) -> None:
    truths, predictions = maps()
    others = [
        np.where(truth == VOID, (p + 1) % 3, p)
        for truth, p in zip(truths, predictions, strict=True)
    ]
    name = dataset(tmp_path, truths)
    assert scores(name, predictions, tmp_path / "one") == scores(name, others, tmp_path / "two")
    assert np.array_equal(
        *(table(tmp_path / side / "confusion_matrix.csv") for side in ("one", "two"))
    )


def test_the_matrix_agrees_with_the_scores_of_detectron2(tmp_path: Path) -> None:
    """ACC is the diagonal over its row, IoU the diagonal over row and column without it: so rows
    are the truth.
    """
    truths, predictions = maps()
    name = dataset(tmp_path / "labels", truths)
    together = Together(
        [
            SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=label_reader(name)),
            LabelMapEvaluator(name, tmp_path / "out"),
        ]
    )
    together.reset()
    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(p).long(), 3).permute(2, 0, 1)
        for p in predictions
    ]
    together.process(DatasetCatalog.get(name), [{"sem_seg": x} for x in one_hot])
    found = together.evaluate()["sem_seg"]
    matrix = table(tmp_path / "out" / "confusion_matrix.csv")
    assert matrix.sum() == sum((truth != VOID).sum() for truth in truths)
    right, rows, columns = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    assert [found[f"ACC-{name}"] for name in NAMES] == pytest.approx(100 * right / rows)
    assert [found[f"IoU-{name}"] for name in NAMES] == pytest.approx(
        100 * right / (rows + columns - right)
    )
    assert (tmp_path / "out" / "confusion_matrix.png").is_file()


def test_labels_are_read_through_the_mapping(tmp_path: Path) -> None:
    truths, predictions = maps()
    raw = [np.select([truth == i for i in range(3)], [7, 11, 26], 4) for truth in truths]
    mapped = dataset(tmp_path / "raw", raw, label_mapping={7: 0, 11: 1, 26: 2})
    assert scores(mapped, predictions) == scores(dataset(tmp_path, truths), predictions)


@pytest.mark.parametrize(
    ("classes", "void"), [(3, 255), (256, 300), (255, 255), (3, -1), (300, 65535)]
)
def test_ids_and_void_of_any_width_are_told_apart(tmp_path: Path, classes: int, void: int) -> None:
    name = dataset(tmp_path, [np.zeros((20, 30))])
    MetadataCatalog.remove(name)
    names = [str(number) for number in range(classes)]
    MetadataCatalog.get(name).set(stuff_classes=names, ignore_label=void)
    truth = np.random.default_rng(0).choice([0, classes - 1, void], (20, 30))
    predicted = np.where(truth == void, 1, truth)
    predicted[:2] = 1
    read: list[np.dtype[Any]] = []

    def read_labels(path: str, dtype: Any, size: tuple[int, int]) -> np.ndarray:
        read.append(np.dtype(dtype))
        return truth.astype(dtype)

    evaluator = LabelMapEvaluator(name, tmp_path, read_labels)
    evaluator.process(DatasetCatalog.get(name), [{"labels": predicted}])
    assert read[0].itemsize == (1 if 0 <= void <= 255 >= classes else 2)
    evaluator.evaluate()
    expected = np.zeros((classes, classes), dtype=int)
    np.add.at(expected, (truth[truth != void], predicted[truth != void]), 1)
    assert (table(tmp_path / "confusion_matrix.csv", names) == expected).all()


def test_reset_forgets(tmp_path: Path) -> None:
    truths, predictions = maps()
    name = dataset(tmp_path, truths)
    evaluator = LabelMapEvaluator(name)
    evaluator.process(DatasetCatalog.get(name), [{"labels": np.zeros_like(p)} for p in predictions])
    evaluator.reset()
    evaluator.process(DatasetCatalog.get(name), [{"labels": p} for p in predictions])
    assert evaluator.evaluate() == {"sem_seg": scores(name, predictions)}


def test_a_label_map_of_another_size_is_named(tmp_path: Path) -> None:
    name = dataset(tmp_path, [np.zeros((4, 4))])
    with pytest.raises(UserError, match=r"0\.png"):
        scores(name, [np.zeros((4, 5), dtype=np.uint8)])
