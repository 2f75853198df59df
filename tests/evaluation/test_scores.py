"""Scores of label maps are those of the evaluators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from clipmask.builtin.catalog import DatasetCatalog, MetadataCatalog
from clipmask.builtin.evaluation import SemSegEvaluator
from clipmask.evaluation.scores import count_pixels, scores


def test_by_hand() -> None:
    truth, prediction = np.array([0, 0, 0, 1, 255, -1]), np.array([0, 0, 2, 1, 1, 0])
    confusion = count_pixels(truth, prediction, 3)
    assert confusion.tolist() == [[2, 0, 1], [0, 1, 0], [0, 0, 0]]
    found = scores(confusion)
    np.testing.assert_allclose(found.iou, [200 / 3, 100, np.nan])
    assert (found.mean_iou, found.accuracy) == (pytest.approx(250 / 3), 75)
    nothing = scores(np.zeros((3, 3), int))
    assert np.isnan([nothing.mean_iou, nothing.accuracy, *nothing.iou]).all()


def test_as_the_evaluator_says(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 30, 40))
    truth[truth == 4] = 255
    Image.fromarray(truth.astype(np.uint8)).save(f"{tmp_path}/a.png")
    DatasetCatalog.register(
        "by_evaluator", lambda: [{"file_name": "a", "sem_seg_file_name": f"{tmp_path}/a.png"}]
    )
    MetadataCatalog.get("by_evaluator").set(stuff_classes=list("abcde"), ignore_label=255)
    evaluator = SemSegEvaluator("by_evaluator")
    maps = torch.nn.functional.one_hot(torch.from_numpy(prediction), 5).permute(2, 0, 1)
    evaluator.process([{"file_name": "a"}], [{"sem_seg": maps}])
    expected = evaluator.evaluate()
    assert expected is not None
    found = scores(count_pixels(truth, prediction, 5))
    assert found.mean_iou == pytest.approx(expected["sem_seg"]["mIoU"])
    assert found.accuracy == pytest.approx(expected["sem_seg"]["pACC"])
    np.testing.assert_allclose(found.iou, [expected["sem_seg"][f"IoU-{name}"] for name in "abcde"])
