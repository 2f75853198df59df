"""Dataset roots: their order, when they are read, and what is said where nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.data.datasets.roots import dataset_root, dataset_roots
from clipmask.errors import UserError


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three roots, each with one file of the dataset ``fields``."""
    places = {name: tmp_path / name for name in ("ours", "theirs", "datasets")}
    for place in places.values():
        (place / "fields").mkdir(parents=True)
        (place / "fields" / "list.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(places["ours"]))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(places["theirs"]))
    return places


def find() -> Path:
    return dataset_root(["fields/list.txt"], dataset="fields", tree="fields/ with list.txt")


def test_the_first_root_that_holds_the_dataset_wins(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find() == places["ours"]
    (places["ours"] / "fields" / "list.txt").unlink()
    assert find() == places["theirs"]
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert find().resolve() == places["datasets"]


def test_an_empty_variable_is_none(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPMASK_DATASETS", "")
    assert find() == places["theirs"]


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMASK_DATASETS", "~/data")
    assert dataset_roots()[0] == Path.home() / "data"


def test_a_missing_dataset_tells_where_it_was_looked_for(places: dict[str, Path]) -> None:
    for place in places.values():
        (place / "fields" / "list.txt").unlink()
    with pytest.raises(UserError) as caught:
        find()
    message = str(caught.value)
    assert all(str(place) in message for place in places.values())
    assert "fields/ with list.txt" in message
    assert "CLIPMASK_DATASETS" in message
    assert "\n" not in message
