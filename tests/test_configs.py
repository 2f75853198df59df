"""Every config file builds its model; the leaves are small."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask import ClipMask, build_model, load_cfg
from clipmask.cli.register import register_file
from clipmask.config import leaf_keys
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data import label_reader
from clipmask.data.datasets.registering import known_names
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.names import OWN_MODEL
from clipmask_tools.ablation.grid import read_grid
from tests.conftest import NAMES, ROOT
from tests.unfilled import Unfilled

FILES = sorted((ROOT / "configs").rglob("*.yaml"))
LEAVES = [path for path in FILES if path.name not in ("base.yaml", "grid.yaml")]
# Those of folds name datasets with "{fold}", which a grid replaces.
FOLDED = [path for path in LEAVES if "{fold}" in str(load_cfg(path).DATASETS)]
RUNNABLE = [path for path in LEAVES if path not in FOLDED]
EXPERIMENTS = [
    path for path in RUNNABLE if path.parent.name in ("paper", "ablations", "open_vocabulary")
]
TOWERS = [path for path in LEAVES if path.parent.name == "clip_backbones"]
OFFLINE = [
    "MODEL.BACKBONE.WEIGHTS",
    "random",
    "MODEL.CLIP.EMBEDDINGS",
    "random",
    "MODEL.DEVICE",
    "cpu",
]
ABLATIONS = ROOT / "configs" / "ablations"


@pytest.fixture(scope="session", autouse=True)
def _registered() -> None:
    """What the configs' own commands register. Once a process, for a name can be registered only
    once, and a process may run the tests of this file in several parts.
    """
    for path in sorted((ROOT / "configs").rglob("*.py")):
        lazy = path.parent.name == "lazy"  # configs of Detectron2's, in its own language
        if not lazy and f"clipmask_registered_{path.stem}" not in sys.modules:
            register_file(path)


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_builds(path: Path) -> None:
    """Over the classes of its datasets; test_fake_cuda.py builds its architecture over others."""
    cfg = load_cfg(path, OFFLINE)
    assert set((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) <= set(known_names())
    given = NAMES if path.name == "custom.yaml" else None  # whose datasets --dataset names
    with Unfilled():
        assert len(build_model(cfg, given).class_names) > 1


@torch.no_grad()
@pytest.mark.parametrize("path", TOWERS, ids=lambda path: path.stem)
def test_image_towers_of_clip_segment(path: Path) -> None:
    """Each kind of tower, small: its strides, or the pyramid of its one map."""
    cfg = load_cfg(path, OFFLINE)
    small = {"convnext_base": "convnext_atto", "vit_base_patch16_clip_224": "vit_tiny_patch16_224"}
    name = cfg.MODEL.BACKBONE.TIMM_NAME
    cfg.MODEL.BACKBONE.TIMM_NAME = small.get(name, name)
    model = build_model(cfg, NAMES).eval()
    [output] = model([{"image": torch.zeros(3, 64, 96)}])
    assert output["sem_seg"].shape == (len(NAMES), 64, 96)
    assert model.backbone.output_shape()["res2"].stride == 4


@pytest.mark.parametrize("path", FOLDED, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_of_folds_builds(path: Path) -> None:
    """Each class list of its datasets is one of the model's vocabularies."""
    cfg = load_cfg(path, OFFLINE)
    for key in ("TRAIN", "TEST"):
        cfg.DATASETS[key] = tuple(name.replace("{fold}", "0001TP") for name in cfg.DATASETS[key])
    assert set((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) <= set(DatasetCatalog.list())
    lists = {tuple(MetadataCatalog.get(name).stuff_classes) for name in cfg.DATASETS.TRAIN}
    with Unfilled():
        assert len(build_model(cfg).vocabularies) == len(lists)


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT)))
def test_leaves_open_with_their_command(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    if " clipmask_tools." in first:
        command = rf"# python -m clipmask_tools\.ablate run (\S+) --runs {path.stem}(_0001TP)?"
        run = re.fullmatch(command, first)
        assert run is not None
        assert bool(run[2]) is (path in FOLDED)
        grid = read_grid(ROOT / run[1])
        assert path.stem in {variant.config.stem for variant in grid.variants.values()}
        return
    words = (
        "--dataset my.yaml"
        if path.name == "custom.yaml"
        else f"--config-file {path.relative_to(ROOT)}"
    )
    register = re.search(r" --register( \S+\.py)+$", first)
    assert first.removesuffix(register[0] if register else "") == f"# python train_net.py {words}"
    files = register[0].split()[1:] if register else []
    assert all((ROOT / file).is_file() for file in files)


def test_custom_data_can_start_from_the_model_that_comes_along() -> None:
    """By its name alone, for its licence would go along; nothing but T stays behind then."""
    assert load_cfg(ROOT / "configs" / "custom.yaml").MODEL.WEIGHTS == ""
    words = ["MODEL.CLIP.EMBEDDINGS", "random", "MODEL.WEIGHTS", OWN_MODEL]
    cfg = load_cfg(ROOT / "configs" / "custom.yaml", words)
    weights = load_checkpoint(cfg.MODEL.WEIGHTS)["model"]
    own = build_model(cfg, NAMES, text_width=512).state_dict()
    left = {name for name in own if name not in weights or weights[name].shape != own[name].shape}
    assert left == {"text.embedding"}
    assert weights.keys() <= own.keys()


def ablation(name: str, *opts: str) -> CfgNode:
    return load_cfg(ABLATIONS / f"{name}.yaml", [*OFFLINE, *opts])


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_take_a_step(
    path: Path, make_inputs: Callable[..., list[dict[str, Any]]]
) -> None:
    """On a pair of small crops; what is trained gets a gradient."""
    model = build_model(load_cfg(path, OFFLINE)).train()
    inputs = make_inputs((64, 96), (64, 96))
    for sample in inputs:
        sample["sem_seg"][sample["sem_seg"] == 255] = model.ignore_label
        sample["text"] = ["road", "sky"]
    loss = sum(model(inputs).values())
    assert torch.isfinite(loss)
    loss.backward()
    assert all(value.grad is not None for value in model.pixel_decoder.parameters())


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in EXPERIMENTS if path.parent == ABLATIONS)
)
def test_ablations_change_the_model_alone(name: str) -> None:
    full, own = leaf_keys(ablation("full")), leaf_keys(ablation(name))
    changed = {key for key, value in own.items() if value != full[key]}
    data = {"DATASETS.TRAIN"} if name.startswith("annotation") else set()
    assert bool(changed) is (name != "full")
    assert {key for key in changed if not key.startswith("MODEL.CLIP")} == data


@torch.no_grad()
def depends_on_text(model: ClipMask, inputs: list[dict[str, Any]]) -> tuple[bool, bool, bool]:
    """Whether features, queries before the first layer, and class logits of the same queries and
    features do.
    """
    features, queries, logits = [], [], []
    # in which all predictions are returned; there is no dropout, and the statistics are frozen
    # below
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    model.text.prepare()
    embeds = torch.randn(1, 1, 8, model.mask_decoder.query.embedding_dim)
    for _ in range(2):
        outputs = model.decode(inputs)
        features.append(outputs.pixels)
        queries.append(outputs.mask_embed[0])
        logits.append(model.mask_decoder.classifier(embeds, model.text()))
        model.text.embedding.copy_(torch.randn_like(model.text.embedding))
    return tuple(not torch.equal(*pair) for pair in (features, queries, logits))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "features", "queries", "logits"),
    [
        ("full", True, True, True),
        ("no_text", False, False, False),
        ("text_in_classifier", False, False, True),
        ("text_in_injection", True, False, False),
        ("learned_queries", True, False, True),
    ],
)
def test_text_is_where_the_name_says(
    name: str,
    features: bool,
    queries: bool,
    logits: bool,
    make_inputs: Callable[..., list[dict[str, Any]]],
) -> None:
    model = build_model(ablation(name))
    assert depends_on_text(model, make_inputs((64, 96))) == (features, queries, logits)


def test_the_paper_is_as_it_is_written() -> None:
    for path in (ROOT / "configs" / "paper").glob("c*.yaml"):
        node = load_cfg(path).MODEL.CLIPMASK
        written = (
            node.INJECTION,
            node.FUSION,
            node.MAX_IMAGE_KEYS,
            node.DICE_WEIGHT,
            len(node.SCALES),
        )
        assert written == ("tokens", "both", 0, 0.0, 3)
    for name in ("camvid", "cityscapes"):  # what their comments say of widths and layers
        node = load_cfg(ROOT / "configs" / "paper" / f"{name}.yaml").MODEL.CLIPMASK
        assert (node.HIDDEN_DIM, node.MASK_DIM, node.NUM_HEADS, node.DEC_LAYERS) == (256, 256, 8, 6)


@pytest.fixture
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CamVid of one image a split; its label map holds road (3), fence (7), bicyclist (10) and
    void (11).
    """
    for part in ("train", "val"):
        for folder in (part, f"{part}annot"):
            (tmp_path / "camvid" / folder).mkdir(parents=True)
        Image.new("RGB", (4, 1)).save(tmp_path / "camvid" / part / "a.png")
        Image.fromarray(np.array([[3, 7, 10, 11]], np.uint8)).save(
            tmp_path / "camvid" / f"{part}annot" / "a.png"
        )
        (tmp_path / "camvid" / f"{part}.txt").write_text("a\n")
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    sys.modules["clipmask_registered_camvid_text"].load.cache_clear()
    return tmp_path / "camvid"


def test_the_text_of_an_image_names_its_classes(camvid: Path) -> None:
    [plain], [told] = (DatasetCatalog.get(f"camvid{kind}_sem_seg_train") for kind in ("", "_text"))
    assert told == {**plain, "text": ["road", "fence", "bicyclist"]}
    sys.modules["clipmask_registered_camvid_text"].load.cache_clear()


def test_unseen_classes_are_void_and_the_others_keep_their_names(camvid: Path) -> None:
    seen, every = (MetadataCatalog.get(f"camvid{kind}_sem_seg_val") for kind in ("_seen", ""))
    assert [name for name in every.stuff_classes if name not in seen.stuff_classes] == [
        "fence",
        "bicyclist",
    ]
    [record] = DatasetCatalog.get("camvid_seen_sem_seg_val")
    labels = label_reader("camvid_seen_sem_seg_val")(record["sem_seg_file_name"])
    assert labels.tolist() == [[seen.stuff_classes.index("road"), 255, 255, 255]]
    assert [list(color) for color in seen.stuff_colors][labels[0, 0]] == list(every.stuff_colors[3])
