"""What a run is put together from is checked before anything long begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask import build_model
from clipmask.config import get_cfg
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.engine.assembly import assemble, check_datasets, load_same_model, start_from
from clipmask.engine.launch import launch
from clipmask.errors import UserError
from clipmask.vocabulary import Vocabulary
from clipmask.weights.checkpoint import load_checkpoint, save_checkpoint
from tests.checkpoints import write_checkpoint
from tests.conftest import NAMES

from . import tiny

pytestmark = pytest.mark.usefixtures("tiny_root")


@pytest.fixture
def dataset():
    """Registers a dataset for one test."""
    names = []

    def add(name: str, records: list[dict], **metadata: object) -> None:
        names.append(name)
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(**metadata)

    yield add
    for name in names:
        DatasetCatalog.remove(name)


def test_classes_come_from_the_metadata(tmp_path: Path, fabric) -> None:
    (vocabulary,) = check_datasets(tiny.tiny_cfg(tmp_path), fabric)
    assert vocabulary.names == tiny.CLASSES


def test_an_unknown_dataset_lists_the_known(tmp_path: Path, fabric) -> None:
    with pytest.raises(UserError) as error:
        check_datasets(tiny.tiny_cfg(tmp_path, "DATASETS.TEST", ("tiny_vall",)), fabric)
    for words in ("tiny_vall", "tiny_val,", "tiny_train", "--register"):
        assert words in str(error.value)


def test_no_training_data(tmp_path: Path, fabric) -> None:
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN is empty"):
        check_datasets(tiny.tiny_cfg(tmp_path, "DATASETS.TRAIN", ()), fabric)


def test_an_empty_dataset_and_one_without_classes(tmp_path: Path, fabric, dataset) -> None:
    dataset("tiny_empty", [], stuff_classes=list(tiny.CLASSES))
    with pytest.raises(UserError, match="is empty"):
        check_datasets(tiny.tiny_cfg(tmp_path, "DATASETS.TRAIN", ("tiny_empty",)), fabric)
    dataset("tiny_nameless", [{"file_name": "a.png"}])
    with pytest.raises(UserError, match="no class names"):
        check_datasets(tiny.tiny_cfg(tmp_path, "DATASETS.TRAIN", ("tiny_nameless",)), fabric)


def test_what_is_tested_was_trained(tmp_path: Path, fabric, dataset) -> None:
    (tmp_path / "a.png").touch()
    record = {"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "a.png")}
    dataset("tiny_other", [record], stuff_classes=["road", "sky", "boat"])
    dataset("tiny_reversed", [record], stuff_classes=list(tiny.CLASSES[::-1]))
    check_datasets(tiny.tiny_cfg(tmp_path, "DATASETS.TEST", ("tiny_reversed",)), fabric)
    with pytest.raises(UserError, match="boat"):
        check_datasets(tiny.tiny_cfg(tmp_path, "DATASETS.TEST", ("tiny_other",)), fabric)


def test_datasets_of_one_run_may_have_lists_of_their_own(tmp_path: Path, fabric, dataset) -> None:
    (tmp_path / "a.png").touch()
    record = {"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "a.png")}
    dataset("tiny_boats", [record], stuff_classes=["road", "boat"])
    train = ("tiny_train", "tiny_boats", "tiny_val")
    found = check_datasets(tiny.tiny_cfg(tmp_path, "DATASETS.TRAIN", train), fabric)
    assert [vocabulary.names for vocabulary in found] == [tiny.CLASSES, ("road", "boat")]


def test_a_checkpoint_of_other_classes_is_not_the_same_model(tmp_path: Path) -> None:
    model = tiny.TinySegmenter(tiny.tiny_cfg(tmp_path))
    checkpoint = {"model": model.state_dict(), "class_names": ["a", "b", "c"]}
    with pytest.raises(UserError, match="was trained on the classes a, b, c"):
        load_same_model(model, checkpoint, checkpoint["model"], "x.pth")


@pytest.mark.parametrize("per_class", [False, True])
def test_what_belongs_to_the_names_of_other_classes_stays_behind(
    tmp_path: Path, per_class: bool
) -> None:
    class WithText(torch.nn.Module):
        def __init__(self, names: tuple[str, ...]) -> None:
            super().__init__()
            self.vocabularies = (Vocabulary.from_names(names),)
            self.body = torch.nn.Linear(2, 2)
            self.text = torch.nn.Module()
            for name in ("embedding", "mean"):
                self.text.register_buffer(name, torch.randn(2, 2))
            self.text.learner = torch.nn.Module()
            self.text.learner.context = torch.nn.Parameter(
                torch.randn(2, 3, 4) if per_class else torch.randn(3, 4)
            )

    source, target, same = WithText(("a", "b")), WithText(("c", "d")), WithText(("a", "b"))
    path = tmp_path / "x.pth"
    save_checkpoint(path, {"model": source.state_dict(), "class_names": ["a", "b"]})
    for model in (target, same):
        start_from(model, str(path), get_cfg())

    def taken(model: WithText) -> list[str]:
        return [
            name
            for name, value in model.state_dict().items()
            if torch.equal(value, source.state_dict()[name])
        ]

    assert taken(same) == list(source.state_dict())
    assert taken(target) == [
        "body.weight",
        "body.bias",
        *([] if per_class else ["text.learner.context"]),
    ]


def test_what_is_taken_and_what_stays_behind_is_told_in_a_few_lines(
    tmp_path: Path, small_cfg: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    """A linear classifier, fewer queries and a text of other classes: what fits is taken all the
    same.
    """
    small_cfg.MODEL.CLIPMASK.CLASSIFIER = "linear"
    path = write_checkpoint(tmp_path / "x.pth", small_cfg)
    small_cfg.MODEL.CLIPMASK.NUM_QUERIES = 6
    small_cfg.MODEL.CLIPMASK.SCALES = ["res4", "res5"]
    model = build_model(small_cfg, ("house;home", "field"))
    caplog.set_level("INFO", "clipmask")
    caplog.clear()
    start_from(model, str(path), small_cfg)
    lines = [record.getMessage() for record in caplog.records]
    stored, own = load_checkpoint(path)["model"], model.state_dict()
    taken = [
        name for name, value in own.items() if name in stored and torch.equal(value, stored[name])
    ]
    assert (
        lines[0]
        == f"started from {path}: {len(taken)} of the model's {len(own)} tensors come from it"
    )
    assert lines[1] == "  licences of that start: trained on toy_street_sem_seg_train (Apache-2.0)"
    assert lines[2] == (
        "  text embeddings: computed for house, field; those of the file are of other classes "
        "(road, sky, tree, car and 1 more)"
    )
    assert 4 <= len(lines) <= 9
    assert all(len(line) < 160 for line in lines[1:])
    assert any(line.startswith("  mask_decoder: ") and "of another shape" in line for line in lines)
    assert any(
        line.startswith("  pixel_decoder: ") and "unknown to the model" in line for line in lines
    )


def test_text_of_other_prompts_is_computed(tmp_path: Path, small_cfg: CfgNode) -> None:
    path = write_checkpoint(tmp_path / "x.pth", small_cfg)
    checkpoint = load_checkpoint(path)
    checkpoint["metadata"]["class_prompts"] = {"road": ["asphalt"]}
    save_checkpoint(path, checkpoint)
    stored = checkpoint["model"]["text.embedding"]
    for prompts, same in [
        ({"road": ["asphalt"]}, True),
        ({"road": ["gravel"]}, False),
        (None, False),
    ]:
        metadata = {"stuff_classes": NAMES, "class_prompts": prompts}
        model = build_model(small_cfg, [Vocabulary.from_metadata(metadata)])
        start_from(model, str(path), small_cfg)
        assert torch.equal(model.text.embedding, stored) is same


SOURCES: list[tuple[str, object]] = [
    ("EMBEDDINGS", "random"),
    ("NAME", "ViT-L-14"),
    ("PROMPTS", ["single"]),
]


@pytest.mark.parametrize(("key", "value"), SOURCES)
def test_text_from_another_source_is_computed(
    tmp_path: Path, small_cfg: CfgNode, key: str, value: object
) -> None:
    """The names and the width may be the same: a T of random vectors must not pass for CLIP's."""
    path = write_checkpoint(tmp_path / "x.pth", small_cfg)
    stored = load_checkpoint(path)["model"]["text.embedding"]
    for changed in (False, True):
        cfg = small_cfg.clone()
        clip = cfg.MODEL.CLIP
        clip[key] = value if changed else clip[key]
        clip[key] = (
            "elsewhere.npz" if changed and clip[key] == small_cfg.MODEL.CLIP[key] else clip[key]
        )
        model = build_model(small_cfg, NAMES)
        start_from(model, str(path), cfg)
        assert torch.equal(model.text.embedding, stored) is not changed


@pytest.mark.parametrize(
    ("key", "value", "warned"),
    [
        ("MODEL.CLIPMASK.NUM_HEADS", 1, True),
        ("MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], True),
        ("INPUT.FORMAT", "BGR", True),
        ("SOLVER.BASE_LR", 0.5, False),
        ("OUTPUT_DIR", "elsewhere", False),
    ],
)
def test_weights_that_fit_another_network_are_warned_of(
    tmp_path: Path,
    small_cfg: CfgNode,
    caplog: pytest.LogCaptureFixture,
    key: str,
    value: object,
    warned: bool,
) -> None:
    """The same shapes with other heads or pixel statistics compute something else."""
    path = write_checkpoint(tmp_path / "x.pth", small_cfg)
    cfg = small_cfg.clone()
    cfg.merge_from_list([key, value])
    caplog.set_level("WARNING", "clipmask")
    start_from(build_model(cfg, NAMES), str(path), cfg)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [key in warning for warning in warnings] == [True] * warned


def test_recomputing_and_compiling_exclude_each_other(small_cfg: CfgNode) -> None:
    small_cfg.MODEL.COMPILE = True
    small_cfg.SOLVER.ACTIVATION_CHECKPOINT = "head"
    with pytest.raises(UserError) as caught:
        assemble(small_cfg, launch(small_cfg), [Vocabulary.from_names(NAMES)], "")
    assert caught.value.key == "SOLVER.ACTIVATION_CHECKPOINT"
