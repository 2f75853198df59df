"""Each mistake in a descriptor is one message that names the file, the key and the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipmask.data.descriptor import read_descriptor
from clipmask.data.descriptor_fields import read_yaml
from clipmask.errors import UserError

from .described import write_yaml

RED, BLUE = {"name": "a", "color": [255, 0, 0]}, {"name": "b", "color": [0, 0, 255]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clases": ["a"]}, "there is no key 'clases'; did you mean classes"),
        ({"xyz": 1}, "there is no key 'xyz'; .*name, images"),
        ({"images": None}, "images is missing"),
        ({"labels": "nowhere"}, r"labels: nowhere: no such folder \(.*relative to the descriptor"),
        ({"labels": 3}, "labels is 3"),
        ({"name": "a b"}, "name is 'a b'; .* letters"),
        ({"encoding": "RGB"}, "encoding is 'RGB'; .* ids, palette, rgb"),
        ({"image_suffix": "*.jpg"}, r"image_suffix is '\*\.jpg'"),
        ({"ignore_id": 2**31}, "ignore_id is 2147483648; .* a whole number"),
        ({"image_range": [5]}, r"image_range is \[5\]"),
        ({"ignore_id": []}, "ignore_id is"),
        (
            {"classes": [{"name": "a", "id": [0, 9]}, {"name": "b", "id": 9}]},
            "the id 9 is there twice",
        ),
        ({"classes": ["a", "b"], "ignore_id": [255, 1]}, "'b' has the id 1, which is ignore_id"),
        ({"classes": [{"name": "a", "color": "#ff00"}]}, "color is '#ff00'; .*'#rrggbb'"),
        ({"label_folders": {"a/b": "c"}}, "label_folders is"),
        ({"labels_flat": "yes"}, "labels_flat is 'yes'"),
        ({"color_tolerance": -1}, "color_tolerance is -1"),
        ({"others": "ignore"}, "others is 'ignore'; .* error, void"),
        ({"classes": ["a"], "transparent": "b"}, "transparent is 'b'; .* void"),
        ({"ignore_id": True}, "ignore_id is True"),
        ({"void_colors": [0, 0, 0]}, r"void_colors\[0\] is 0; .* \[red, green, blue\]"),
        ({"classes": None}, r"classes is missing; list the classes .* such as \[road, sky\]"),
        ({"classes": {"a": 0}}, "classes is {'a': 0}"),
        ({"classes": ["a", False]}, r"classes\[1\] is False; .*write it in quotes"),
        (
            {"classes": ["a", {"nam": "b"}]},
            r"classes\[1\]: there is no key 'nam'; did you mean name",
        ),
        ({"classes": [{"id": 1}]}, r"classes\[0\]: name is missing"),
        ({"classes": [{"name": 5}]}, r"classes\[0\]: name is 5; .*in quotes"),
        ({"classes": [" ; "]}, r"classes\[0\]: name is ' ; '"),
        (
            {"classes": [{"name": "a", "color": [1, 2, 256]}]},
            r"classes\[0\]: color is \[1, 2, 256\]; .*0 to 255",
        ),
        ({"classes": [{"name": "a", "id": 0.5}]}, r"classes\[0\]: id is 0.5; .* a whole number"),
        (
            {"classes": [{"name": "a", "prompts": [3]}]},
            r"classes\[0\]: prompts is \[3\]; .* a list of texts",
        ),
        ({"classes": ["a", "b", "a"]}, "the name 'a' is there twice"),
        ({"classes": ["a", {"name": "b", "synonyms": ["a"]}]}, "the name 'a' is there twice"),
        ({"classes": ["a", {"name": "b", "id": 0}]}, "the id 0 is there twice"),
        ({"classes": [{"name": "a", "id": 255}]}, "'a' has the id 255, which is ignore_id"),
        (
            {"classes": [RED, {**BLUE, "color": [255, 0, 0]}]},
            r"the color \[255, 0, 0\] is there twice",
        ),
        ({"classes": [RED, "b"]}, "no color for 'b', but"),
        (
            {"classes": ["a", BLUE], "encoding": "rgb"},
            "no color for 'a', but encoding rgb reads labels by",
        ),
        (
            {"classes": [RED], "encoding": "rgb", "void_colors": [[255, 0, 0]]},
            r"void_colors has \[255, 0, 0\].*'a'",
        ),
        ({"splits": [0.8, 0.2]}, r"splits is \[0\.8, 0\.2\]; "),
        ({"splits": {"train": 0.8, "val": 0.1}}, r"splits: {train: 0\.8, val: 0\.1} sum to 0\.9"),
        ({"splits": {"train": 1.5, "val": -0.5}}, "shares .* 0 or more"),
        ({"splits": {"train": 0.8, "val": "val.txt"}}, "mixes shares with files"),
        (
            {"splits": {"train": "t.txt"}},
            r"splits: train: t\.txt: neither a text file \(.*nor a subfolder of images",
        ),
        ({"splits": {"train": ["a"]}}, r"splits: train is \['a'\]"),
        ({"splits": {"a b": 1}}, "'a b' .* the name of a split"),
    ],
)
def test_mistakes(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "i").mkdir()
    content = {"images": "i", "labels": "i", "classes": ["a", "b"], **change}
    path = write_yaml(
        tmp_path / "d.yaml", **{key: value for key, value in content.items() if value is not None}
    )
    with pytest.raises(UserError, match=rf"^descriptor .*d\.yaml: .*{message}") as error:
        read_descriptor(path)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_descriptor(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="clipmask-data init"):
        read_yaml(tmp_path)
