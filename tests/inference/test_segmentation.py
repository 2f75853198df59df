"""What a result tells of its labels, and that what it saves can be read again."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.data import LabelFormat, read_labels
from clipmask.errors import UserError
from clipmask.inference import Segmentation
from clipmask.visualizer import Drawing
from tests.checkpoints import COLORS, pixels
from tests.conftest import NAMES


@pytest.fixture
def result() -> Segmentation:
    labels = np.zeros((40, 56), np.uint8)
    labels[:, 28:] = 1
    labels[:10, 28:] = 4
    return Segmentation(
        pixels(), labels, NAMES, COLORS, None, lambda _: np.zeros((5, 40, 56), np.float32)
    )


def test_shares(result: Segmentation) -> None:
    assert result.shares == {"road": 50.0, "sky": 37.5, "tree": 0.0, "car": 0.0, "pole": 12.5}


def test_overlay_mixes_picture_and_colors(result: Segmentation) -> None:
    np.testing.assert_array_equal(result.overlay(opacity=0, legend=False), result.image)
    full = result.overlay(opacity=1, legend=False)
    drawn = replace(result, drawing=Drawing(opacity=1))
    np.testing.assert_array_equal(drawn.overlay(legend=False), full)
    assert full[-1, 0].tolist() == COLORS[0]
    assert full[-1, -1].tolist() == COLORS[1]
    assert result.overlay().shape[0] > 40  # the legend


def test_saved_labels_are_read_back(result: Segmentation, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.png"
    result.save(path, "labels")
    np.testing.assert_array_equal(read_labels(path, LabelFormat(5), (40, 56)), result.labels)


def test_more_than_255_classes_are_read_back(result: Segmentation, tmp_path: Path) -> None:
    names = tuple(f"thing {index}" for index in range(300))
    labels = result.labels.astype(np.int64) * 70
    wide = Segmentation(result.image, labels, names, [[1, 2, 3]] * 300, None, result._score)
    wide.save(tmp_path / "a.png", "labels")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png", LabelFormat(300, 65535)), labels)


def test_saved_pictures(result: Segmentation, tmp_path: Path) -> None:
    result.save(tmp_path / "color.png", "color")
    color = np.asarray(Image.open(tmp_path / "color.png"))
    np.testing.assert_array_equal(color, np.array(COLORS, np.uint8)[result.labels])
    result.save(tmp_path / "overlay.png")
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "overlay.png")), result.overlay()
    )
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(result._repr_png_()))), result.overlay()
    )
    result.save(tmp_path / "overlay.jpg")
    assert Image.open(tmp_path / "overlay.jpg").format == "JPEG"


def test_what_is_told_of_a_picture(result: Segmentation, tmp_path: Path) -> None:
    truth = result.labels.copy()
    truth[:10] = 2  # all of the upper rows is tree in truth
    truth[-1] = 255
    result.save(tmp_path / "a.json", "json")
    told = json.loads((tmp_path / "a.json").read_text())
    assert told == result.summary()
    assert (told["source"], told["width"], told["height"], told["names"]) == (
        None,
        56,
        40,
        list(NAMES),
    )
    assert [(item["id"], item["name"], item["pixels"]) for item in told["classes"]] == [
        (0, "road", 40 * 28), (1, "sky", 30 * 28), (4, "pole", 10 * 28),
    ]  # fmt: skip
    assert [item["box"] for item in told["classes"]] == [
        [0, 0, 28, 40],
        [28, 10, 56, 40],
        [28, 0, 56, 10],
    ]
    assert sum(item["share"] for item in told["classes"]) == pytest.approx(100)
    assert "mIoU" not in told
    scored = result.summary(truth)
    by_name = {item["name"]: item for item in scored["classes"]}
    assert by_name["tree"] == {
        "id": 2,
        "name": "tree",
        "pixels": 0,
        "share": 0.0,
        "box": None,
        "IoU": 0.0,
    }
    assert by_name["road"]["IoU"] == pytest.approx(100 * 29 / 39, abs=1e-3)
    assert by_name["pole"]["IoU"] is None
    assert scored["mIoU"] == pytest.approx((100 * 29 / 39 + 100 + 0) / 3, abs=1e-3)
    assert scored["pACC"] == pytest.approx(100 * 29 / 39, abs=1e-3)
    assert result.summary(np.full((40, 56), 255))["mIoU"] is None


def test_saved_scores_are_read_back(result: Segmentation, tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((5, 40, 56), dtype=np.float32)
    replace(result, _score=lambda _: scores).save(tmp_path / "a.npz", "scores")
    with np.load(tmp_path / "a.npz") as file:
        assert file["names"].tolist() == list(NAMES)
        assert file["scores"].dtype == np.float16
        np.testing.assert_allclose(file["scores"], scores, atol=1e-3)


def test_labels_in_the_ids_of_a_server(result: Segmentation, tmp_path: Path) -> None:
    served = replace(result, server_ids={"road": 7, "sky": 23, "tree": 21, "car": 26, "pole": 300})
    served.save(tmp_path / "a.png", "server_ids")
    written = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(written, np.array([7, 23, 21, 26, 300])[result.labels])
    assert [item["server_id"] for item in served.summary()["classes"]] == [7, 23, 300]
    with pytest.raises(UserError, match="no server ids"):
        result.save(tmp_path / "b.png", "server_ids")
    with pytest.raises(UserError, match="no server id is known for tree, car, pole"):
        replace(result, server_ids={"road": 7, "sky": 23}).save(tmp_path / "b.png", "server_ids")
    assert not (tmp_path / "b.png").exists()


def test_a_comparison_needs_the_truth(result: Segmentation, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="truth=labels"):
        result.save(tmp_path / "a.png", "comparison")
    result.save(tmp_path / "a.png", "comparison", truth=result.labels)
    assert Image.open(tmp_path / "a.png").width > 4 * 56
    with pytest.raises(UserError, match="can't draw labels"):
        result.comparison(result.labels[1:])


@pytest.mark.parametrize(
    ("name", "what", "message"),
    [
        ("a.png", "mask", "'mask'"),
        ("a.jpg", "labels", r"\.jpg .*labels"),
        ("a.webp", "color", r"\.webp .*color"),
        ("a.ico", "labels", r"\.ico .*labels"),
        ("a.pdf", "labels", r"\.pdf .*labels"),
        ("a.png", "json", "json are saved as .json"),
        ("a.json", "scores", "scores are saved as .npz"),
        ("a.xyz", "overlay", r"\.xyz"),
        ("a.mpg", "overlay", r"\.mpg"),
        ("file/a.png", "overlay", "can't be written"),
    ],
)
def test_what_can_not_be_saved(
    result: Segmentation, tmp_path: Path, name: str, what: str, message: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=message):
        result.save(tmp_path / name, what)
    assert not (tmp_path / name).exists()
