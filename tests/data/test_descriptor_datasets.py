"""Descriptors become registered datasets: metadata, warnings once, names that are taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from clipmask.d2 import DatasetCatalog, MetadataCatalog, SemSegEvaluator
from clipmask.data.catalog import label_reader, load_dataset
from clipmask.data.descriptor import read_descriptor
from clipmask.data.descriptor_datasets import refuse_among_pictures, register_descriptor
from clipmask.data.guarded import read_by_format
from clipmask.errors import UserError

from .described import write_described, write_tree, write_yaml

pytestmark = pytest.mark.usefixtures("catalogs")


def test_an_evaluator_reads_the_colours(tmp_path: Path) -> None:
    register_descriptor(write_described(tmp_path, count=2))
    record = load_dataset("fields_val", labelled=True).records[0]
    truth = label_reader("fields_val")(record["sem_seg_file_name"])
    with pytest.raises(UserError, match="build_evaluator"):
        SemSegEvaluator("fields_val")  # it would read colours as ids
    with read_by_format():
        evaluator = SemSegEvaluator(
            "fields_val", distributed=False, sem_seg_loading_fn=label_reader("fields_val")
        )
    evaluator.reset()
    scores = torch.eye(3)[torch.from_numpy(np.where(truth == 255, 0, truth))].permute(2, 0, 1)
    evaluator.process([record], [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100)


def test_synonyms_and_prompts_reach_the_metadata(tmp_path: Path) -> None:
    write_tree(tmp_path, "i/1.png", "l/1.png")
    classes = [
        {"name": "car", "synonyms": ["automobile"], "prompts": ["a {} on a road", "traffic"]},
        "sky; heavens",
    ]
    register_descriptor(write_yaml(tmp_path / "d.yaml", images="i", labels="l", classes=classes))
    metadata = MetadataCatalog.get("d_val")
    assert metadata.stuff_classes == ["car;automobile", "sky;heavens"]
    assert metadata.class_prompts == {"car;automobile": ["a {} on a road", "traffic"]}


def test_what_a_class_includes_reaches_the_metadata(tmp_path: Path) -> None:
    write_tree(tmp_path, "i/1.png", "l/1.png")
    classes = ["road", {"name": "vehicles", "includes": ["car;automobile", "bus"]}]
    register_descriptor(write_yaml(tmp_path / "d.yaml", images="i", labels="l", classes=classes))
    assert MetadataCatalog.get("d_val").class_members == {"vehicles": ["car;automobile", "bus"]}
    with pytest.raises(UserError, match="'road' is there twice"):
        read_descriptor(
            write_yaml(
                tmp_path / "e.yaml",
                images="i",
                labels="l",
                classes=["road", {"name": "ground", "includes": ["road", "grass"]}],
            )
        )


def test_the_same_file_may_be_registered_again(tmp_path: Path) -> None:
    path = write_described(tmp_path)
    assert register_descriptor(path) == register_descriptor(path)
    content = yaml.safe_load(path.read_text())
    content["classes"][0]["name"] = "heavens"
    register_descriptor(write_yaml(path, **content))
    assert MetadataCatalog.get("fields_train").stuff_classes[0] == "heavens"
    other = write_described(tmp_path / "other")
    with pytest.raises(UserError, match=r"'fields_train' is registered by .*give another 'name:'"):
        register_descriptor(other)
    with pytest.raises(UserError, match="'camvid_sem_seg_train' is registered already"):
        register_descriptor(write_yaml(other, **{**content, "name": "camvid_sem_seg"}))


def test_pictures_without_labels_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_described(tmp_path)
    (tmp_path / "masks/a/02_mask.png").unlink()
    register_descriptor(path)
    count = sum(
        len(load_dataset(f"fields_{split}", labelled=True).records)
        for split in ("train", "val", "train")
    )
    assert count > 5
    assert sum(map(len, read_descriptor(path).samples().values())) == 5
    assert [record.getMessage() for record in caplog.records] == [
        f"descriptor {path}: 1 of 6 pictures have no label map and are left out; clipmask-data"
        " check lists them"
    ]


def test_a_range_of_pictures_reaches_the_metadata(tmp_path: Path) -> None:
    write_tree(tmp_path, "i/1.png", "l/1.png")
    register_descriptor(
        write_yaml(
            tmp_path / "d.yaml", images="i", labels="l", classes=["a"], image_range=[0, 4095]
        )
    )
    assert list(MetadataCatalog.get("d_train").image_range) == [0, 4095]


def test_class_names_without_meaning_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tree(tmp_path, "i/1.png", "l/1.png")
    register_descriptor(
        write_yaml(tmp_path / "d.yaml", images="i", labels="l", classes=["class_0", "sky"])
    )
    for _ in range(2):
        DatasetCatalog.get("d_train")
    messages = [record.getMessage() for record in caplog.records]
    warnings = [message for message in messages if "class_0" in message]
    assert len(warnings) == 1
    assert f"descriptor {tmp_path / 'd.yaml'}: the class name class_0" in warnings[0]


def test_results_may_not_lie_among_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run would train on the pictures of this one."""
    write_tree(tmp_path, "i/1.png", "l/1.png")
    register_descriptor(write_yaml(tmp_path / "d.yaml", images="i", labels="l", classes=["a"]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("i")
    for folder in ("i/run", "i", "link/run"):
        with pytest.raises(UserError, match=rf"OUTPUT_DIR {folder}: lies in .*i, where .*d\.yaml"):
            refuse_among_pictures(Path(folder), ["d_train", "unknown"])
    for folder in ("run", "l/run", "."):
        refuse_among_pictures(Path(folder), ["d_train", "unknown"])
    suffix = write_yaml(
        tmp_path / "e.yaml", images="i", labels="l", classes=["a"], image_suffix=".jpg"
    )
    register_descriptor(suffix)
    refuse_among_pictures(Path("i/run"), ["e_train"])
