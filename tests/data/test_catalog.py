"""Registered datasets: minimal metadata suffice, and what is missing is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clipmask.data.catalog import load_dataset, load_training_set
from clipmask.errors import UserError

Register = Callable[..., str]
RECORDS = [{"file_name": "a.png", "sem_seg_file_name": "b.png"}]


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


def test_a_key_error_of_the_users_own_function_is_not_hidden(register: Register) -> None:
    class Broken(list[dict[str, str]]):
        def __len__(self) -> int:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        load_dataset(register(Broken(), stuff_classes=["road"]), labelled=True)


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
    "other", [{"stuff_classes": ["sky", "road"]}, {"stuff_classes": ["road", "sky"], "ignore_label": 0}]
)
def test_training_sets_must_agree(register: Register, other: dict[str, object]) -> None:
    names = [register(RECORDS, stuff_classes=["road", "sky"]), register(RECORDS, **other)]
    with pytest.raises(UserError, match=rf"{names[0]} and {names[1]} can't be trained together"):
        load_training_set(names)


def test_no_training_set_is_an_error() -> None:
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN is empty"):
        load_training_set(())
