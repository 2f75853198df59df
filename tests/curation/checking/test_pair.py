"""A reading tells what training would meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.curation.checking.pair import MOST_UNKNOWN, Pair, read_pair
from clipmask.data.label_format import LabelFormat, packed
from tests.curation.checking.made import label_ids, picture, save


def _pair(folder: Path, labels: np.ndarray) -> Pair:
    image = save(picture(0), folder / "a.png")
    return Pair(str(image), str(save(labels, folder / "a_labels.png")), ("train",))


def test_counts_and_void(tmp_path: Path) -> None:
    labels = label_ids()
    labels[:3] = 255
    reading = read_pair(_pair(tmp_path, labels), LabelFormat(3, 255))
    assert reading.sound
    assert reading.counts == tuple(np.bincount(labels.ravel())[:3])
    assert reading.void == 3 * 32
    assert reading.image_size == reading.label_size == (32, 24)


def test_ids_that_a_plain_mapping_leaves_out_are_void_and_no_fault(tmp_path: Path) -> None:
    labels = label_ids().astype(np.int32)
    pair = _pair(tmp_path, labels.astype(np.uint8))._replace(labels=str(tmp_path / "ids.tif"))
    Image.fromarray(labels).save(pair.labels)
    reading = read_pair(pair, LabelFormat(1, 255, {0: 0}, others_are_void=True))
    assert reading.sound
    assert reading.void == (labels > 0).sum()
    labels[0, 0], labels[0, 1] = 70000, -1  # ids of more than 16 bits, which no short table names
    Image.fromarray(labels).save(pair.labels)
    reading = read_pair(pair, LabelFormat(1, 255, {0: 0, -1: 0}))
    assert dict(reading.unknown)[70000] == 1
    assert read_pair(pair, LabelFormat(1, 255, {0: 0, 70000: 0}, others_are_void=True)).sound


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_void_may_be_minus_one(tmp_path: Path, dtype: type[np.generic]) -> None:
    labels = label_ids().astype(np.int32)
    labels[:3] = -1
    pair = _pair(tmp_path, label_ids())._replace(labels=str(tmp_path / "ids.tif"))
    Image.fromarray(labels if dtype is np.int32 else (labels + 1).astype(dtype)).save(pair.labels)
    table = None if dtype is np.int32 else {0: -1, 1: 0, 2: 1, 3: 2}
    reading = read_pair(pair, LabelFormat(3, -1, table))
    assert reading.sound
    assert reading.void == 3 * 32
    assert sum(reading.counts) == 21 * 32
    labels[5, 5] = 9
    Image.fromarray(labels).save(pair.labels)
    assert read_pair(pair, LabelFormat(3, -1)).unknown == ((9, 1),)
    assert read_pair(pair, LabelFormat(3, -1)).void == 3 * 32


def test_unknown_colours_are_counted_and_bounded(tmp_path: Path) -> None:
    values = {(0, 0, 0): 0, (1, 1, 1): 255}
    labels = np.zeros((24, 32, 3), np.uint8)
    labels[0, :9], labels[1, :4] = (5, 6, 7), (1, 1, 1)
    reading = read_pair(_pair(tmp_path, labels), LabelFormat(1, 255, values))
    assert reading.unknown == ((packed((5, 6, 7)), 9),)
    assert (reading.counts, reading.void) == ((24 * 32 - 13,), 4)
    noise = np.random.default_rng(0).integers(2, 256, (40, 60, 3), np.uint8)
    assert (
        len(read_pair(_pair(tmp_path, noise), LabelFormat(1, 255, values)).unknown) == MOST_UNKNOWN
    )


def test_a_label_map_of_the_wrong_kind_is_a_fault_with_its_reason(tmp_path: Path) -> None:
    reading = read_pair(_pair(tmp_path, picture(1)), LabelFormat(3, 255))
    assert not reading.sound
    assert reading.label_fault is not None
    assert reading.label_fault.startswith("holds colours")
    pair = _pair(tmp_path, label_ids())
    lossy = tmp_path / "a.jpg"
    Image.open(pair.labels).save(lossy)
    reading = read_pair(pair._replace(labels=str(lossy)), LabelFormat(3, 255))
    assert reading.label_fault is not None
    assert "JPEG" in reading.label_fault
    assert reading.unknown == ()


def test_equal_pixels_have_equal_digests_whatever_their_file(tmp_path: Path) -> None:
    pair = _pair(tmp_path, label_ids())
    first = read_pair(pair, LabelFormat(3, 255))
    other = tmp_path / "b.bmp"
    Image.open(pair.image).save(other)
    assert read_pair(pair._replace(image=str(other)), LabelFormat(3, 255)).digest == first.digest
    save(picture(0).reshape(32, 24, 3), other)
    assert read_pair(pair._replace(image=str(other)), LabelFormat(3, 255)).digest != first.digest
