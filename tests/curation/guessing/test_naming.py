"""Every form of a file of names gives names, and ids or colours where it has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipmask.curation.guessing.naming import Named, find_names, read_names


@pytest.mark.parametrize(
    "text",
    [
        "road\nzebra_crossing\nVoid\n",
        "\n# classes\nroad\n'zebra crossing'\nVoid",
        "__ignore__\nroad\nzebra crossing\nVoid\n",
        "0: road\n1: zebra crossing\n2: Void\n",
        "0 road\n1 zebra_crossing\n2 Void",
        "Pixel Value, Class\n0, road\n1, zebra crossing\n2, Void\n",
    ],
)
def test_names_and_ids(text: str) -> None:
    assert read_names(text) == (Named("road", 0), Named("zebra crossing", 1), Named("Void", 2))
    assert [named.is_void for named in read_names(text)] == [False, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "128 64 128\troad\n0 0 0\t\tzebra_crossing\n",
        "# label:color_rgb:parts:actions\nroad:128,64,128::\nzebra crossing:0,0,0::\n",
        "name,r,g,b\nroad,128,64,128\nzebra crossing,0,0,0\n",
    ],
)
def test_names_and_colours(text: str) -> None:
    assert read_names(text) == (
        Named("road", None, (128, 64, 128)),
        Named("zebra crossing", None, (0, 0, 0)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "3 road 128 64 128\n0 zebra crossing 0 0 0\n",
        "id,name,r,g,b\n3,road,128,64,128\n0,zebra crossing,0,0,0\n",
        "Name;ID;Red;Green;Blue;parent\nroad;3;128;64;128;7\nzebra_crossing;0;0;0;0;2\n",
    ],
)
def test_names_ids_and_colours(text: str) -> None:
    assert read_names(text) == (
        Named("road", 3, (128, 64, 128)),
        Named("zebra crossing", 0, (0, 0, 0)),
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("id2label.json", {"0": "road", "2": "sky"}, (Named("road", 0), Named("sky", 2))),
        (
            "config_v2.0.json",
            {
                "labels": [
                    {"name": "object--bench", "readable": "Bench", "color": [1, 2, 3]},
                    {"readable": "Unlabeled", "color": [0, 0, 0], "evaluate": False},
                ]
            },
            (Named("Bench", 0, (1, 2, 3)), Named("void", 1, (0, 0, 0))),
        ),
        (
            "seg_annotation_info.json",
            {"class_names": ["void", "road"], "class_indexes": [0, 1], "class_colors": [[0], [1]]},
            (Named("void", 0), Named("road", 1)),
        ),
        (
            "RUGD_annotation-colormap.txt",
            "0 void 0 0 0\n4 tree 0 255 0\n",
            (Named("void", 0, (0, 0, 0)), Named("tree", 4, (0, 255, 0))),
        ),
    ],
)
def test_files_of_datasets(
    tmp_path: Path, name: str, content: Any, expected: tuple[Named, ...]
) -> None:
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "about_classes.txt").write_text("A text about the classes.\nOf two lines.\n")
    found = find_names([tmp_path])
    assert found is not None
    assert (found.path, found.names) == (tmp_path / name, expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("id2label.json", "{"),
        ("id2label.json", "[1]"),
        ("config_v2.0.json", '{"labels": [{"name": "a"}]}'),
        ("seg_annotation_info.json", '{"class_names": ["a"], "class_indexes": [0, 1]}'),
        ("class_weights.txt", "0.1\n0.2\n"),
        ("label_notes.csv", "image,label\na.jpg,road\n"),
    ],
)
def test_other_files_give_no_names(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert find_names([tmp_path]) is None


@pytest.mark.parametrize("name", ["void", "Unknown", "no_data", "__ignore__", "Unlabeled"])
def test_names_that_mean_void(name: str) -> None:
    assert Named(name).is_void
    assert not Named(f"{name} road").is_void


def test_names_that_come_again_stay_apart() -> None:
    assert [named.name for named in read_names("car\ncar\nbus\n")] == ["car", "car 2", "bus"]


def test_the_first_file_in_the_first_folder(tmp_path: Path) -> None:
    assert find_names([tmp_path]) is None
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/classes.txt").write_text("road\n")
    (tmp_path / "labels.txt").write_text("\n")  # holds nothing
    found = find_names([tmp_path, tmp_path / "labels"])
    assert found is not None
    assert found.path == tmp_path / "labels/classes.txt"
