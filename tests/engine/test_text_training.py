"""Runs that train with the images' texts or learn text: exact resume, averages, checkpoints that
need no CLIP.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask.config import load_cfg
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.engine.assembly import check_datasets, look_up_texts
from clipmask.engine.ema import WeightAverage
from clipmask.engine.train import train
from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.modeling import build_model
from clipmask.weights.checkpoint import load_checkpoint
from tests.checkpoints import pixels
from tests.conftest import ROOT, Register, write_clip
from tests.terms import terms

from . import tiny
from .runs import stop_after

pytestmark = pytest.mark.usefixtures("tiny_root")
MODES = {
    "annotation": ["MODEL.CLIP.TEXT", "annotation", "MODEL.CLIPMASK.INJECTION", "channels"],
    "context": [
        "MODEL.CLIP.TOWER",
        "context",
        "MODEL.CLIP.CONTEXT_LENGTH",
        "4",
        "SOLVER.EMA_DECAY",
        "0.5",
    ],
    "full": [
        "MODEL.CLIP.TOWER",
        "full",
        "MODEL.CLIP.TEXT",
        "annotation",
        "SOLVER.EMA_DECAY",
        "0.5",
    ],
}


Make = Callable[[str], CfgNode]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The weights of ``tiny_clip``, for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        yield write_clip("tiny-clip", tmp_path_factory.mktemp("clip"), patch)


@pytest.fixture(scope="module")
def make_cfg(clip: Path, tiny_root: Path) -> Make:
    """The toy config's model on the tiny dataset, some of whose images say what they show."""
    name = "tiny_texts"
    if name not in DatasetCatalog.list():
        texts: list[object] = [
            "a street",
            ["sky", "two cars", "rain"],
            None,
            [],
            "a street in the rain",
        ]

        def load() -> list[dict]:
            records = DatasetCatalog.get("tiny_train")
            return [{**record, "text": text} for record, text in zip(records, texts, strict=True)]

        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(stuff_classes=list(tiny.CLASSES), ignore_label=tiny.IGNORE)

    def make(mode: str) -> CfgNode:
        text = [
            "MODEL.CLIP.NAME",
            "tiny-clip",
            "MODEL.CLIP.PRETRAINED",
            str(clip),
            "MODEL.CLIP.EMBEDDINGS",
            "",
        ]
        data = [
            "DATASETS.TRAIN",
            "('tiny_texts',)",
            "DATASETS.TEST",
            "('tiny_val',)",
            "DATALOADER.NUM_WORKERS",
            "0",
        ]
        run = ["SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.IMS_PER_BATCH", "4"]
        run += [
            "SOLVER.LOG_PERIOD",
            "1",
            "TEST.EVAL_PERIOD",
            "2",
            "TEST.NUM_PICTURES",
            "0",
            "SEED",
            "1",
        ]
        run += [
            "INPUT.SCALE_RANGE",
            "[1.0, 1.5]",
            "SOLVER.TEXT_MULTIPLIER",
            "1",
            "OUTPUT_DIR",
            "run",
        ]
        run += [
            "INPUT.CROP.SIZE",
            "[32, 32]",
            "INPUT.MIN_SIZE_TEST",
            "0",
            "MODEL.CLIPMASK.HIDDEN_DIM",
            "16",
        ]
        run += [
            "MODEL.CLIPMASK.NUM_HEADS",
            "2",
            "MODEL.CLIPMASK.NUM_QUERIES",
            "6",
            "MODEL.CLIPMASK.DEC_LAYERS",
            "2",
        ]
        run += [
            "MODEL.DEVICE",
            "cpu",
            "MODEL.CLIP.PROMPTS",
            "['single']",
            "SOLVER.MAX_IMS_PER_DEVICE",
            "2",
        ]
        return load_cfg(ROOT / "configs" / "toy.yaml", [*text, *data, *run, *MODES[mode]])

    return make


@pytest.fixture(scope="module")
def whole(make_cfg: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder in which a mode's config was trained without a stop; each is trained
    once.
    """

    @functools.cache
    def trained(mode: str) -> Path:
        folder = tmp_path_factory.mktemp(mode)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            train(make_cfg(mode))
        return folder / "run"

    return trained


@pytest.mark.parametrize("mode", MODES)
def test_stopped_and_resumed_ends_in_the_same_file(
    make_cfg: Make,
    whole: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    expected = (whole(mode) / "model_final.pth").read_bytes()
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(make_cfg(mode))
    assert not Path("run/model_final.pth").exists()
    torch.rand(13)
    train(make_cfg(mode), resume=True)
    assert Path("run/model_final.pth").read_bytes() == expected


@pytest.mark.parametrize("mode", ["context", "full"])
def test_a_checkpoint_holds_the_t_of_its_averaged_weights(
    make_cfg: Make, whole: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    path = whole(mode) / "model_final.pth"
    checkpoint = load_checkpoint(path)
    averaged, trained = checkpoint["model"], checkpoint["ema"]["trained"]
    learned = [name for name in averaged if name.startswith("text.learner.")]
    assert (learned == ["text.learner.context"]) == (mode == "context")
    for weights in (averaged, trained):
        model = build_model(make_cfg(mode), tiny.CLASSES).eval()
        model.load_state_dict({name: value for name, value in weights.items() if name not in
                               ("text.embedding", "text.mean")}, strict=False)  # fmt: skip
        model.text.prepare()
        torch.testing.assert_close(model.text.embedding, weights["text.embedding"])
        torch.testing.assert_close(model.text.mean, weights["text.mean"])
    assert not torch.allclose(averaged["text.embedding"], trained["text.embedding"], atol=1e-6)
    # The trained vocabulary needs no weights of CLIP.
    monkeypatch.setattr(open_clip, "create_model", pytest.fail)
    predictor = Predictor.from_checkpoint(path, device="cpu")
    assert predictor(pixels()).labels.shape == (40, 56)
    assert torch.equal(predictor.model.text.embedding, averaged["text.embedding"])


def test_an_average_has_no_average_of_t(make_cfg: Make) -> None:
    model = build_model(make_cfg("context"), tiny.CLASSES)
    model.prepare()
    average = WeightAverage(model, 0.5)
    for _ in range(3):
        average.update(model)
        average.model.state_dict()
        with torch.no_grad():
            context = model.get_parameter("text.learner.context")
            # a constant would be lost in CLIP's layer norms
            context.add_(torch.randn_like(context))
    average.update(model)
    text = average.model.text
    saved = average.model.state_dict()["text.embedding"]
    assert text.learner is not None
    torch.testing.assert_close(saved, text.learner.encode(terms(tiny.CLASSES)))


def test_a_new_run_starts_from_learned_text(
    make_cfg: Make, whole: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = whole("context") / "model_final.pth"
    first = load_checkpoint(weights)["model"]["text.learner.context"]
    cfg = make_cfg("context")
    cfg.merge_from_list(
        ["MODEL.WEIGHTS", str(weights), "OUTPUT_DIR", "next", "SOLVER.BASE_LR", 1e-30]
    )
    train(cfg)
    assert torch.equal(
        load_checkpoint("next/model_final.pth")["model"]["text.learner.context"], first
    )


def test_texts_are_looked_at_before_training(
    make_cfg: Make, fabric, register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = make_cfg("annotation")
    (vocabulary,) = check_datasets(cfg, fabric)
    assert vocabulary.names == tiny.CLASSES
    cfg.DATASETS.TRAIN = ("tiny_train",)
    with pytest.raises(
        UserError, match=r"no sample of DATASETS\.TRAIN \('tiny_train',\) has a 'text'"
    ):
        check_datasets(cfg, fabric)
    cfg.DATASETS.TRAIN = ("tiny_texts",)
    np.savez("text.npz", names=np.array(["a street", "rain", *tiny.CLASSES]), embeddings=np.eye(5))
    cfg.MODEL.CLIP.EMBEDDINGS = "text.npz"
    model = build_model(cfg, [vocabulary])
    with pytest.raises(UserError, match="no row for 'two cars', 'a street in the rain'; it holds"):
        look_up_texts(cfg, model)
    records = DatasetCatalog.get("tiny_texts")
    records[3]["text"] = 7
    cfg.DATASETS.TRAIN = (
        register(records, stuff_classes=list(tiny.CLASSES), ignore_label=tiny.IGNORE),
    )
    with pytest.raises(UserError, match=r"3\.png: its 'text' is 7"):
        check_datasets(cfg, fabric)
