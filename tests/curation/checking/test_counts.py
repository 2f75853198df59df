"""Frequencies are those of the pixels, and the samples show every class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipmask.curation.checking.counts import frequencies, picture_sizes, samples_of_all_classes
from clipmask.curation.checking.subject import open_subject
from tests.curation.checking.made import TRAIN, VAL, label_ids, make, picture, read_all, save


def test_frequencies_per_split(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    labels = np.zeros((24, 32), np.uint8)
    labels[:12] = 255
    save(labels, tmp_path / "labels/val/12.png")
    subject = open_subject([str(path)])
    tables = frequencies(subject, read_all(subject))
    counts = np.bincount(label_ids().ravel())
    assert tables["train"].pixels == tuple(TRAIN * counts)
    assert tables["train"].images == (TRAIN,) * 3
    assert tables["train"].void == 0
    assert sum(tables["train"].shares) == pytest.approx(100)
    assert tables["val"].pixels == (
        (VAL - 1) * counts[0] + 12 * 32,
        (VAL - 1) * counts[1],
        (VAL - 1) * counts[2],
    )
    assert tables["val"].images == (VAL, VAL - 1, VAL - 1)
    assert (tables["val"].void, tables["val"].images_read) == (12 * 32, VAL)


def test_sizes(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    save(picture(50, (30, 40)), tmp_path / "images/val/12.png")
    save(label_ids((30, 40)), tmp_path / "labels/val/12.png")
    subject = open_subject([str(path)])
    sizes = picture_sizes(subject, read_all(subject))
    assert sizes == {"train": {(32, 24): TRAIN}, "val": {(32, 24): VAL - 1, (40, 30): 1}}


def test_samples_show_every_class_once_and_no_broken_pair(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    for number in range(TRAIN):  # one class each, and the last pair has all but is broken
        save(np.full((24, 32), number % 2, np.uint8), tmp_path / f"labels/train/{number:02}.png")
    save(np.full((24, 32), 2, np.uint8), tmp_path / "labels/train/07.png")
    save(label_ids((24, 31)), tmp_path / "labels/train/11.png")
    subject = open_subject([str(path)])
    checked = read_all(subject)
    chosen = samples_of_all_classes(subject, checked, least=1)
    known = {pair: reading for pair, reading in checked if reading}
    seen = np.array([known[pair].counts for pair in chosen["train"]]).sum(0)
    assert (seen > 0).all()
    assert len(chosen["train"]) == 3
    assert str(tmp_path / "images/train/07.png") in [pair.image for pair in chosen["train"]]
    assert len(chosen["val"]) == 1, "one picture has all"
    assert len(samples_of_all_classes(subject, checked, least=99)["val"]) == VAL
