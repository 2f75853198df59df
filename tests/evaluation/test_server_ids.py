"""Label PNGs for a benchmark's server, and agreement of Cityscapes' own script with our scores."""

from __future__ import annotations

import importlib
import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipmask.d2 import DatasetCatalog, MetadataCatalog, SemSegEvaluator
from clipmask.data import label_reader
from clipmask.data.catalog import load_dataset
from clipmask.data.datasets.cityscapes import CLASSES
from clipmask.data.guarded import read_by_format
from clipmask.errors import UserError
from clipmask.evaluation import (
    LabelMapEvaluator,
    ServerIdEvaluator,
    Together,
    labels_withheld,
    server_ids,
)
from tests.data.cityscapes_tree import draw_tree

VAL, TEST = "cityscapes_sem_seg_val", "cityscapes_sem_seg_test"
SIZE, ABSENT = (64, 128), 16  # the class train occurs nowhere
needs_script = pytest.mark.skipif(
    importlib.util.find_spec("cityscapesscripts") is None, reason="needs cityscapesscripts"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A drawn Cityscapes, with all ids but 31 (train) and those that no official label map
    holds.
    """
    draw_tree(tmp_path, ("val", "test"), SIZE, images=3)
    for path in tmp_path.glob("cityscapes/gtFine/val/*/*_labelIds.png"):
        ids = np.asarray(Image.open(path))
        Image.fromarray(np.where((ids > 33) | (ids == 31), 4, ids).astype(np.uint8)).save(path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    return tmp_path


def predictions(count: int, allowed: list[int] | None = None) -> list[torch.Tensor]:
    """Scores (19, H, W) whose best class is random, among ``allowed``."""
    rng = np.random.default_rng(5)
    classes = [x for x in range(len(CLASSES)) if x != ABSENT] if allowed is None else allowed
    labels = [torch.from_numpy(rng.choice(classes, SIZE)) for _ in range(count)]
    return [torch.nn.functional.one_hot(x, len(CLASSES)).permute(2, 0, 1) for x in labels]


def results(
    name: str, outputs: list[torch.Tensor], folder: Path, start: int = 0, step: int = 1
) -> dict[str, Any]:
    """Scores every ``step``-th sample from ``start`` by all evaluators, as a run does."""
    with read_by_format():
        sem_seg = SemSegEvaluator(
            name, output_dir=str(folder), sem_seg_loading_fn=label_reader(name)
        )
    together = Together(
        [sem_seg, LabelMapEvaluator(name, folder), ServerIdEvaluator(name, folder / "server_ids")]
    )
    together.reset()
    for sample, output in list(zip(DatasetCatalog.get(name), outputs, strict=True))[start::step]:
        together.process([sample], [{"sem_seg": output}])
    return together.evaluate()


def register(name: str, files: list[str], **metadata: Any) -> str:
    DatasetCatalog.register(name, lambda: [{"file_name": file} for file in files])
    MetadataCatalog.get(name).set(stuff_classes=["a", "b"], ignore_label=255, **metadata)
    return name


@needs_script
def test_the_official_script_agrees(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = results(VAL, predictions(3), root / "out")
    ours, official = found["sem_seg"], found["cityscapes"]
    assert set(official) == {"IoU", "IoU_sup", *(f"IoU-{name}" for name in CLASSES)}
    assert official["IoU"] == pytest.approx(ours["mIoU"], abs=0.01)
    for name in CLASSES:
        assert official[f"IoU-{name}"] == pytest.approx(ours[f"IoU-{name}"], abs=0.01, nan_ok=True)
    assert math.isnan(official["IoU-train"])
    assert 0 < official["IoU"] < 20
    assert capfd.readouterr() == ("", "")


@needs_script
def test_a_class_that_is_only_predicted_is_the_one_difference(root: Path) -> None:
    """Which is documented: 0 there, nan here."""
    found = results(VAL, predictions(3, allowed=list(range(19))), root / "out")
    ours, official = found["sem_seg"], found["cityscapes"]
    assert official["IoU-train"] == 0
    assert math.isnan(ours["IoU-train"])
    others = [name for name in CLASSES if name != "train"]
    assert [official[f"IoU-{name}"] for name in others] == pytest.approx(
        [ours[f"IoU-{name}"] for name in others]
    )
    assert official["IoU"] == pytest.approx(ours["mIoU"] * 18 / 19)


@needs_script
def test_the_script_keeps_its_settings(root: Path) -> None:
    script = importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    before = dict(vars(script.args))
    results(VAL, predictions(3), root / "out")
    assert vars(script.args) == before


@needs_script
def test_a_file_that_the_script_refuses_costs_only_its_scores(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = next(root.glob("cityscapes/gtFine/val/*/*_labelIds.png"))
    Image.fromarray(np.full(SIZE, 77, dtype=np.uint8)).save(first)
    found = results(VAL, predictions(3), root / "out")
    assert set(found) == {"sem_seg"}
    assert "gave up" in caplog.text
    assert "77" in caplog.text


@needs_script
def test_labels_of_detectron2s_registration(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It names train ids and no server ids; the official files are looked for beside them, and
    missed kindly.
    """
    records = load_dataset(VAL, labelled=True).records
    reader = label_reader(VAL)
    for record in records:
        path = record["sem_seg_file_name"].replace("labelIds", "labelTrainIds")
        Image.fromarray(reader(record["sem_seg_file_name"]).astype(np.uint8)).save(path)
        record["sem_seg_file_name"] = path
    name = "registered_as_detectron2_does"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(
        stuff_classes=list(CLASSES), ignore_label=255, evaluator_type="cityscapes_sem_seg"
    )
    assert server_ids(name) == server_ids(VAL)
    found = results(name, predictions(3), root / "out")
    assert found["cityscapes"]["IoU"] == pytest.approx(found["sem_seg"]["mIoU"], abs=0.01)
    for path in root.glob("cityscapes/gtFine/val/*/*_labelIds.png"):
        path.unlink()
    assert set(results(name, predictions(3), root / "out")) == {"sem_seg"}
    assert "is not there (3 files)" in caplog.text


def test_without_the_script_one_line_names_the_extra(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "cityscapesscripts", None)
    monkeypatch.setitem(sys.modules, "cityscapesscripts.evaluation", None)
    with caplog.at_level(logging.INFO, "clipmask"):
        found = results(VAL, predictions(3), root / "out")
    assert set(found) == {"sem_seg"}
    assert caplog.text.count("clipmask[cityscapes]") == 1
    assert len(list((root / "out" / "server_ids").iterdir())) == 3


def test_withheld_labels_give_files_and_no_scores(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert labels_withheld(TEST)
    assert not labels_withheld(VAL)
    folder = root / "out" / "server_ids"
    evaluator = ServerIdEvaluator(TEST, folder)
    labels = np.arange(19, dtype=np.uint8).reshape(1, 19)
    with caplog.at_level(logging.INFO, "clipmask"):
        evaluator.process(DatasetCatalog.get(TEST), [{"labels": labels}] * 3)
        assert evaluator.evaluate() is None
    assert f"zip the PNGs in {folder}" in caplog.text
    assert sorted(path.name for path in folder.iterdir()) == [
        f"berlin_00000{index}_000019_leftImg8bit_pred.png" for index in range(3)
    ]
    with Image.open(folder / "berlin_000000_000019_leftImg8bit_pred.png") as image:
        assert image.mode == "L"
        assert np.asarray(image)[0].tolist() == MetadataCatalog.get(TEST).server_ids


def test_server_ids_of_another_dataset(tmp_path: Path) -> None:
    """Ids beyond a byte take 16 bits, and the script of Cityscapes has no business there."""
    name = register("with_a_server", ["x/1.jpg", "x/2.jpg"], server_ids=[3, 1000])
    Image.new("RGB", (2, 1)).save(tmp_path / "x.jpg")
    with pytest.raises(UserError, match=r"x/1\.jpg"):
        ServerIdEvaluator(name, tmp_path / "out")
    DatasetCatalog.remove(name)
    DatasetCatalog.register(name, lambda: [{"file_name": str(tmp_path / "x.jpg")}])
    evaluator = ServerIdEvaluator(name, tmp_path / "out")
    evaluator.process(DatasetCatalog.get(name), [{"labels": np.array([[0, 1]])}])
    assert np.asarray(Image.open(tmp_path / "out" / "x_pred.png")).tolist() == [[3, 1000]]
    assert evaluator.evaluate() is None


def test_mistakes_in_the_metadata(tmp_path: Path) -> None:
    assert server_ids(register("without_a_server", [])) is None
    assert not labels_withheld("without_a_server")
    assert not labels_withheld("not_registered")
    for index, wrong in enumerate(([1], [1, 70000], [1, "2"], {"a": 1, "b": 2})):
        with pytest.raises(UserError, match=rf"wrong_server_{index}.*server_ids"):
            server_ids(register(f"wrong_server_{index}", [], server_ids=wrong))


def test_two_images_of_one_name(tmp_path: Path) -> None:
    files = [tmp_path / folder / "0.png" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        Image.new("RGB", (2, 1)).save(file)
    name = register("same_names", [str(file) for file in files], server_ids=[1, 2])
    with pytest.raises(UserError, match="same file name"):
        ServerIdEvaluator(name, tmp_path / "out")
