"""Scores of a checkpoint are those that training reported; the names are Detectron2's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.engine.evaluation import (
    build_evaluator,
    check_expected,
    evaluate_checkpoint,
    evaluate_datasets,
    flatten,
    score_name,
)
from clipmask.engine.train import train
from clipmask.errors import UserError
from clipmask.evaluation import METRICS
from clipmask.vocabulary import Vocabulary
from clipmask.weights.checkpoint import load_checkpoint

from . import tiny

pytestmark = pytest.mark.usefixtures("tiny_root")


def test_flat_names() -> None:
    one = {"a": {"sem_seg": {"mIoU": 1.0, "IoU-x": 2.0}}}
    two = {**one, "b": {"sem_seg": {"mIoU": 3.0}}}
    assert flatten(one) == {"sem_seg/mIoU": 1.0, "sem_seg/IoU-x": 2.0}
    own = {"a/sem_seg/mIoU": 1.0, "a/sem_seg/IoU-x": 2.0, "b/sem_seg/mIoU": 3.0}
    assert flatten(two) == {**own, "mean/sem_seg/mIoU": 2.0}
    assert score_name(["a"]) in flatten(one)
    assert score_name(["a", "b"]) in flatten(two)


@pytest.mark.parametrize(
    ("expected", "fault"),
    [
        ([["sem_seg", "mIoU", 70.0, 1.5]], None),
        ([["sem_seg", "mIoU", 70.0, 1.5], ["sem_seg", "IoU-x", 10.0, 0.1]], "IoU-x"),
        ([["sem_seg", "mIoU", 73.0, 1.5]], "mIoU"),
        ([["sem_seg", "PQ", 1.0, 1.5]], "PQ"),
        ([["sem_seg", "mIoU", 70.0]], "tolerance"),
    ],
)
def test_expected_results(tmp_path: Path, expected: list[list[object]], fault: str | None) -> None:
    cfg = tiny.tiny_cfg(tmp_path, "TEST.EXPECTED_RESULTS", expected)
    results = {"tiny_val": {"sem_seg": {"mIoU": 71.0, "IoU-x": float("nan")}}}
    if fault is None:
        check_expected(cfg, results)
        return
    with pytest.raises(UserError, match=fault):
        check_expected(cfg, results)


def test_a_run_that_misses_its_expected_results_fails_with_all_its_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="EXPECTED_RESULTS"):
        train(tiny.tiny_cfg(tmp_path, "TEST.EXPECTED_RESULTS", [["sem_seg", "mIoU", 300.0, 1.0]]))
    assert (tmp_path / "model_final.pth").is_file()
    weights = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    with pytest.raises(UserError, match="mIoU"):
        evaluate_checkpoint(
            tiny.tiny_cfg(
                tmp_path, *weights, "TEST.EXPECTED_RESULTS", [["sem_seg", "mIoU", 300.0, 1.0]]
            )
        )


def test_a_checkpoint_scores_as_in_its_training(tmp_path: Path) -> None:
    results = train(tiny.tiny_cfg(tmp_path, "SOLVER.EMA_DECAY", 0.5))
    weights = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    assert evaluate_checkpoint(tiny.tiny_cfg(tmp_path / "new", *weights)) == results
    assert evaluate_checkpoint(tiny.tiny_cfg(tmp_path), resume=True) == results
    assert (tmp_path / "new" / "inference" / "tiny_val" / "sem_seg_predictions.json").is_file()
    assert (tmp_path / "new" / "inference" / "tiny_val" / "confusion_matrix.csv").is_file()
    assert "mIoU" in (tmp_path / "new" / "log.txt").read_text()


def test_evaluation_leaves_mode_and_random_state(tmp_path: Path, fabric) -> None:
    cfg = tiny.tiny_cfg(tmp_path)
    model = tiny.TinySegmenter(cfg).train()
    model.backbone.eval()
    state = torch.get_rng_state()
    evaluate_datasets(cfg, model, fabric)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.backbone.training
    assert not (tmp_path / "inference").exists()


def test_a_label_map_is_decoded_once_for_all_evaluators(
    tmp_path: Path, fabric, monkeypatch
) -> None:
    from clipmask.data import catalog

    read: list[str] = []
    original = catalog.read_labels
    monkeypatch.setattr(
        catalog, "read_labels", lambda path, *args: read.append(path) or original(path, *args)
    )
    cfg = tiny.tiny_cfg(tmp_path)
    evaluate_datasets(cfg, tiny.TinySegmenter(cfg), fabric)
    assert len(read) == len(set(read)) == len(DatasetCatalog.get("tiny_val"))


def test_boundaries_are_scored_without_a_folder(tmp_path: Path, fabric) -> None:
    cfg = tiny.tiny_cfg(tmp_path)
    scores = evaluate_datasets(cfg, tiny.TinySegmenter(cfg), fabric)["tiny_val"]["sem_seg"]
    assert 0 <= scores["mBIoU"] <= 100
    assert all(f"BIoU-{name}" in scores for name in tiny.CLASSES)
    assert not any(key.startswith(("BoundaryIoU", "min(")) for key in scores)
    assert not list(tmp_path.iterdir())


def test_withheld_labels_are_predicted_for_their_server(tmp_path: Path, tiny_root: Path) -> None:
    """Beside a dataset with labels, in one evaluation; without a server, labels are wanted.
    Training wants them too.
    """
    train(tiny.tiny_cfg(tmp_path))
    images = [{"file_name": str(path)} for path in sorted((tiny_root / "val").glob("?.png"))]
    DatasetCatalog.register("tiny_test", lambda: [dict(image) for image in images])
    MetadataCatalog.get("tiny_test").set(stuff_classes=list(tiny.CLASSES), ignore_label=255)
    opts = [
        "MODEL.WEIGHTS",
        str(tmp_path / "model_final.pth"),
        "DATASETS.TEST",
        ("tiny_val", "tiny_test"),
    ]
    cfg = tiny.tiny_cfg(tmp_path / "new", *opts)
    try:
        with pytest.raises(UserError, match="tiny_test.*sem_seg_file_name"):
            evaluate_checkpoint(cfg)
        MetadataCatalog.get("tiny_test").set(server_ids=[7, 9, 300])
        with pytest.raises(UserError, match="tiny_test.*sem_seg_file_name"):
            train(cfg)
        assert list(evaluate_checkpoint(cfg)) == ["tiny_val"]
    finally:
        DatasetCatalog.remove("tiny_test")
        MetadataCatalog.pop("tiny_test", None)
    files = sorted((tmp_path / "new" / "inference" / "tiny_test").rglob("*.*"))
    assert [file.name for file in files] == [f"{index}_pred.png" for index in range(5)]
    assert set(np.unique(np.asarray(Image.open(files[0])))) <= {7, 9, 300}


def test_a_dataset_is_segmented_into_its_own_classes(
    tmp_path: Path, tiny_root: Path, monkeypatch
) -> None:
    train(tiny.tiny_cfg(tmp_path))
    tiny.register(tiny_root, ("sky", "street", "vehicle"), prefix="renamed")
    asked = []
    monkeypatch.setattr(
        tiny.TinySegmenter,
        "check_vocabulary",
        lambda self, vocabulary: asked.append(vocabulary.names),
    )
    weights = [
        "MODEL.WEIGHTS",
        str(tmp_path / "model_final.pth"),
        "DATASETS.TEST",
        ("tiny_val", "renamed_val"),
    ]
    results = evaluate_checkpoint(tiny.tiny_cfg(tmp_path / "new", *weights))
    assert asked == [tiny.CLASSES, ("sky", "street", "vehicle")]
    assert results["tiny_val"]["sem_seg"]["mIoU"] == results["renamed_val"]["sem_seg"]["mIoU"]


def test_names_are_asked_for_before_anything_is_scored(
    tmp_path: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLIP may not be there: then no evaluation was for nothing."""
    train(tiny.tiny_cfg(tmp_path))
    tiny.register(tiny_root, ("sky", "street", "vehicle"), prefix="renamed")

    def check(self: tiny.TinySegmenter, vocabulary: Vocabulary) -> None:
        if "street" in vocabulary.names:
            raise UserError("the hub can't be reached")

    monkeypatch.setattr(tiny.TinySegmenter, "check_vocabulary", check)
    weights = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    cfg = tiny.tiny_cfg(tmp_path / "new", *weights, "DATASETS.TEST", ("tiny_val", "renamed_val"))
    with pytest.raises(UserError, match="the hub can't be reached"):
        evaluate_checkpoint(cfg)
    assert not (tmp_path / "new/inference").exists()


def test_a_class_with_synonyms_is_scored_under_its_first(tmp_path: Path, tiny_root: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    tiny.register(tiny_root, ("sky;heavens", "road;lane", "road;street"), prefix="synonyms")
    checkpoint = load_checkpoint(tmp_path / "model_final.pth")
    checkpoint["class_names"] = ["sky;heavens", "road;lane", "road;street"]
    torch.save(checkpoint, tmp_path / "renamed.pth")
    names = ["DATASETS.TRAIN", ("synonyms_train",), "DATASETS.TEST", ("synonyms_val",)]
    cfg = tiny.tiny_cfg(tmp_path / "new", "MODEL.WEIGHTS", str(tmp_path / "renamed.pth"), *names)
    scores = evaluate_checkpoint(cfg)["synonyms_val"]["sem_seg"]
    assert {key for key in scores if "IoU-" in key and not key.startswith("B")} == {
        "IoU-sky", "IoU-road;lane", "IoU-road;street",
    }  # fmt: skip
    assert {"ACC-sky", "BIoU-sky", "mIoU", "pACC"} <= scores.keys()
    table = (tmp_path / "new/inference/synonyms_val/confusion_matrix.csv").read_text()
    assert table.splitlines()[0].endswith(",sky,road;lane,road;street")


def test_nothing_to_evaluate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS"):
        evaluate_checkpoint(tiny.tiny_cfg(tmp_path))
    with pytest.raises(UserError, match=r"DATASETS\.TEST"):
        evaluate_checkpoint(tiny.tiny_cfg(tmp_path, "MODEL.WEIGHTS", "x.pth", "DATASETS.TEST", ()))
    with pytest.raises(UserError, match="no such file"):
        evaluate_checkpoint(tiny.tiny_cfg(tmp_path, "MODEL.WEIGHTS", str(tmp_path / "x.pth")))


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    checkpoint = load_checkpoint(tmp_path / "model_final.pth")
    del checkpoint["model"]["head.bias"]
    torch.save(checkpoint, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"head\.bias: missing"):
        evaluate_checkpoint(tiny.tiny_cfg(tmp_path, "MODEL.WEIGHTS", str(tmp_path / "other.pth")))


def test_a_label_map_of_another_size_is_named(tmp_path: Path, tiny_root: Path, fabric) -> None:
    """By the evaluator itself, whichever implementation it comes from."""
    image = sorted((tiny_root / "val").glob("?.png"))[0]
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(tmp_path / "small.png")
    DatasetCatalog.register(
        "tiny_wrong",
        lambda: [{"file_name": str(image), "sem_seg_file_name": str(tmp_path / "small.png")}],
    )
    MetadataCatalog.get("tiny_wrong").set(stuff_classes=list(tiny.CLASSES), ignore_label=255)
    try:
        with pytest.raises(UserError, match=r"small\.png: is 5x3 pixels"):
            evaluate_datasets(
                tiny.tiny_cfg(tmp_path, "DATASETS.TEST", ("tiny_wrong",)),
                tiny.TinySegmenter(tiny.tiny_cfg(tmp_path)),
                fabric,
            )
    finally:
        DatasetCatalog.remove("tiny_wrong")
        MetadataCatalog.pop("tiny_wrong", None)


def test_every_metric_of_the_table_is_computed_and_no_other() -> None:
    evaluator = build_evaluator("tiny_val")
    evaluator.reset()
    for record in DatasetCatalog.get("tiny_val"):
        height, width = np.asarray(Image.open(record["sem_seg_file_name"])).shape
        evaluator.process([record], [{"sem_seg": torch.rand(3, height, width)}])
    found = evaluator.evaluate()["sem_seg"]
    names = {key.partition("-")[0] for key in found}
    expected = {metric.name for metric in METRICS} | {metric.of_class for metric in METRICS}
    assert names == expected - {""}


def test_build_evaluator_takes_what_detectron2s_loader_gives(tmp_path: Path) -> None:
    """Its test samples have lost their label's file name, and the model's output is scores
    alone.
    """
    evaluator = build_evaluator("tiny_val", tmp_path / "out")
    for each in evaluator.evaluators:
        each.reset()
        for record in DatasetCatalog.get("tiny_val"):
            height, width = np.asarray(Image.open(record["sem_seg_file_name"])).shape
            each.process(
                [{"file_name": record["file_name"]}], [{"sem_seg": torch.rand(3, height, width)}]
            )
        assert each.evaluate()["sem_seg"]
    stored = torch.load(tmp_path / "out" / "sem_seg_evaluation.pth", weights_only=True)
    assert 0 <= stored["mIoU"] <= 100
    assert not [key for key in stored if key.startswith(("BoundaryIoU", "min("))]
