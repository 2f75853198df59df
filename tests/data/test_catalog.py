"""Registered datasets: minimal metadata suffice, and what is missing is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipmask.d2 import DatasetCatalog, SemSegEvaluator
from clipmask.data.catalog import dataset_vocabulary, label_reader, load_dataset, load_training_sets
from clipmask.data.label_format import LabelFormat
from clipmask.data.mapper import TestMapper
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


def test_numbers_and_names_may_be_those_of_numpy(register: Register) -> None:
    metadata = {"stuff_classes": np.array(["road", "sky"]), "ignore_label": np.int64(255)}
    dataset = load_dataset(register(RECORDS, **metadata), labelled=True)
    assert dataset.classes == ("road", "sky")
    assert dataset.label_format == LabelFormat(2, 255)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UserError,
        match=r"'camvid_train' is not registered.*camvid_sem_seg_train.*toy_street_sem_seg_val",
    ):
        load_dataset("camvid_train", labelled=True)


def test_an_error_in_the_users_own_function_is_told_with_its_place(register: Register) -> None:
    def broken() -> list[dict[str, str]]:
        raise KeyError("mine")

    name = register(RECORDS, stuff_classes=["road"])
    DatasetCatalog.pop(name)
    DatasetCatalog.register(name, broken)
    with pytest.raises(
        UserError, match=r"raised KeyError: 'mine' \(.*test_catalog\.py, line \d+\)"
    ):
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
        ({"stuff_classes": ["road", "sky"], "ignore_label": 0}, "ignore_label is 0; .* class id"),
        ({"stuff_classes": ["road", "sky"], "ignore_label": "255"}, "whole number"),
        (
            {"stuff_classes": ["road", "sky"], "stuff_colors": [[1, 2, 3]]},
            "1 colours for 2 classes",
        ),
        (
            {"stuff_classes": ["road", "sky"], "label_mapping": [7, 23]},
            r"label_mapping is \[7, 23\]; it must be a dict",
        ),
        ({"stuff_classes": ["road", "sky"], "label_mapping": {}}, "must be a dict"),
        ({"stuff_classes": ["road", "sky"], "label_mapping": {"7": 0}}, "has the key '7'"),
        ({"stuff_classes": ["road", "sky"], "label_mapping": {0.5: 0}}, "has the key 0.5"),
        ({"stuff_classes": ["road", "sky"], "label_mapping": {2**31: 0}}, "has the key 2147483648"),
        (
            {"stuff_classes": ["road", "sky"], "label_mapping": {7: 2}},
            r"7 to 2, .* class id \(0 to 1\) nor void",
        ),
        ({"stuff_classes": ["road", "sky"], "label_mapping": {7: True}}, "7 to True"),
        (
            {"stuff_classes": ["road"], "label_mapping": {7: 0}, "label_values": {7: 0}},
            "label_mapping and label_values are both",
        ),
        (
            {"stuff_classes": ["road"], "label_values": {}},
            r"label_values is {}; .*ids or \(r, g, b\)",
        ),
        (
            {"stuff_classes": ["road"], "label_values": {(1, 2): 0}},
            r"key \(1, 2\); all keys",
        ),
        (
            {"stuff_classes": ["road"], "label_values": {(1, 2, 3): 0, 7: 0}},
            "key 7; all keys",
        ),
        ({"stuff_classes": ["road"], "label_values": {(1, 2, 256): 0}}, "from 0 to 255"),
        ({"stuff_classes": ["road"], "label_values": {True: 0}}, "has the key True"),
        (
            {"stuff_classes": ["road"], "label_values": {(1, 2, 3): 1}},
            r"maps \(1, 2, 3\) to 1, which is neither",
        ),
        (
            {"stuff_classes": ["road"], "label_format": {7: 0}},
            "must be a clipmask.data.LabelFormat",
        ),
        ({"stuff_classes": ["road"], "label_format": LabelFormat(2)}, "label_format has 2 classes"),
        (
            {"stuff_classes": ["road"], "ignore_label": 9, "label_format": LabelFormat(1)},
            "ignore_label is 9",
        ),
        ({"stuff_classes": ["road"], "image_range": [9, 9]}, "image_range is"),
        (
            {"stuff_classes": ["road"], "class_prompts": {"rood": ["a"]}},
            r"class_prompts .* class names \(road\)",
        ),
        (
            {"stuff_classes": ["road"], "class_prompts": {"road": "a {}"}},
            "class_prompts has 'a {}' for 'road'",
        ),
    ],
)
def test_metadata_that_contradict_themselves(
    register: Register, metadata: dict[str, object], message: str
) -> None:
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


def test_several_training_sets_come_in_their_order(register: Register) -> None:
    names = [
        register([{**RECORDS[0], "file_name": f"{i}.png"}], stuff_classes=["road", "sky"])
        for i in range(3)
    ]
    datasets = load_training_sets(names)
    assert [dataset.records[0]["file_name"] for dataset in datasets] == ["0.png", "1.png", "2.png"]


def test_members_are_part_of_the_vocabulary(register: Register) -> None:
    members = {"vehicles": ["car", "bus;coach"]}
    name = register(RECORDS, stuff_classes=["road", "vehicles"], class_members=members)
    vocabulary = load_dataset(name, labelled=True).vocabulary
    assert [term.text for term in vocabulary.terms] == ["road", "car", "bus;coach"]
    assert vocabulary == dataset_vocabulary(name)


@pytest.mark.parametrize(
    "members",
    [
        {"trucks": ["lorry"]},
        {"vehicles": "car"},
        {"vehicles": []},
        {"vehicles": ["road"]},
        {"vehicles": ["a", "a"]},
        3,
    ],
)
def test_members_that_make_no_sense(register: Register, members: object) -> None:
    name = register(RECORDS, stuff_classes=["road", "vehicles"], class_members=members)
    with pytest.raises(UserError, match="class_members"):
        load_dataset(name, labelled=True)


def test_the_label_mapping_comes_with_the_dataset(register: Register) -> None:
    names = [
        register(RECORDS, stuff_classes=["road", "sky"], label_mapping={7: 0, 23: 1, 4: 255})
        for _ in range(2)
    ]
    expected = LabelFormat(2, 255, {7: 0, 23: 1, 4: 255}, others_are_void=True)
    assert [dataset.label_format for dataset in load_training_sets(names)] == [expected, expected]
    assert load_dataset(
        register(RECORDS, stuff_classes=["road"]), labelled=True
    ).label_format == LabelFormat(1)


def test_a_label_format_comes_with_the_dataset(register: Register) -> None:
    Image.fromarray(np.array([[7, 23, 9]], np.uint8)).save("b.png")
    form = LabelFormat(1, 255, {7: 0, 9: 0}, others_are_void=True)
    name = register(RECORDS, stuff_classes=["road"], label_format=form)
    assert load_dataset(name, labelled=True).label_format is form
    assert label_reader(name)("b.png").tolist() == [[0, 255, 0]]


def test_an_image_range_comes_with_each_sample(register: Register) -> None:
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save("a.png")
    name = register(RECORDS, stuff_classes=["road"], image_range=[0, 4095])
    mapped = TestMapper(min_size=0, max_size=9, format="RGB")(
        load_dataset(name, labelled=True).records[0]
    )
    assert mapped["image"][0].tolist() == [[0, 255]]


def test_a_label_reader_knows_its_dataset(register: Register) -> None:
    Image.fromarray(np.array([[7, 23, 9]], np.uint8)).save("b.png")
    mapped = label_reader(
        register(
            RECORDS, stuff_classes=["road", "sky"], label_mapping={7: 0, 23: 1}, ignore_label=2
        )
    )
    labels = mapped("b.png", dtype=int)
    assert labels.tolist() == [[0, 1, 2]]
    assert labels.dtype == int
    labels[labels == 2] = 5  # as Detectron2's evaluator does
    assert mapped("b.png", dtype=np.uint8).tolist() == [[0, 1, 2]]
    assert mapped("b.png", dtype=None).dtype == np.uint8
    with pytest.raises(UserError, match=r"b\.png: is 3x1 pixels"):
        mapped("b.png", size=(2, 3))
    with pytest.raises(UserError, match=r"b\.png: class id 7, 9, 23 out of range"):
        label_reader(register(RECORDS, stuff_classes=["road", "sky"]))("b.png")
    with pytest.raises(UserError, match="'nowhere' is not registered"):
        label_reader("nowhere")


def test_an_evaluator_scores_mapped_labels(register: Register) -> None:
    Image.fromarray(np.array([[7, 23, 9, 23]], np.uint8)).save("b.png")
    name = register(RECORDS, stuff_classes=["road", "sky"], label_mapping={7: 0, 23: 1})
    evaluator = SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=label_reader(name))
    evaluator.reset()
    # the last is wrong, the third void
    scores = torch.eye(2)[torch.tensor([[0, 1, 0, 0]])].permute(2, 0, 1)
    evaluator.process(RECORDS, [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["pACC"] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize(
    "values", [{(9, 9, 9): 0, (0, 0, 0): 1, (5, 5, 5): 255}, {9: 0, 0: 1, 5: 255}]
)
def test_exact_values_are_read_by_mapper_reader_and_evaluator(
    register: Register, values: dict
) -> None:
    """Registered in Python as by a descriptor: a grey file holds ids or colours, whatever the keys
    are.
    """
    Image.fromarray(np.array([[9, 0, 5, 0]], np.uint8)).save("b.png")
    name = register(RECORDS, stuff_classes=["road", "sky"], label_values=values)
    assert label_reader(name)("b.png").tolist() == [[0, 1, 255, 1]]
    assert load_training_sets([name, name])[1].label_format == LabelFormat(2, 255, values)
    evaluator = SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=label_reader(name))
    evaluator.reset()
    evaluator.process(
        RECORDS, [{"sem_seg": torch.eye(2)[torch.tensor([[0, 1, 0, 1]])].permute(2, 0, 1)}]
    )
    assert evaluator.evaluate()["sem_seg"]["pACC"] == pytest.approx(100)
    Image.fromarray(np.array([[9, 8]], np.uint8)).save("b.png")
    with pytest.raises(UserError, match=r"b\.png: .*8.* \(1 pixels\)"):
        label_reader(name)("b.png")


def test_no_training_set_is_an_error() -> None:
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN is empty"):
        load_training_sets(())
