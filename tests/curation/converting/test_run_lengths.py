"""Tables of run lengths become label maps, whatever their columns are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipmask.curation.converting.convert import Options, convert
from clipmask.curation.converting.run_lengths import is_run_lengths, read_run_lengths
from clipmask.data.descriptor import read_descriptor
from clipmask.data.reading import read_labels
from clipmask.errors import UserError
from tests.curation.converting.exports import CROP, SIZE, WEED, area, kaggle_runs, photos, truth


def _table(root: Path, *lines: str) -> Path:
    photos(root)
    path = root / "train.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _labels(source: Path, output: Path, *names: str) -> dict[str, np.ndarray]:
    convert(source, None, output, Options(names=names or None))
    descriptor = read_descriptor(output / f"{output.name}.yaml")
    return {
        image.stem: read_labels(path, descriptor.label_format, SIZE)
        for image, path in descriptor.pairs()
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("heading", "rows"),
    [
        ("ImageId,ClassId,EncodedPixels", ("a.jpg,1,{crop}", "a.jpg,2,{weed}", "b.jpg,1,")),
        ("ImageId_ClassId,EncodedPixels", ("a.jpg_1,{crop}", "a.jpg_2,{weed}", "b.jpg_1,-1")),
        ("id,class,rle,height", ("a,1,{crop},30", "a,2,{weed},30", "b,1,,30")),
    ],
)
def test_classes_that_are_numbered(tmp_path: Path, heading: str, rows: tuple[str, ...]) -> None:
    runs = {"crop": kaggle_runs(area(CROP)), "weed": kaggle_runs(area(WEED))}
    source = _table(tmp_path / "data", heading, *(row.format(**runs) for row in rows))
    assert read_run_lengths(source, None).names == ("class_1", "class_2")
    labels = _labels(source, tmp_path / "out", "crop", "weed")
    np.testing.assert_array_equal(labels["a"], truth())
    assert not labels["b"].any()


@pytest.mark.parametrize("order", ["F", "C"])
def test_pixels_are_counted_down_the_columns_and_by_carvana_along_the_rows(
    tmp_path: Path, order: str
) -> None:
    heading = {"F": "ImageId,EncodedPixels", "C": "img,rle_mask"}[order]
    runs = [kaggle_runs(area(place), order) for place in (CROP, WEED)]  # type: ignore[arg-type]
    source = _table(tmp_path / "data", heading, f"a.jpg,{runs[0]}", f"b.jpg,{runs[1]}")
    labels = _labels(source, tmp_path / "out", "ship")
    np.testing.assert_array_equal(labels["a"], area(CROP))
    np.testing.assert_array_equal(labels["b"], area(WEED))


def test_several_masks_of_a_picture_are_one_class(tmp_path: Path) -> None:
    halves = ((4, 24, 5, 12), (4, 24, 20, 30))
    rows = [f"a.jpg,{kaggle_runs(area(place))}" for place in halves]
    labels = _labels(_table(tmp_path / "data", "ImageId,EncodedPixels", *rows), tmp_path / "out")
    np.testing.assert_array_equal(labels["a"], area(halves[0]) | area(halves[1]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,1 2 3", "line 2: '1 2 3' .* run lengths"),
        ("a.jpg,1 x", "line 2: '1 x' .* run lengths"),
        ("a.jpg,10 3 5 2", "line 2: .*do not rise from 1.*not from the end of the run before"),
        ("a.jpg,0 3", "do not rise from 1"),
        ("a.jpg,1199 3", "line 2: a run ends at pixel 1201, but the picture has 40x30 = 1200"),
        ("a.jpg", "line 2: has 1 of 2 columns"),
    ],
)
def test_what_are_no_run_lengths_is_told_with_its_line(
    tmp_path: Path, row: str, message: str
) -> None:
    source = _table(tmp_path / "data", "ImageId,EncodedPixels", row)
    with pytest.raises(
        UserError, match=rf"train\.csv, {message}" if "line" in message else message
    ):
        _labels(source, tmp_path / "out")


def test_the_last_pixel_counts(tmp_path: Path) -> None:
    labels = _labels(
        _table(tmp_path / "data", "ImageId,EncodedPixels", "a.jpg,1199 2"), tmp_path / "out"
    )
    assert np.argwhere(labels["a"]).tolist() == [[28, 39], [29, 39]]


@pytest.mark.parametrize(
    ("name", "heading", "expected"),
    [
        ("train.csv", "ImageId,EncodedPixels", True),
        ("sample_submission.csv", "ImageId,EncodedPixels", False),
        ("meta.csv", "ImageId,source", False),
        ("runs.csv", "EncodedPixels,height", False),
        ("empty.csv", "", False),
    ],
)
def test_which_tables_hold_run_lengths(
    tmp_path: Path, name: str, heading: str, expected: bool
) -> None:
    (tmp_path / name).write_text(heading)
    assert is_run_lengths(tmp_path / name) is expected
