"""A descriptor and registered datasets become the same thing to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipmask.curation.checking.subject import from_catalog, open_subject
from clipmask.errors import UserError
from tests.curation.checking.made import TRAIN, VAL, make

Register = Callable[..., str]


def test_a_descriptor(tmp_path: Path) -> None:
    subject = open_subject([str(make(tmp_path))])
    assert (subject.name, subject.splits, subject.training) == ("made", ("train", "val"), "train")
    assert len(subject.pairs) == TRAIN + VAL
    assert subject.class_names == ["road", "sky", "tree"]
    assert subject.format.colored
    assert subject.files is not None
    assert subject.files.takes(tmp_path / "images/new.png")
    assert not subject.files.takes(tmp_path / "elsewhere/new.png")


def test_label_maps_among_the_pictures_are_no_orphans(tmp_path: Path) -> None:
    path = make(
        tmp_path, "ids", images=".", labels=".", label_folders={"images": "labels"}, splits=None
    )
    subject = open_subject([str(path)])
    assert len(subject.pairs) == TRAIN + VAL
    assert subject.orphans == []
    (tmp_path / "images/train/00.png").unlink()
    assert open_subject([str(path)]).orphans == [str(tmp_path / "labels/train/00.png")]


def test_registered_datasets_with_files_missing(tmp_path: Path, register: Register) -> None:
    descriptor = open_subject([str(make(tmp_path, "ids"))])
    records = [
        {"file_name": pair.image, "sem_seg_file_name": pair.labels} for pair in descriptor.pairs
    ]
    first = register(records[:TRAIN], stuff_classes=["road", "sky", "tree"])
    second = register(records[TRAIN:], stuff_classes=["road", "sky", "tree"])
    Path(records[0]["file_name"]).unlink()
    Path(records[1]["sem_seg_file_name"]).unlink()
    subject = from_catalog([first, second])
    assert subject.name == "tests_data"
    assert subject.splits == tuple(name.removeprefix("tests_data_") for name in (first, second))
    assert len(subject.pairs) == TRAIN + VAL - 2
    assert subject.lost == [records[0]["file_name"]]
    assert [image for image, _ in subject.unlabelled] == [records[1]["file_name"]]
    assert subject.unlabelled_stops
    assert open_subject([first]).splits == (first,)


def test_a_picture_in_two_splits_is_read_once(tmp_path: Path, register: Register) -> None:
    pair = open_subject([str(make(tmp_path, "ids"))]).pairs[0]
    record = {"file_name": pair.image, "sem_seg_file_name": pair.labels}
    names = [register([record], stuff_classes=["road"]) for _ in range(2)]
    subject = from_catalog(names)
    assert [pair.splits for pair in subject.pairs] == [subject.splits]


def test_mistakes_are_told(tmp_path: Path, register: Register) -> None:
    with pytest.raises(UserError, match="no such file"):
        open_subject([str(tmp_path / "none.yaml")])
    with pytest.raises(UserError, match="is not registered"):
        open_subject(["nowhere_train"])
    path = str(make(tmp_path))
    with pytest.raises(UserError, match="one descriptor"):
        open_subject([path, path])
    record = [{"file_name": "a", "sem_seg_file_name": "b"}]
    names = [register(record, stuff_classes=classes) for classes in (["a"], ["b"])]
    with pytest.raises(UserError, match="can't be checked together"):
        open_subject(names)
