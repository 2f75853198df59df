"""Registered datasets: minimal metadata suffice, and what is missing is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipmask.d2 import DatasetCatalog
from clipmask.data.catalog import load_dataset, load_training_set
from clipmask.errors import UserError

Register = Callable[..., str]
RECORDS = [{"file_name": "a.png", "sem_seg_file_name": "b.png"}]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the samples name, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "0", "1", "2"):
        (tmp_path / f"{name}.png").touch()


def test_class_names_are_all_a_user_must_give(register: Register) -> None:
    name = register(RECORDS, stuff_classes=["road", "sky"])
    dataset = load_dataset(name, labelled=True)
    assert dataset.records == RECORDS
    assert dataset.classes == ("road", "sky")
    assert dataset.ignore_label == 255


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"'camvid_train' is not registered.*camvid_sem_seg_train.*toy_street_sem_seg_val"
    ):
        load_dataset("camvid_train", labelled=True)


def test_an_error_in_the_users_own_function_is_told_with_its_place(register: Register) -> None:
    def broken() -> list[dict[str, str]]:
        raise KeyError("mine")

    name = register(RECORDS, stuff_classes=["road"])
    DatasetCatalog.pop(name)
    DatasetCatalog.register(name, broken)
    with pytest.raises(UserError, match=r"raised KeyError: 'mine' \(.*test_catalog\.py, line \d+\)"):
        load_dataset(name, labelled=True)


@pytest.mark.parametrize("records", [({"file_name": "a.png"},), ["a.png"]])
def test_samples_are_a_list_of_dicts(register: Register, records: object) -> None:
    with pytest.raises(UserError, match="must return a list of dicts"):
        load_dataset(register(records, stuff_classes=["road"]), labelled=False)


def test_missing_files_are_told_before_anything_begins(register: Register) -> None:
    name = register([*RECORDS, {**RECORDS[0], "file_name": "none.png"}], stuff_classes=["road"])
    with pytest.raises(UserError, match=r"none\.png: no such file \(1 of"):
        load_dataset(name, labelled=True)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"stuff_classes": "road,sky"}, "must be a list of names"),
        ({"stuff_classes": ["road", " "]}, "must be a list of names"),
        ({"stuff_classes": ["road", "road"]}, "names a class twice"),
        ({"stuff_classes": ["road", "sky"], "ignore_label": 0}, "no class id"),
        ({"stuff_classes": ["road", "sky"], "ignore_label": "255"}, "whole number"),
        ({"stuff_classes": ["road", "sky"], "stuff_colors": [[1, 2, 3]]}, "1 colours for 2 classes"),
    ],
)
def test_metadata_that_contradict_themselves(register: Register, metadata: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset(register(RECORDS, **metadata), labelled=True)


def test_what_is_missing_is_told(register: Register) -> None:
    with pytest.raises(UserError, match="no class names"):
        load_dataset(register(RECORDS), labelled=True)
    with pytest.raises(UserError, match="is empty"):
        load_dataset(register([], stuff_classes=["road"]), labelled=True)
    unlabelled = register([{"file_name": "a.png"}], stuff_classes=["road"])
    with pytest.raises(UserError, match=r"sample 0 \(a\.png\) has no 'sem_seg_file_name'"):
        load_dataset(unlabelled, labelled=True)
    assert len(load_dataset(unlabelled, labelled=False).records) == 1


def test_several_training_sets_are_one(register: Register) -> None:
    names = [register([{**RECORDS[0], "file_name": f"{i}.png"}], stuff_classes=["road", "sky"]) for i in range(3)]
    dataset = load_training_set(names)
    assert [record["file_name"] for record in dataset.records] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    "other", [{"stuff_classes": ["sky", "road"]}, {"stuff_classes": ["road", "sky"], "ignore_label": 254}]
)
def test_training_sets_must_agree(register: Register, other: dict[str, object]) -> None:
    names = [register(RECORDS, stuff_classes=["road", "sky"]), register(RECORDS, **other)]
    with pytest.raises(UserError, match=rf"{names[0]} and {names[1]} can't be trained together"):
        load_training_set(names)


def test_no_training_set_is_an_error() -> None:
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN is empty"):
        load_training_set(())
