"""Names and folders of pictures lead to their label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipmask.data.file_rule import FileRule


def _rule(root: Path, files: list[str], **options: Any) -> FileRule:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return FileRule(**{"images": root / "images", "labels": root / "labels", **options})


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (
            ["images/img_0.jpg", "labels/mask_0.png"],
            {"image_prefix": "img_", "label_prefix": "mask_"},
        ),
        (["images/0.jpg", "labels/mask_0.png"], {"label_prefix": "mask_"}),
        (["images/a/0.jpg", "labels/0.png"], {"flat": True}),
        (["images/a/0.JPG", "labels/a/0.PNG"], {}),
        (
            ["images/a/0_x.jpg", "labels/a/0_Label.TIF"],
            {"image_suffix": "_x.jpg", "label_suffix": "_label.tif"},
        ),
    ],
)
def test_pictures_find_their_label_maps(
    tmp_path: Path, files: list[str], options: dict[str, Any]
) -> None:
    rule = _rule(tmp_path, files, **options)
    assert [tmp_path / "images" / path for path in rule.pictures()] == [tmp_path / files[0]]
    assert rule.label_path(rule.pictures()[0]) == tmp_path / files[1]
    assert rule.label_files() == [tmp_path / files[1]]


def test_a_folder_may_lead_to_several(tmp_path: Path) -> None:
    """As in Mapillary Vistas."""
    files = ["training/images/0.jpg", "training/v2.0/labels/0.png", "training/v1.2/labels/0.png"]
    rule = _rule(
        tmp_path, files, images=tmp_path, labels=tmp_path, label_folders={"images": "v2.0/labels"}
    )
    assert rule.pictures() == [Path(files[0])]
    assert rule.label_path(Path(files[0])) == tmp_path / files[1]
    assert rule.label_files() == [tmp_path / files[1]]


def test_prefixes_alone_may_tell_labels_from_pictures(tmp_path: Path) -> None:
    files = ["a/img_0.png", "a/mask_0.png"]
    rule = _rule(
        tmp_path, files, images=tmp_path, labels=tmp_path, image_prefix="img_", label_prefix="mask_"
    )
    assert rule.pictures() == [Path("a/img_0.png")]
    assert rule.label_path(Path("a/img_0.png")) == tmp_path / "a/mask_0.png"


def test_a_label_map_that_is_missing_has_a_place(tmp_path: Path) -> None:
    rule = _rule(tmp_path, ["images/0.jpg"])
    assert rule.label_path(Path("0.jpg")) == tmp_path / "labels/0.png"
