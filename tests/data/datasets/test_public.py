"""Public datasets: their trees on disk load with the names and ids that their users know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask import UserError, load_cfg
from clipmask.d2 import IMPLEMENTATION, DatasetCatalog, MetadataCatalog
from clipmask.data import build_train_loader, claim, label_reader
from clipmask.data.catalog import dataset_vocabulary, load_dataset
from clipmask.data.datasets.ade20k import prepare
from clipmask.data.datasets.class_table import FOLDER, read_table
from tests.conftest import ROOT

SIZE = (48, 64)
PALETTE = np.random.default_rng(1).integers(0, 256, 768).tolist()


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def labels(path: Path, ids: list[int], palette: bool = False) -> None:
    """Writes stripes of these ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.resize(np.repeat(np.array(ids, np.uint8), 2), SIZE[1])
    image = Image.fromarray(np.tile(stripes, (SIZE[0], 1)))
    if palette:
        image.putpalette(PALETTE)
    image.save(path)


def listed(path: Path, *stems: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems))


def draw_ade20k(root: Path) -> None:
    for part, stem in (("training", "ADE_train_1"), ("validation", "ADE_val_1")):
        picture(root / f"ADEChallengeData2016/images/{part}/{stem}.jpg")
        labels(root / f"ADEChallengeData2016/annotations/{part}/{stem}.png", [0, 1, 150])
    (root / "ADEChallengeData2016/objectInfo150.txt").write_text("Idx\tRatio\n")
    assert prepare(root / "ADEChallengeData2016") == 2


def draw_stuff_10k(root: Path) -> None:
    folder = root / "coco/coco_stuff_10k"
    for split in ("train", "test"):
        stem = f"COCO_train2014_{split}"
        picture(folder / f"images_detectron2/{split}/{stem}.jpg")
        labels(folder / f"annotations_detectron2/{split}/{stem}.png", [0, 11, 170, 255])


def draw_stuff_164k(root: Path) -> None:
    for split in ("train", "val"):
        picture(root / f"coco/{split}2017/000000000001.jpg")
        labels(root / f"coco/stuffthingmaps/{split}2017/000000000001.png", [0, 12, 181, 255])


def draw_voc(root: Path, devkit: str = "") -> None:
    folder = root / devkit / "VOC2012"
    for stem in ("2007_1", "2007_2"):
        picture(folder / f"JPEGImages/{stem}.jpg")
        labels(folder / f"SegmentationClassAug/{stem}.png", [0, 20, 255])
    labels(folder / "SegmentationClass/2007_1.png", [0, 20, 255], palette=True)
    for split in ("train", "val", "trainval"):
        listed(folder / f"ImageSets/Segmentation/{split}.txt", "2007_1")
    listed(folder / "ImageSets/Segmentation/trainaug.txt", "2007_1", "2007_2")


def draw_context(root: Path) -> None:
    for stem in ("2008_1", "2008_2"):
        picture(root / f"VOC2010/JPEGImages/{stem}.jpg")
        labels(root / f"VOC2010/SegmentationClassContext/{stem}.png", [0, 1, 59])
    for split, stem in (("train", "2008_1"), ("val", "2008_2")):
        listed(root / f"VOC2010/ImageSets/SegmentationContext/{split}.txt", stem)


def draw_mapillary(root: Path) -> None:
    for part in ("training", "validation"):
        picture(root / f"mapillary_vistas/{part}/images/a.jpg")
        labels(root / f"mapillary_vistas/{part}/labels/a.png", [0, 64, 65], palette=True)


CASES: Mapping[str, tuple[Callable[[Path], None], int, set[int]]] = {
    "ade20k_sem_seg_train": (draw_ade20k, 150, {0, 149, 255}),
    "ade20k_sem_seg_val": (draw_ade20k, 150, {0, 149, 255}),
    "coco_2017_train_stuff_10k_sem_seg": (draw_stuff_10k, 171, {0, 11, 170, 255}),
    "coco_2017_test_stuff_10k_sem_seg": (draw_stuff_10k, 171, {0, 11, 170, 255}),
    "coco_stuff164k_sem_seg_train": (draw_stuff_164k, 171, {0, 11, 170, 255}),
    "coco_stuff164k_sem_seg_val": (draw_stuff_164k, 171, {0, 11, 170, 255}),
    "voc2012_sem_seg_train": (draw_voc, 21, {0, 20, 255}),
    "voc2012_sem_seg_val": (draw_voc, 21, {0, 20, 255}),
    "voc2012_sem_seg_trainval": (draw_voc, 21, {0, 20, 255}),
    "voc2012_sem_seg_trainaug": (draw_voc, 21, {0, 20, 255}),
    "pascal_context59_sem_seg_train": (draw_context, 59, {0, 58, 255}),
    "pascal_context59_sem_seg_val": (draw_context, 59, {0, 58, 255}),
    "mapillary_vistas_sem_seg_train": (draw_mapillary, 65, {0, 64, 65}),
    "mapillary_vistas_sem_seg_val": (draw_mapillary, 65, {0, 64, 65}),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_the_tree_loads(root: Path, name: str) -> None:
    draw, count, seen = CASES[name]
    draw(root)
    dataset = load_dataset(name, labelled=True)
    assert len(dataset.records) == (2 if name.endswith("trainaug") else 1)
    assert len(dataset.vocabulary) == count
    read = label_reader(name)(dataset.records[0]["sem_seg_file_name"])
    assert set(np.unique(read)) == seen
    assert MetadataCatalog.get(name).ignore_label == max(seen)


@pytest.mark.parametrize("name", CASES)
def test_a_missing_tree_is_told(root: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} was not found.*CLIPMASK_DATASETS"):
        load_dataset(name, labelled=True)


def test_what_makes_a_tree_is_named(root: Path) -> None:
    picture(root / "ADEChallengeData2016/images/training/a.jpg")
    with pytest.raises(UserError, match=r"datasets/prepare_ade20k\.py"):
        load_dataset("ade20k_sem_seg_train", labelled=True)
    with pytest.raises(UserError, match="holds no annotations"):
        prepare(root / "ADEChallengeData2016")


def test_voc_in_its_archives_folder(root: Path) -> None:
    draw_voc(root, "VOCdevkit")
    [record] = load_dataset("voc2012_sem_seg_val", labelled=True).records
    assert record["file_name"].endswith("VOCdevkit/VOC2012/JPEGImages/2007_1.jpg")


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.tsv")))
def test_tables(name: str) -> None:
    rows = read_table(name)
    assert len({row.name for row in rows}) == len({row.label_id for row in rows}) == len(rows)
    first = [row.synonyms[0] for row in rows]
    assert len(set(first)) == len(first), "CLIP reads different words for different classes"
    for row in rows:
        assert all(word and word == word.strip() and ";" not in word for word in row.synonyms)
        assert not any(word[-6:] in ("-other", "-stuff") for word in row.synonyms)


def test_clip_reads_synonyms_in_place_of_names() -> None:
    vocabulary = dataset_vocabulary("ade20k_sem_seg_val")
    drawers = vocabulary.classes[44].term
    assert drawers.synonyms == ("chest of drawers", "dresser")
    assert drawers.aliases == ("chest of drawers, chest, bureau, dresser",)
    assert MetadataCatalog.get("ade20k_sem_seg_val").stuff_classes[44] == drawers.aliases[0]
    assert type(vocabulary).from_metadata(vocabulary.metadata()).names == vocabulary.names


def test_synonyms_are_checked(register: Callable[..., str]) -> None:
    name = register([], stuff_classes=["a"], class_synonyms={"b": ["c"]})
    with pytest.raises(UserError, match="class_synonyms"):
        dataset_vocabulary(name)


@pytest.mark.parametrize(
    ("config", "draw"),
    [
        ("ade20k/clipmask_r50.yaml", draw_ade20k),
        ("coco_stuff/clipmask_r50_10k.yaml", draw_stuff_10k),
        ("coco_stuff/clipmask_r50_164k.yaml", draw_stuff_164k),
        ("pascal/clipmask_r50_voc2012.yaml", draw_voc),
        ("pascal/clipmask_r50_voc2012aug.yaml", draw_voc),
        ("pascal/clipmask_r50_context59.yaml", draw_context),
        ("mapillary/clipmask_r50.yaml", draw_mapillary),
    ],
)
def test_its_config_makes_training_samples(
    root: Path, config: str, draw: Callable[[Path], None]
) -> None:
    draw(root)
    cfg: CfgNode = load_cfg(
        ROOT / "configs" / config,
        ["DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER", "1"]
        + ["INPUT.CROP.SIZE", "(32,32)", "INPUT.MIN_SIZE_TRAIN", "(48,)"]
        + ["INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice"],
    )
    [[sample]] = build_train_loader(cfg, seed=0)
    name = cfg.DATASETS.TRAIN[0]
    assert set(np.unique(sample["sem_seg"])) <= CASES[name][2]
    assert sample["image"].shape == (3, 32, 32)


GUARDED = [name for name in CASES if name.startswith(("coco_stuff164k", "voc2012", "pascal"))]


@pytest.mark.parametrize("name", [*GUARDED, "ade20k_sem_seg_val"])
def test_other_readers_get_class_ids_or_an_error(root: Path, name: str) -> None:
    CASES[name][0](root)
    record: dict[str, Any] = DatasetCatalog.get(name)[0]
    assert Path(record["file_name"]).is_file()
    if name not in GUARDED:
        ids = np.asarray(Image.open(record["sem_seg_file_name"]))
        assert set(np.unique(ids)) == CASES[name][2]
        return
    assert "sem_seg_file_name" not in record
    with pytest.raises(UserError, match="build_train_loader"):
        record["sem_seg_file_name"]


@pytest.mark.skipif(IMPLEMENTATION != "detectron2", reason="Detectron2 is not in use")
def test_names_of_its_projects_are_left_to_them() -> None:
    """A project of Detectron2's that is imported later registers them itself."""
    name = "mapillary_vistas_sem_seg_val"
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(
        stuff_classes=[row.name for row in read_table("mapillary_vistas")]
    )
    assert len(dataset_vocabulary(name)) == 65
    DatasetCatalog.remove(name)


@pytest.mark.parametrize(
    "name", ["mapillary_vistas_sem_seg_val", "coco_2017_test_stuff_10k_sem_seg"]
)
def test_a_dataset_that_waits_can_be_claimed(root: Path, name: str) -> None:
    claim(name)
    claim(name)
    assert list(DatasetCatalog.list()).count(name) == 1
    CASES[name][0](root)
    assert len(DatasetCatalog.get(name)) == 1
