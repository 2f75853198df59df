"""Splits are drawn so that each of them shows every class, where that can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipmask.cli.data.command import main
from clipmask.curation.guessing.drawing import seed_with_all_classes
from clipmask.data.descriptor import read_descriptor
from clipmask.data.reading import read_labels
from clipmask.data.splits import by_share
from tests.curation.converting.exports import dump, photo, ring
from tests.curation.guessing.trees import photo as noise
from tests.curation.guessing.trees import save

SHARES = {"train": 0.8, "val": 0.2}


def _missing(shown: dict[Path, set[int]], seed: int) -> int:
    every = set().union(*shown.values())
    found = by_share(SHARES, list(shown), seed)
    return sum(len(every - set().union(*(shown[p] for p in own))) for own in found.values())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 4)), min_size=2, max_size=14))
def test_no_draw_that_was_looked_at_is_better(labels: list[set[int]]) -> None:
    shown = {Path(f"{number}.png"): own for number, own in enumerate(labels)}
    seed = seed_with_all_classes(SHARES, shown)
    assert _missing(shown, seed) == min(_missing(shown, other) for other in range(100))
    assert seed == 0 or _missing(shown, seed) < _missing(shown, 0)


def test_splits_without_a_share_are_not_waited_for() -> None:
    shown = {Path(f"{number}.png"): {0} for number in range(4)}
    assert seed_with_all_classes({**SHARES, "test": 0.0}, shown) == 0


def _classes_of_splits(path: Path) -> dict[str, set[int]]:
    descriptor = read_descriptor(path)
    found: dict[str, set[int]] = {}
    for split, records in descriptor.samples().items():
        maps = [
            read_labels(record["sem_seg_file_name"], descriptor.label_format) for record in records
        ]
        found[split] = {int(value) for values in maps for value in np.unique(values)}
    return found


def _rare(count: int) -> list[int]:
    """Pictures that alone show the rare class: those that seed 0 puts into train."""
    names = [Path(f"{number}.jpg") for number in range(count)]
    return [names.index(path) for path in by_share(SHARES, names)["train"][:3]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_init_draws_each_class_into_both_splits() -> None:
    rare = _rare(12)
    for number in range(12):
        labels = np.zeros((40, 60), np.uint8)
        labels[:, 30:] = 1
        labels[:10] = 2 if number in rare else 0
        save(noise(number), Path(f"data/images/{number}.jpg"))
        save(Image.fromarray(labels), Path(f"data/labels/{number}.png"))
    assert main(["init", "data", "--names", "sky,road,car"]) == 0
    descriptor = read_descriptor("data.yaml")
    assert descriptor.split_seed > 0
    assert _classes_of_splits(Path("data.yaml")) == {"train": {0, 1, 2}, "val": {0, 1, 2}}
    assert main(["init", "data", "--names", "sky,road,car", "--sample", "5", "--force"]) == 0
    assert read_descriptor("data.yaml").split_seed == 0  # more pictures than may be read


def test_convert_draws_each_class_into_both_splits() -> None:
    rare = _rare(12)
    for number in range(12):
        photo(Path(f"data/{number}.jpg"))
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(12)],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [
            {"image_id": number, "category_id": 1, "segmentation": [ring((4, 24, 5, 30))]}
            for number in rare
        ],
    }
    dump(Path("data/a.json"), content)
    assert main(["convert", "data", "--output", "mine"]) == 0
    assert _classes_of_splits(Path("mine/mine.yaml")) == {"train": {0, 1}, "val": {0, 1}}
