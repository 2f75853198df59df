"""Cityscapes: the official tree loads as it is, label ids become classes, test has no labels, what
lacks is told.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.d2 import DatasetCatalog, MetadataCatalog, SemSegEvaluator
from clipmask.data import build_test_loader, build_train_loader, label_reader
from clipmask.data.catalog import load_dataset
from clipmask.data.datasets.cityscapes import load_cityscapes
from clipmask.engine.evaluation import build_evaluator
from clipmask.errors import UserError
from tests.conftest import ROOT
from tests.contract import INSTALLED
from tests.data.cityscapes_tree import LABEL_IDS, draw_tree

CLASSES = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
] + ["sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
SERVER_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a small Cityscapes, and what Detectron2 wants beside it."""
    draw_tree(tmp_path, train_ids=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    return tmp_path


def test_samples_are_those_of_the_tree(root: Path) -> None:
    records = load_dataset("cityscapes_sem_seg_train", labelled=True).records
    stems = [f"{city}_{index:06d}_000019" for city in ("aachen", "bochum") for index in range(2)]
    folders = [root / "cityscapes" / kind / "train" for kind in ("leftImg8bit", "gtFine")]
    assert records == [
        {
            "file_name": str(folders[0] / stem.split("_")[0] / f"{stem}_leftImg8bit.png"),
            "sem_seg_file_name": str(
                folders[1] / stem.split("_")[0] / f"{stem}_gtFine_labelIds.png"
            ),
        }
        for stem in stems
    ]
    assert len(load_dataset("cityscapes_sem_seg_val", labelled=True).records) == 2


def test_label_ids_become_classes(root: Path) -> None:
    path = load_cityscapes("val")[0]["sem_seg_file_name"]
    raw, labels = np.array(Image.open(path)), label_reader("cityscapes_sem_seg_val")(path)
    assert set(np.unique(raw)) == set(LABEL_IDS)
    for label_id in LABEL_IDS:
        expected = SERVER_IDS.index(label_id) if label_id in SERVER_IDS else 255
        assert (labels[raw == label_id] == expected).all()
    # Detectron2's own files of train ids, which the official scripts make, say the same.
    assert (labels == np.array(Image.open(path.replace("labelIds", "labelTrainIds")))).all()


def test_readers_of_class_ids_get_an_error_and_no_label_ids(root: Path) -> None:
    """Detectron2's mapper takes what is there, and its evaluator asks for the label map."""
    record = DatasetCatalog.get("cityscapes_sem_seg_val")[0]
    assert "sem_seg_file_name" not in record
    with pytest.raises(UserError, match="cityscapes_fine_sem_seg"):
        SemSegEvaluator("cityscapes_sem_seg_val")
    assert "sem_seg_file_name" not in pickle.loads(pickle.dumps(record))
    evaluators = build_evaluator("cityscapes_sem_seg_val").evaluators
    assert len(evaluators) == 2, "ours read them by their format"


def test_metadata() -> None:
    metadata = MetadataCatalog.get("cityscapes_sem_seg_test")
    assert metadata.stuff_classes == CLASSES
    assert metadata.server_ids == SERVER_IDS
    assert [metadata.label_mapping[label_id] for label_id in metadata.server_ids] == list(range(19))
    assert metadata.ignore_label == 255
    assert metadata.evaluator_type == "sem_seg"
    assert metadata.stuff_colors[::6] == [
        [128, 64, 128],
        [250, 170, 30],
        [255, 0, 0],
        [119, 11, 32],
    ]
    assert len({tuple(rgb) for rgb in metadata.stuff_colors}) == 19
    assert set(metadata.class_aliases) <= set(CLASSES)
    others = [name for names in metadata.class_aliases.values() for name in names]
    assert len(set(others) | set(CLASSES)) == len(others) + 19  # no name means two classes


def test_test_has_pictures_and_no_labels(root: Path, cfg: CfgNode) -> None:
    assert [list(record) for record in load_cityscapes("test")] == [["file_name"]] * 2
    assert len(list(build_test_loader(cfg, "cityscapes_sem_seg_test"))) == 2
    with pytest.raises(
        UserError,
        match=r"'cityscapes_sem_seg_test': sample 0 \(.*berlin.*\) has no 'sem_seg_file_name'",
    ):
        load_dataset("cityscapes_sem_seg_test", labelled=True)


def train_once(cfg: CfgNode, name: str) -> list[np.ndarray]:
    """Returns the label maps of one step over a dataset."""
    cfg.DATASETS.TRAIN, cfg.SOLVER.MAX_ITER = (name,), 1
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "absolute", [32, 32]
    return [sample["sem_seg"].numpy() for sample in next(iter(build_train_loader(cfg, seed=0)))]


def test_training_samples_hold_classes(root: Path, cfg: CfgNode) -> None:
    labels = train_once(cfg, "cityscapes_sem_seg_train")
    assert len(labels) == 4
    assert {int(label) for label in np.unique(np.stack(labels))} <= {*range(19), 255}


@pytest.mark.parametrize("missing", ["leftImg8bit", "gtFine"])
def test_a_missing_part_shows_the_tree(root: Path, missing: str) -> None:
    (root / "cityscapes" / missing / "val").rename(root / "elsewhere")
    with pytest.raises(
        UserError,
        match=(
            r"cityscapes_sem_seg_val was not found.*no"
            rf" cityscapes/{missing}/val.*gtFine/val/<city>/"
        ),
    ):
        load_cityscapes("val")


def test_test_needs_no_truth(root: Path) -> None:
    (root / "cityscapes" / "gtFine").rename(root / "elsewhere")
    assert len(load_cityscapes("test")) == 2


def test_missing_files_are_told(root: Path) -> None:
    folder = root / "cityscapes" / "leftImg8bit" / "val" / "frankfurt"
    label = Path(load_cityscapes("val")[1]["sem_seg_file_name"])
    label.unlink()
    with pytest.raises(
        UserError, match=r"frankfurt_000001_000019_gtFine_labelIds\.png: no such file \(1 of"
    ):
        load_dataset("cityscapes_sem_seg_val", labelled=True)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(
        UserError, match=r"leftImg8bit.val: holds no <city>/.*unpack leftImg8bit_trainvaltest\.zip"
    ):
        load_cityscapes("val")


THEIRS = """
import numpy as np
from clipmask import get_cfg
from clipmask.data import build_test_loader, build_train_loader, label_reader
from clipmask.data.catalog import load_dataset

theirs, ours = (load_dataset(f"cityscapes_{kind}_val", labelled=True) for kind in ("fine_sem_seg", "sem_seg"))
assert (theirs.classes, theirs.ignore_label) == (ours.classes, ours.ignore_label)
assert sorted(r["file_name"] for r in theirs.records) == sorted(r["file_name"] for r in ours.records)
for record in theirs.records:
    train_ids = record["sem_seg_file_name"]
    assert train_ids.endswith("_gtFine_labelTrainIds.png")
    truth = label_reader("cityscapes_fine_sem_seg_val")(train_ids)
    label_ids = train_ids.replace("labelTrainIds", "labelIds")
    assert (truth == label_reader("cityscapes_sem_seg_val")(label_ids)).all()
cfg = get_cfg()
cfg.DATASETS.TRAIN, cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.MAX_ITER = ("cityscapes_fine_sem_seg_train",), 0, 1
(step,) = build_train_loader(cfg, seed=0)
seen = {int(i) for sample in step for i in np.unique(sample["sem_seg"].numpy())}
assert seen == {*range(19), 255}, seen
assert len(list(build_test_loader(cfg, "cityscapes_fine_sem_seg_val"))) == 2
"""  # noqa: E501


@pytest.mark.skipif(not INSTALLED, reason="Detectron2 is not installed")
def test_detectron2s_own_cityscapes_works_too(root: Path) -> None:
    """In a process of its own, because Detectron2 takes its dataset root when it is imported."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "DETECTRON2_DATASETS": str(root),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, "-c", THEIRS]
    result = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
