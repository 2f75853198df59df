"""Every form of a file of names gives names, and ids or colours where it has them."""

from __future__ import annotations

from pathlib import Path

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
