"""A dataset's classes become the model's, where they can be had, and its pictures are found with
their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from clipmask.cli.demo.truth import LabelledPictures, dataset_name
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.errors import UserError
from clipmask.inference import Predictor
from tests.checkpoints import write_checkpoint, write_picture
from tests.conftest import NAMES


@pytest.fixture
def predictor(tmp_path: Path, small_cfg: CfgNode) -> Predictor:
    """Its T came from a file that is not there any more."""
    file = tmp_path / "embeddings.npz"
    rows = np.random.default_rng(0).normal(size=(5, 48)).astype(np.float32)
    np.savez(file, names=np.array(NAMES), embeddings=rows)
    small_cfg.MODEL.CLIP.EMBEDDINGS = str(file)
    path = write_checkpoint(tmp_path / "model.pth", small_cfg)
    file.unlink()
    return Predictor.from_checkpoint(path)


@pytest.fixture
def register(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., LabelledPictures]]:
    name = f"truth_{request.node.name}"

    def register(classes: list[str], **metadata: object) -> LabelledPictures:
        write_picture(tmp_path / "a.png")
        DatasetCatalog.register(name, lambda: [{"file_name": str(tmp_path / "a.png")}])
        MetadataCatalog.get(name).set(stuff_classes=classes, **metadata)
        return LabelledPictures(name)

    yield register
    DatasetCatalog.remove(name)


def test_the_trained_classes_stay_as_they_are(
    predictor: Predictor, register: Callable[..., LabelledPictures]
) -> None:
    before = predictor.names
    assert register(list(NAMES)).prepare(predictor, None) == {}
    assert predictor.names is before, "a change of vocabulary would outdate results"


def test_some_of_them_in_another_order(
    predictor: Predictor, register: Callable[..., LabelledPictures]
) -> None:
    dataset = register(["car", "road"], stuff_colors=[(1, 2, 3), (4, 5, 6)], server_ids=[26, 7])
    assert dataset.prepare(predictor, None) == {"car": [1, 2, 3], "road": [4, 5, 6]}
    assert predictor.names == ("car", "road")
    assert predictor.server_ids == {"car": 26, "road": 7}


def test_synonyms_that_can_not_be_had_are_left_away(
    predictor: Predictor, register: Callable[..., LabelledPictures]
) -> None:
    dataset = register(["car;automobile", "road"], stuff_colors=[(1, 2, 3), (4, 5, 6)])
    assert dataset.prepare(predictor, None) == {"car": [1, 2, 3], "road": [4, 5, 6]}
    assert predictor.names == ("car", "road")


def test_classes_that_can_not_be_had_are_named(
    predictor: Predictor, register: Callable[..., LabelledPictures]
) -> None:
    with pytest.raises(
        UserError, match=r"its classes \(car, zebra\) differ from the model's \(road, sky, tree"
    ):
        register(["car", "zebra"]).prepare(predictor, None)
    assert predictor.names == NAMES


def test_names_of_splits(register: Callable[..., LabelledPictures], tmp_path: Path) -> None:
    assert dataset_name("toy_street_sem_seg_val", None) == "toy_street_sem_seg_val"
    assert dataset_name("toy_street_sem_seg", "train") == "toy_street_sem_seg_train"
    with pytest.raises(UserError, match="--split"):
        dataset_name("toy_street_sem_seg_val", "val")
    with pytest.raises(UserError, match="no such file"):
        dataset_name(str(tmp_path / "gone.yaml"), None)
    assert not register(["a", "b"]).labelled
