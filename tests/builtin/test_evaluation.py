"""``SemSegEvaluator``: hand-computed scores on each implementation, equality between them, errors
of ours.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from PIL import Image

from clipmask.errors import UserError
from tests.contract import both, implementation, needs_detectron2

_numbers = itertools.count()


def dataset(
    d2: Any, folder: Path, labels: list[np.ndarray], classes: int, ignore: int = 255, **more: Any
) -> str:
    """Writes label files and registers them under a new name."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index, label in enumerate(labels):
        Image.fromarray(label.astype(np.uint8)).save(folder / f"{index}.png")
        records.append(
            {"file_name": f"{index}.jpg", "sem_seg_file_name": str(folder / f"{index}.png")}
        )
    name = f"evaluated_{next(_numbers)}"
    d2.DatasetCatalog.register(name, lambda: records)
    d2.MetadataCatalog.get(name).set(
        stuff_classes=[f"class{index}" for index in range(classes)], ignore_label=ignore, **more
    )
    return name


def score(
    d2: Any, name: str, predictions: list[np.ndarray], classes: int, **more: Any
) -> dict[str, float]:
    """Feeds predictions, two a batch, and returns the scores."""
    evaluator = d2.SemSegEvaluator(name, distributed=False, **more)
    evaluator.reset()
    for start in range(0, len(predictions), 2):
        part = predictions[start : start + 2]
        one_hot = [
            torch.nn.functional.one_hot(torch.from_numpy(p).long(), classes).permute(2, 0, 1)
            for p in part
        ]
        evaluator.process(
            [{"file_name": f"{start + index}.jpg"} for index in range(len(part))],
            [{"sem_seg": p} for p in one_hot],
        )
    return evaluator.evaluate()["sem_seg"]


@both
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scores_by_hand(d2: Any, tmp_path: Path) -> None:
    label = np.array([[0, 0, 1, 1], [0, 255, 1, 255]])
    predicted = np.array([[0, 1, 1, 1], [0, 0, 0, 1]])
    scores = score(d2, dataset(d2, tmp_path, [label], 3), [predicted], 3)
    # class 0: 2 right of 3, 3 predicted; class 1: 2 right of 3, 3 predicted; class 2 does not occur
    assert scores["IoU-class0"] == pytest.approx(50.0)
    assert scores["IoU-class1"] == pytest.approx(50.0)
    assert math.isnan(scores["IoU-class2"])
    assert scores["mIoU"] == pytest.approx(50.0)
    assert scores["mACC"] == pytest.approx(200 / 3)
    assert scores["pACC"] == pytest.approx(200 / 3)
    assert scores["fwIoU"] == pytest.approx(50.0)


@both
def test_the_loading_function_is_used(d2: Any, tmp_path: Path) -> None:
    label = np.array([[0, 1], [1, 1]])
    name = dataset(d2, tmp_path, [1 - label], 2)

    def flipped(filename: str, dtype: Any = None) -> np.ndarray:
        return 1 - np.asarray(Image.open(filename), dtype=dtype)

    assert score(d2, name, [label], 2, sem_seg_loading_fn=flipped)["mIoU"] == pytest.approx(100.0)


@both
def test_files(d2: Any, tmp_path: Path) -> None:
    label = np.array([[0, 1], [1, 1]])
    name = dataset(d2, tmp_path, [label], 2, stuff_dataset_id_to_contiguous_id={7: 0, 9: 1})
    scores = score(d2, name, [label], 2, output_dir=str(tmp_path / "out"))
    regions = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert [region["category_id"] for region in regions] == [7, 9]
    assert set(regions[0]) == {"file_name", "category_id", "segmentation"}
    stored = torch.load(tmp_path / "out" / "sem_seg_evaluation.pth", weights_only=False)
    assert stored["mIoU"] == pytest.approx(scores["mIoU"])


@needs_detectron2
@pytest.mark.contract
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_equal_to_detectron2(tmp_path: Path) -> None:
    """200 random cases: void, absent classes, one class, several batches; keys, values and RLEs."""
    rng = np.random.default_rng(0)
    ours, theirs = implementation("builtin"), implementation("detectron2")
    for case in range(200):
        classes, size = int(rng.integers(1, 8)), tuple(rng.integers(2, 30, 2))
        ignore = int(rng.choice([classes, 255]))
        used = rng.choice(classes, size=rng.integers(1, classes + 1), replace=False)
        count = int(rng.integers(1, 5))
        labels = [rng.choice([*used, ignore], size=size) for _ in range(count)]
        labels[0].flat[0] = used[0]
        predictions = [rng.integers(0, classes, size) for _ in range(count)]
        results = []
        for side, d2 in (("ours", ours), ("theirs", theirs)):
            name = dataset(d2, tmp_path / str(case) / side, labels, classes, ignore)
            output = tmp_path / str(case) / f"{side}_out"
            results.append((score(d2, name, predictions, classes, output_dir=str(output)), output))
        (mine, mine_out), (other, other_out) = results
        shared = {
            key: value
            for key, value in other.items()
            if not key.startswith(("BoundaryIoU-", "min(IoU"))
        }
        assert list(mine) == list(shared)
        np.testing.assert_array_equal(list(mine.values()), list(shared.values()))
        texts = [(out / "sem_seg_predictions.json").read_text() for out in (mine_out, other_out)]
        assert json.loads(texts[0]) == json.loads(texts[1])


def test_errors_of_ours(tmp_path: Path) -> None:
    d2 = implementation("builtin")
    name = dataset(d2, tmp_path, [np.array([[0, 5]])], 2)
    with pytest.raises(UserError, match=r"0\.png holds the ids 5"):
        score(d2, name, [np.array([[0, 1]])], 2)
    name = dataset(d2, tmp_path / "next", [np.array([[0, 2]])], 2)
    with pytest.raises(UserError, match=r"holds the ids 2, .* classes 0 to 1 and ignores 255"):
        score(d2, name, [np.array([[0, 1]])], 2)
    name = dataset(d2, tmp_path / "more", [np.array([[0, 1]])], 2)
    with pytest.raises(UserError, match=r"model gives 5 classes, .* class0, class1"):
        score(d2, name, [np.array([[0, 1]])], 5)
    name = dataset(d2, tmp_path / "size", [np.zeros((2, 2))], 2)
    with pytest.raises(UserError, match="height by width"):
        score(d2, name, [np.zeros((3, 2), dtype=int)], 2)
    (tmp_path / "size" / "0.png").unlink()
    with pytest.raises(UserError, match="can't be read"):
        score(d2, name, [np.zeros((2, 2), dtype=int)], 2)
    d2.DatasetCatalog.register("no_metadata", list)
    with pytest.raises(UserError, match="stuff_classes"):
        d2.SemSegEvaluator("no_metadata")


def test_no_regions_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    d2 = implementation("builtin")
    monkeypatch.setattr(
        d2.SemSegEvaluator, "_encode", lambda *args: pytest.fail("encoded for nothing")
    )
    score(d2, dataset(d2, tmp_path, [np.zeros((2, 2))], 2), [np.zeros((2, 2), dtype=int)], 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("label", [1, 255])
def test_absent_classes_are_nan_without_a_warning(tmp_path: Path, label: int) -> None:
    """One class alone, then nothing but void: a quiet nan, never a zero."""
    d2 = implementation("builtin")
    name = dataset(d2, tmp_path, [np.full((2, 3), label)], 3)
    scores = score(d2, name, [np.ones((2, 3), dtype=int)], 3)
    assert math.isnan(scores["IoU-class0"])
    assert math.isnan(scores["ACC-class2"])
    assert math.isnan(scores["mIoU"]) == (label == 255)


def test_stored_scores_are_plain_numbers(tmp_path: Path) -> None:
    """So that a scores file from anybody can be read without running code."""
    d2 = implementation("builtin")
    name = dataset(d2, tmp_path, [np.array([[0, 1]])], 2)
    scores = score(d2, name, [np.array([[0, 0]])], 2, output_dir=str(tmp_path / "out"))
    assert torch.load(tmp_path / "out" / "sem_seg_evaluation.pth", weights_only=True) == scores


def _one_of_two(rank: int, which: str, folder: Path) -> None:
    """Evaluates every second of four images in a process group and writes what ``evaluate``
    returned.
    """
    rendezvous = f"file://{folder / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    d2, (labels, predictions) = implementation(which), _four()
    evaluator = d2.SemSegEvaluator(
        dataset(d2, folder / str(rank), labels, 3), output_dir=str(folder / "out")
    )
    evaluator.reset()
    for index in range(rank, 4, 2):
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(predictions[index]), 3).permute(
            2, 0, 1
        )
        evaluator.process([{"file_name": f"{index}.jpg"}], [{"sem_seg": one_hot}])
    (folder / f"result{rank}.json").write_text(json.dumps(evaluator.evaluate()))
    torch.distributed.destroy_process_group()


def _four() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 3, (5, 7)) for _ in range(4)], [
        rng.integers(0, 3, (5, 7)) for _ in range(4)
    ]


@both
def test_two_processes_score_as_one(
    d2: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    which = request.node.callspec.params["d2"]
    torch.multiprocessing.start_processes(
        _one_of_two, (which, tmp_path), nprocs=2, start_method="fork"
    )
    labels, predictions = _four()
    alone = score(d2, dataset(d2, tmp_path / "alone", labels, 3), predictions, 3)
    together = json.loads((tmp_path / "result0.json").read_text())["sem_seg"]
    assert together == {key: pytest.approx(value, nan_ok=True) for key, value in alone.items()}
    assert json.loads((tmp_path / "result1.json").read_text()) is None
    regions = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert {region["file_name"] for region in regions} == {f"{index}.jpg" for index in range(4)}


@both
def test_regions_give_the_label_map_back(d2: Any, tmp_path: Path) -> None:
    """The RLEs of an image's classes cover it, each pixel once."""
    from pycocotools import mask as coco_mask

    predicted = np.random.default_rng(0).integers(0, 3, (5, 9))
    name = dataset(d2, tmp_path, [predicted], 3)
    score(d2, name, [predicted], 3, output_dir=str(tmp_path / "out"))
    regions = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    drawn = sum(
        coco_mask.decode(region["segmentation"]).astype(int) * (region["category_id"] + 1)
        for region in regions
    )
    np.testing.assert_array_equal(drawn - 1, predicted)


@both
def test_reset_forgets(d2: Any, tmp_path: Path) -> None:
    label = np.array([[0, 1], [1, 1]])
    evaluator = d2.SemSegEvaluator(dataset(d2, tmp_path, [label], 2), distributed=False)
    for predicted in (1 - label, label):
        evaluator.reset()
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(predicted), 2).permute(2, 0, 1)
        evaluator.process([{"file_name": "0.jpg"}], [{"sem_seg": one_hot}])
        scores = evaluator.evaluate()["sem_seg"]
    assert scores["mIoU"] == pytest.approx(100.0)


@both
def test_arguments_over_the_metadata(d2: Any, tmp_path: Path) -> None:
    """``ignore_label`` given; ``num_classes`` is compared with the metadata."""
    label = np.array([[0, 1], [1, 7]])
    name = dataset(d2, tmp_path, [label], 2)
    assert score(d2, name, [np.where(label == 7, 0, label)], 2, ignore_label=7)[
        "mIoU"
    ] == pytest.approx(100.0)
    with pytest.raises(AssertionError):
        d2.SemSegEvaluator(name, num_classes=3)


@both
def test_it_is_an_evaluator(d2: Any, tmp_path: Path) -> None:
    evaluator = d2.SemSegEvaluator(dataset(d2, tmp_path, [np.zeros((2, 2))], 2), distributed=False)
    assert isinstance(evaluator, d2.DatasetEvaluator)
    base = d2.DatasetEvaluator()
    assert base.reset() is base.process([], []) is base.evaluate() is None
