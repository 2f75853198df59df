"""The drawn dataset on disk: written once, whole or not at all, and drawn again by another
version.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_image, read_labels
from clipmask.data.toy import dataset as toy_street
from clipmask.data.toy.scene import draw_scene
from clipmask.errors import UserError
from tests.conftest import PATIENCE


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty first root, and a dataset of five scenes."""
    monkeypatch.setattr(toy_street, "SIZES", {"train": 3, "val": 2})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path / "first"))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    return tmp_path / "first"


def test_the_files_hold_the_scenes(root: Path) -> None:
    for split, size in (("train", 3), ("val", 2)):
        records = DatasetCatalog.get(f"toy_street_sem_seg_{split}")
        assert len(records) == size
        for index, record in enumerate(records):
            picture, labels = draw_scene(split, index)
            assert (read_image(record["file_name"]) == picture).all()
            assert (
                read_labels(record["sem_seg_file_name"], LabelFormat(9), size=picture.shape[:2])
                == labels
            ).all()
            assert (record["height"], record["width"]) == labels.shape


def test_it_is_drawn_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = toy_street.load_toy_street("val")
    monkeypatch.setattr(toy_street, "draw_scene", pytest.fail)
    assert toy_street.load_toy_street("val") == before
    assert len(toy_street.load_toy_street("train")) == 3


def test_an_interrupted_drawing_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(scenes: Iterable[int], **options: object) -> Iterator[int]:
        yield next(iter(scenes))
        assert len(list(root.rglob("*.png"))) >= 2
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toy_street, "tqdm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            toy_street.load_toy_street("val")
    assert list(root.iterdir()) == []
    assert len(toy_street.load_toy_street("val")) == 2


def test_another_version_is_drawn_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = toy_street.load_toy_street("val")[0]
    Path(record["file_name"]).write_bytes(b"old")
    (root / "toy_street" / "left_over.png").touch()
    monkeypatch.setattr(toy_street, "VERSION", "next")
    toy_street.load_toy_street("val")
    assert (read_image(record["file_name"]) == draw_scene("val", 0)[0]).all()
    assert not (root / "toy_street" / "left_over.png").exists()
    assert [path.name for path in root.iterdir()] == ["toy_street"]


def test_scenes_of_a_later_root_are_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_street.load_toy_street("val")
    monkeypatch.setenv("CLIPMASK_DATASETS", str(root.parent / "empty"))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    assert toy_street.load_toy_street("val")[0]["file_name"].startswith(str(root))
    assert not (root.parent / "empty").exists()


def test_of_two_that_draw_at_once_both_get_the_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = toy_street._draw_all
    rival: list[Path] = []

    def slower_than_a_rival(folder: Path) -> None:
        draw(folder)
        if not rival:
            rival.append(folder)
            # another process that began later and is done first
            toy_street.load_toy_street("train")

    monkeypatch.setattr(toy_street, "_draw_all", slower_than_a_rival)
    records = toy_street.load_toy_street("val")
    assert (read_image(records[1]["file_name"]) == draw_scene("val", 1)[0]).all()
    assert [path.name for path in root.iterdir()] == ["toy_street"]


def _draw(together: Barrier, answers: SimpleQueue[str]) -> None:
    together.wait(PATIENCE)
    answers.put(toy_street.load_toy_street("val")[0]["file_name"])


def test_two_processes_at_once(root: Path) -> None:
    # which saves two imports of everything, and keeps the dataset small
    forked = multiprocessing.get_context("fork")
    together, answers = forked.Barrier(2), forked.SimpleQueue()
    runs = [forked.Process(target=_draw, args=(together, answers)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(PATIENCE)
    assert [run.exitcode for run in runs] == [0, 0]
    first, second = answers.get(), answers.get()
    assert first == second
    assert (read_image(first) == draw_scene("val", 0)[0]).all()
    assert [path.name for path in root.iterdir()] == ["toy_street"]


def test_a_root_that_cannot_be_written_is_told(root: Path) -> None:
    root.write_text("a file where a folder should be")
    with pytest.raises(
        UserError, match=r"toy_street_sem_seg_val can't be written.*CLIPMASK_DATASETS"
    ):
        toy_street.load_toy_street("val")


def test_metadata() -> None:
    for split in ("train", "val"):
        metadata = MetadataCatalog.get(f"toy_street_sem_seg_{split}")
        assert metadata.stuff_classes[:5] == ["road", "sidewalk", "building", "sky", "tree"]
        assert metadata.stuff_classes[5:] == ["pole", "sign", "car", "pedestrian"]
        assert metadata.ignore_label == 255
        assert np.array(metadata.stuff_colors).shape == (9, 3)
        assert metadata.evaluator_type == "sem_seg"
        assert set(metadata.class_aliases) <= set(metadata.stuff_classes)
