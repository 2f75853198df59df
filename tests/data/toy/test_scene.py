"""Drawn scenes: the same each time, different between splits, with every class, void borders and
shared colours.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clipmask.data.toy.canvas import HEIGHT, VOID, WIDTH
from clipmask.data.toy.objects import BUILDING, CLASSES, ROAD, SIDEWALK, SKY
from clipmask.data.toy.scene import draw_scene

Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene("val", index) for index in range(24)]


def test_a_scene_is_a_function_of_its_arguments(scenes: list[Scene]) -> None:
    for index in (5, 2):  # in another order, after other random numbers
        np.random.default_rng(index).random(10)
        picture, labels = draw_scene("val", index)
        assert (picture == scenes[index][0]).all()
        assert (labels == scenes[index][1]).all()


def test_splits_and_indices_differ(scenes: list[Scene]) -> None:
    pictures = [picture.tobytes() for picture, _ in scenes] + [
        draw_scene("train", i)[0].tobytes() for i in range(4)
    ]
    assert len(set(pictures)) == 28


def test_form(scenes: list[Scene]) -> None:
    for picture, labels in scenes:
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert labels.shape == (HEIGHT, WIDTH)
        assert picture.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {*range(len(CLASSES)), VOID}
        assert 25 < picture.mean() < 220
        assert picture.std() > 15


def test_every_class_occurs_and_none_is_negligible(scenes: list[Scene]) -> None:
    counts = np.bincount(np.concatenate([labels.ravel() for _, labels in scenes]), minlength=256)
    shares = counts / counts.sum()
    assert (shares[: len(CLASSES)] > 0.003).all()
    present = np.mean([[c in labels for c in range(len(CLASSES))] for _, labels in scenes], axis=0)
    assert (present >= 0.75).all()
    assert 0.01 < shares[VOID] < 0.08


def test_borders_between_classes_are_void_but_thin(scenes: list[Scene]) -> None:
    for _, labels in scenes:
        # Void is a seam: two steps to some side lead out of it, almost anywhere.
        void = labels == VOID
        padded = np.pad(void, 2)
        rows, columns = slice(2, 2 + HEIGHT), slice(2, 2 + WIDTH)
        thick = np.logical_and.reduce(
            [np.roll(padded, s, a)[rows, columns] for s in (-2, 2) for a in (0, 1)] + [void]
        )
        assert thick.mean() < 0.01
        # Where two different classes touch, some of the border is void.
        known = labels[:, :-1] != VOID, labels[:, 1:] != VOID
        touching = (known[0] & known[1] & (labels[:, :-1] != labels[:, 1:])).sum()
        assert void.sum() > 0.2 * touching


def test_the_layout_is_that_of_a_street(scenes: list[Scene]) -> None:
    rows = np.arange(HEIGHT)[:, None]
    for _, labels in scenes:
        middle = {
            c: (rows * (labels == c)).sum() / max(1, (labels == c).sum())
            for c in (SKY, BUILDING, ROAD, SIDEWALK)
        }
        if (labels == SKY).any():
            assert middle[SKY] < middle[BUILDING]
        assert middle[BUILDING] < min(middle[ROAD], middle[SIDEWALK] or HEIGHT)


def test_colour_alone_does_not_tell_the_class(scenes: list[Scene]) -> None:
    # The best table from coarse colours to classes, made and tested on the very same pixels, still
    # leaves classes out.
    picture = np.concatenate([p.reshape(-1, 3) for p, _ in scenes]).astype(int) // 16
    labels = np.concatenate([k.ravel() for _, k in scenes])
    keep = labels != VOID
    colours, labels = (picture @ [256, 16, 1])[keep], labels[keep]
    table = np.zeros((4096, len(CLASSES)), int)
    np.add.at(table, (colours, labels), 1)
    guess = table.argmax(1)[colours]
    confusion = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(confusion, (labels, guess), 1)
    right = confusion.diagonal()
    iou = right / (confusion.sum(0) + confusion.sum(1) - right)
    assert iou.mean() < 0.45
