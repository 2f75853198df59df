"""Splits by share do not depend on what else is there; files and folders are taken at their
word.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmask.data.splits import by_share, split_paths
from clipmask.errors import UserError

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def _paths(count: int) -> list[Path]:
    return [Path("film", f"{number}.png") for number in range(count)]


def _place(found: dict[str, list[Path]]) -> dict[Path, str]:
    return {image: split for split, images in found.items() for image in images}


def test_shares_of_many_are_met_and_a_new_file_moves_no_other() -> None:
    before, after = _place(by_share(SHARES, _paths(2000))), _place(by_share(SHARES, _paths(3000)))
    assert all(after[image] == split for image, split in before.items())
    counts = [list(before.values()).count(split) for split in SHARES]
    assert counts == pytest.approx([1400, 400, 200], abs=60)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(12, (10, 2)), (16, (13, 3)), (10, (8, 2)), (3, (2, 1)), (2, (1, 1)), (499, (399, 100))],
)
def test_shares_of_few_are_met_exactly(count: int, expected: tuple[int, int]) -> None:
    found = by_share({"train": 0.8, "val": 0.2}, _paths(count))
    assert tuple(len(images) for images in found.values()) == expected
    assert _place(by_share({"train": 0.8, "val": 0.2}, _paths(count)[::-1])) == _place(found)


def test_another_seed_is_another_draw() -> None:
    draws = [by_share({"train": 0.8, "val": 0.2}, _paths(40), seed)["val"] for seed in range(4)]
    assert len({tuple(draw) for draw in draws}) == 4


def test_the_draw_is_the_same_everywhere() -> None:
    found = by_share(
        {"train": 0.5, "val": 0.5}, [Path("a/1.png"), Path("a/2.png"), Path("b.jpg"), Path("c.jpg")]
    )
    assert found == {
        "train": [Path("a/2.png"), Path("b.jpg")],
        "val": [Path("a/1.png"), Path("c.jpg")],
    }


@given(count=st.integers(0, 12))
def test_every_image_is_in_one_split_and_none_is_empty(count: int) -> None:
    shares = {"train": 0.98, "val": 0.01, "test": 0.01, "none": 0.0}
    found = by_share(shares, _paths(count))
    assert sorted(image for images in found.values() for image in images) == sorted(_paths(count))
    assert found["none"] == []
    if count >= 3:
        assert all(found[split] for split in ("train", "val", "test"))


def test_text_files_name_images_by_path_or_name(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("# mine\n\n./a/1.png\nb/2\n")
    (tmp_path / "val.txt").write_text("3\n4.png\n")
    pictures = [Path("a/1.png"), Path("b/1.png"), Path("b/2.png"), Path("b/3.png"), Path("b/4.png")]
    splits = {"train": tmp_path / "train.txt", "val": tmp_path / "val.txt"}
    found = split_paths(splits, pictures, pictures[:4], tmp_path / "d.yaml", tmp_path)
    # the last has no label
    assert found == {"train": [pictures[0], pictures[2]], "val": [pictures[3]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a/1\nc/9.png\n",
            r"val\.txt, line 2: 'c/9\.png': no such picture in .*relative to images",
        ),
        ("1\n", r"val\.txt, line 1: '1': could be a/1\.png or b/1\.png"),
        ("# nothing\n", r"val\.txt: lists no pictures"),
    ],
)
def test_text_files_that_name_no_image(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "val.txt").write_text(text)
    pictures = [Path("a/1.png"), Path("b/1.png")]
    with pytest.raises(UserError, match=rf"descriptor .*d\.yaml: .*{message}"):
        split_paths(
            {"val": tmp_path / "val.txt"}, pictures, pictures, tmp_path / "d.yaml", tmp_path
        )


def test_subfolders(tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
    pictures = [
        Path("train/x/1.png"),
        Path("train/2.png"),
        Path("trainer/3.png"),
        Path("val/1.png"),
    ]
    splits = {name: tmp_path / name for name in ("train", "val")}
    found = split_paths(splits, pictures, pictures, tmp_path / "d.yaml", tmp_path)
    assert found == {"train": pictures[:2], "val": pictures[3:]}


@pytest.mark.parametrize(
    "line",
    ["a/1.png", "a/1", "images/a/1.png labels/a/1.png", "/abs/on/another/machine/a/1.png",
     "../images/a/1.png", "a/1.png\tl/a/1.png", "a/1.png,l/a/1.png", "a\\1.png", '"a/1.png"',
     "/data/a/1.png /data/l/1.png"],
)  # fmt: skip
def test_lists_of_other_tools_are_understood(tmp_path: Path, line: str) -> None:
    (tmp_path / "val.txt").write_text(line + "\n")
    pictures = [Path("a/1.png"), Path("b/1.png"), Path("b/2 c.png")]
    found = split_paths(
        {"val": tmp_path / "val.txt"}, pictures, pictures, tmp_path / "d.yaml", tmp_path
    )
    assert found == {"val": [Path("a/1.png")]}


def test_a_name_in_another_folder_is_no_match(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("train/1.png\n")
    pictures = [Path("val/1.png")]
    with pytest.raises(UserError, match="no such picture"):
        split_paths({"val": tmp_path / "val.txt"}, pictures, pictures, tmp_path, tmp_path)


def test_names_may_hold_blanks(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("b/2 c.png\n/elsewhere/b/2.png\n")
    pictures = [Path("b/2 c.png"), Path("b/2.png")]
    assert (
        split_paths({"val": tmp_path / "val.txt"}, pictures, pictures, tmp_path, tmp_path)["val"]
        == pictures
    )


def test_a_json_file_lists_the_pictures_of_several_splits(tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    pictures = [Path("a/1.png"), Path("b/1.png"), Path("b/2.png")]
    splits = {"train": file, "val": file}

    def read(content: object) -> dict[str, list[Path]]:
        file.write_text(json.dumps(content))
        return split_paths(splits, pictures, pictures, tmp_path / "d.yaml", tmp_path)

    assert read({"train": ["a/1", "2.png"], "valid": ["b/1.png"]}) == {
        "train": [pictures[0], pictures[2]],
        "val": [pictures[1]],
    }
    with pytest.raises(UserError, match=r"d\.yaml: .*splits\.json, val\[0\]: 'c': no such picture"):
        read({"train": ["2"], "val": ["c"]})
    with pytest.raises(UserError, match=r"d\.yaml: .*splits\.json: has no list for 'val'"):
        read({"train": ["2"], "test": ["a/1"]})
