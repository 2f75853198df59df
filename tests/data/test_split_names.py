"""What splits are called, and the forms in which JSON files list their pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipmask.data.split_names import is_train_and_val, read_json_lists, split_name
from clipmask.errors import UserError


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("images_train", "train"),
        ("Training", "train"),
        ("VALID", "val"),
        ("trainval", None),
        ("train_val", None),
        ("contest", None),
        ("test2017", "test"),
    ],
)
def test_names_of_splits(text: str, split: str | None) -> None:
    assert split_name(text) == split


@pytest.mark.parametrize("text", ["trainval", "train_val", "train-validation", "TrainVal"])
def test_train_and_val_together(text: str) -> None:
    assert is_train_and_val(text)
    assert not is_train_and_val("train")
    assert not is_train_and_val("train_test")


def _read(folder: Path, content: Any) -> dict[str | None, list[str]]:
    path = folder / "splits.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_json_lists(path)


@pytest.mark.parametrize(
    ("content", "lists"),
    [
        ({"train": ["a", "b.jpg"], "validation": ["c"]}, {"train": ["a", "b.jpg"], "val": ["c"]}),
        ({"a": "train", "b": "val", "c": "training"}, {"train": ["a", "c"], "val": ["b"]}),
        (
            {"training": [{"image": "i/a.jpg", "label": "l/a.png"}], "test": [["b", "b.png"]]},
            {"train": ["i/a.jpg"], "test": ["b"]},
        ),
        ({"train": [7], "val": [8], "classes": {"road": 0}}, {"train": ["7"], "val": ["8"]}),
        (["a", {"file_name": "b"}], {None: ["a", "b"]}),
    ],
)
def test_forms_of_lists(tmp_path: Path, content: Any, lists: dict[str | None, list[str]]) -> None:
    assert _read(tmp_path, content) == lists


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "as JSON"),
        ({"images": [], "annotations": []}, "is not understood as lists"),
        ("3", "is not understood as lists"),
        ([{"train": ["a"], "val": ["b"]}] * 5, "contains 5 sets of lists"),
        ({"a": "train", "b": "unseen"}, "'b' has the split 'unseen'"),
        ({"train": [{"label": "a"}]}, "not the name of a picture"),
        ({"train": [True]}, "true is not the name of a picture"),
    ],
)
def test_what_is_no_list_is_told(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"splits\.json: .*{message}"):
        _read(tmp_path, content)
