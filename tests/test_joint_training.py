"""One model over datasets with class lists of their own: exact for each of them, from the loader to
the scores.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask import ClipMask, Predictor, UserError, build_model
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data import build_train_loader
from clipmask.engine.evaluation import evaluate_checkpoint
from clipmask.engine.train import train
from clipmask.vocabulary import Vocabulary
from clipmask.weights.checkpoint import load_checkpoint, trained_vocabularies
from tests.conftest import PATIENCE, ROOT
from tests.forked import Forked, ranks

pytestmark = pytest.mark.slow

Inputs = list[dict[str, Any]]
FINE = Vocabulary.from_names(["road", "sky", "tree", "car", "pole"])
COARSE = Vocabulary.from_metadata(
    {
        "stuff_classes": ["things", "ground"],
        "class_members": {"things": ["car", "pole", "bus"], "ground": ["road"]},
    }
)


def with_lists(inputs: Inputs) -> Inputs:
    """The first image is labelled with the fine list, void 255, the second with the coarse one,
    void 9.
    """
    first, second = inputs
    labels = second["sem_seg"].clone()
    labels[labels > 1] = 9
    return [
        {**first, "vocabulary": FINE, "ignore_label": 255},
        {**second, "sem_seg": labels, "vocabulary": COARSE, "ignore_label": 9},
    ]


@pytest.fixture
def joint(small_cfg: CfgNode) -> ClipMask:
    small_cfg.MODEL.BACKBONE.NORM = "FrozenBN"
    return build_model(small_cfg, [FINE, COARSE])


def losses(
    model: ClipMask, inputs: Inputs, normalizer: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    found = model.train()(inputs, normalizer)
    assert isinstance(found, dict)
    return found


def test_a_mixed_batch_has_the_losses_and_gradients_of_its_images(
    joint: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = with_lists(make_inputs((64, 64), (64, 64)))
    normalizer = joint.count_targets(inputs)
    assert normalizer.tolist() == sum(joint.count_targets([one]) for one in inputs).tolist()  # type: ignore[union-attr]
    together = losses(joint, inputs, normalizer)
    torch.stack(list(together.values())).sum().backward()
    gradients = {
        name: value.grad.clone()
        for name, value in joint.named_parameters()
        if value.grad is not None
    }
    joint.zero_grad()
    parts = [losses(joint, [one], normalizer) for one in inputs]
    for part in parts:
        torch.stack(list(part.values())).sum().backward()
    for name, value in together.items():
        torch.testing.assert_close(value, parts[0][name] + parts[1][name], rtol=1e-4, atol=1e-5)
    for name, value in joint.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(value.grad, gradients[name], rtol=1e-2, atol=1e-4)


def test_what_an_image_says_of_its_own_list_changes_no_bit(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs]
) -> None:
    """One dataset alone trains as it did before there were several."""
    small_cfg.MODEL.BACKBONE.NORM = "FrozenBN"
    model, inputs = build_model(small_cfg, [FINE]), make_inputs((64, 64), (64, 64))
    plain = losses(model, inputs)
    told = losses(model, [{**one, "vocabulary": FINE, "ignore_label": 255} for one in inputs])
    assert all(torch.equal(plain[name], told[name]) for name in plain)


@torch.no_grad()
def test_predictions_are_made_in_each_images_own_list(
    joint: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = with_lists(make_inputs((64, 64), (64, 64)))
    joint.eval()
    mixed, labels = joint(inputs), joint.predict_labels(inputs)
    assert [one["sem_seg"].shape[0] for one in mixed] == [5, 2]
    for one, scores, ids in zip(inputs, mixed, labels, strict=True):
        torch.testing.assert_close(
            joint([one])[0]["sem_seg"], scores["sem_seg"], rtol=1e-3, atol=1e-4
        )
        assert int(ids.max()) < scores["sem_seg"].shape[0]


@torch.no_grad()
def test_a_name_of_two_lists_is_one_row(joint: ClipMask) -> None:
    assert [term.text for term in joint.text.terms] == ["road", "sky", "tree", "car", "pole", "bus"]
    T = joint.text()
    assert torch.equal(joint.text.select(T, COARSE), T[[3, 4, 5, 0]])


def test_the_linear_classifier_has_a_head_for_each_dataset(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs]
) -> None:
    small_cfg.MODEL.CLIPMASK.CLASSIFIER = "linear"
    small_cfg.MODEL.BACKBONE.NORM = "FrozenBN"
    model = build_model(small_cfg, [FINE, COARSE])
    weight = model.mask_decoder.classifier.weight
    assert weight.shape[0] == 5 + 2 + 1
    second = with_lists(make_inputs((64, 64), (64, 64)))[1]
    torch.stack(list(losses(model, [second]).values())).sum().backward()
    moved = weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [False] * 5 + [True] * 3
    with pytest.raises(UserError, match="classes are fixed"):
        model.set_vocabulary(["road"])


def write_set(folder: Path, classes: int, void: int, seed: int) -> None:
    """Five pictures whose bands of colour are their labels."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for index in range(5):
        labels = np.sort(generator.integers(0, classes, (48, 64)), axis=0).astype(np.uint8)
        labels[0, :5] = void
        image = np.stack([40 * labels, 200 - 30 * labels, 90 + 0 * labels], axis=2).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{index}.png")
        Image.fromarray(labels).save(folder / f"{index}_labels.png")


def list_set(folder: Path) -> list[dict[str, str]]:
    """Returns the samples of a drawn set."""
    return [
        {
            "file_name": str(folder / f"{i}.png"),
            "sem_seg_file_name": str(folder / f"{i}_labels.png"),
        }
        for i in range(5)
    ]


SETS = {"joint_fine": (FINE, 255), "joint_coarse": (COARSE, 7)}


def register_sets(folder: Path) -> None:
    """Registers a set of five classes, void 255, and one of two coarse classes, void 7; draws what
    is not there.
    """
    for seed, (name, (vocabulary, void)) in enumerate(SETS.items()):
        if not (folder / name).exists():
            write_set(folder / name, len(vocabulary), void, seed)
        DatasetCatalog.register(name, functools.partial(list_set, folder / name))
        MetadataCatalog.get(name).set(
            **vocabulary.metadata(), ignore_label=void, evaluator_type="sem_seg"
        )


@pytest.fixture
def cfg(tmp_path: Path, small_cfg: CfgNode) -> Iterator[CfgNode]:
    """A run over both sets, in batches of both."""
    register_sets(tmp_path)
    settings = {
        "DATASETS.TRAIN": tuple(SETS),
        "DATASETS.TEST": tuple(SETS),
        "DATASETS.TRAIN_WEIGHTS": (2.0, 1.0),
        "SOLVER.MAX_ITER": 4,
        "SOLVER.IMS_PER_BATCH": 3,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.EMA_DECAY": 0.5,
        "INPUT.CROP.SIZE": [32, 32],
        "DATALOADER.NUM_WORKERS": 0,
        "MODEL.DEVICE": "cpu",
        "TEST.NUM_PICTURES": 0,
        "OUTPUT_DIR": str(tmp_path / "run"),
        "SEED": 3,
    }
    for key, value in settings.items():
        small_cfg.merge_from_list([key, value])
    yield small_cfg
    for name in SETS:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_a_batch_mixes_the_datasets_by_their_weights(cfg: CfgNode) -> None:
    cfg.SOLVER.MAX_ITER = 20
    names = [one["vocabulary"].names for step in build_train_loader(cfg, seed=0) for one in step]
    assert abs(names.count(FINE.names) - 40) <= 2
    voids = {
        (one["vocabulary"].names, one["ignore_label"])
        for step in build_train_loader(cfg, seed=0)
        for one in step
    }
    assert voids == {(FINE.names, 255), (COARSE.names, 7)}
    cfg.DATASETS.TRAIN_WEIGHTS = (1.0,)
    with pytest.raises(UserError) as caught:
        build_train_loader(cfg, seed=0)
    assert caught.value.key == "DATASETS.TRAIN_WEIGHTS"


def test_from_two_lists_to_scores_of_each(cfg: CfgNode, tmp_path: Path) -> None:
    results = train(cfg)
    assert set(results) == {"joint_fine", "joint_coarse"}
    assert "IoU-things" in results["joint_coarse"]["sem_seg"]
    assert "mean/sem_seg/mIoU" in (tmp_path / "run" / "metrics.json").read_text()
    path = tmp_path / "run" / "model_final.pth"
    assert [each.label_space for each in trained_vocabularies(load_checkpoint(path))] == [
        FINE.label_space,
        COARSE.label_space,
    ]
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = str(path), str(tmp_path / "again")
    assert evaluate_checkpoint(cfg) == results
    # all trained names are in the checkpoint
    cfg.MODEL.CLIP.EMBEDDINGS = str(tmp_path / "gone.npz")
    predictor = Predictor.from_checkpoint(path)
    assert predictor.names == FINE.names
    predictor.set_vocabulary(["bus", "road"])
    assert set(np.unique(predictor(str(tmp_path / "joint_fine" / "0.png")).labels)) <= {0, 1}


def test_a_joint_run_that_was_stopped_ends_in_the_same_bytes(cfg: CfgNode, tmp_path: Path) -> None:
    train(cfg)
    whole = load_checkpoint(tmp_path / "run" / "model_final.pth")
    cfg.OUTPUT_DIR = str(tmp_path / "parts")
    train(cfg)
    for name in ("model_final.pth", "model_0000003.pth"):
        (tmp_path / "parts" / name).unlink(missing_ok=True)
    (tmp_path / "parts" / "last_checkpoint").write_text("model_0000001.pth")
    train(cfg, resume=True)
    again = load_checkpoint(tmp_path / "parts" / "model_final.pth")
    assert all(torch.equal(value, again["model"][name]) for name, value in whole["model"].items())


def test_two_processes_train_what_one_trains(cfg: CfgNode, tmp_path: Path) -> None:
    """Half of each batch in either; the losses count the targets of both lists over all."""
    words = ["SOLVER.IMS_PER_BATCH", 4, "SOLVER.BASE_LR", 0.001]
    words += ["MODEL.BACKBONE.NORM", "FrozenBN"]  # statistics would be those of a process's half
    cfg.merge_from_list(words)
    (tmp_path / "joint.yaml").write_text(cfg.dump())
    (tmp_path / "sets.py").write_text(
        f"import pathlib, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.test_joint_training import register_sets\n"
        f"register_sets(pathlib.Path({str(tmp_path)!r}))\n"
    )
    losses = {}
    for processes in (1, 2):
        output = tmp_path / f"of_{processes}"
        command = ["python", ROOT / "train_net.py", "--config-file", tmp_path / "joint.yaml"]
        command += ["--register", tmp_path / "sets.py", "OUTPUT_DIR", output]
        started = [Forked(command, tmp_path, {**os.environ, **rank}) for rank in ranks(processes)]
        for process in started:
            told = process.communicate(PATIENCE)
            assert process.returncode == 0, told
        lines = map(json.loads, (output / "metrics.json").read_text().splitlines())
        losses[processes] = [line["total_loss"] for line in lines if "total_loss" in line]
    assert losses[1]
    assert losses[1] == pytest.approx(losses[2], rel=1e-3)
    one, two = (load_checkpoint(tmp_path / f"of_{n}" / "model_final.pth")["model"] for n in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-4)
