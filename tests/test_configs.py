"""Every config file builds its model; the leaves are small."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask import ClipMask, build_model, load_cfg
from clipmask.cli.register import register_file
from clipmask.config import leaf_keys
from clipmask.d2 import DatasetCatalog
from clipmask.engine.checkpoint import load_checkpoint
from tests.conftest import NAMES, ROOT

FILES = sorted((ROOT / "configs").rglob("*.yaml"))
RUNNABLE = [path for path in FILES if path.name not in ("base.yaml", "grid.yaml")]
EXPERIMENTS = [path for path in RUNNABLE if path.parent.name in ("paper", "ablations", "open_vocabulary")]
OFFLINE = ["MODEL.BACKBONE.WEIGHTS", "random", "MODEL.CLIP.EMBEDDINGS", "random", "MODEL.DEVICE", "cpu"]
ABLATIONS = ROOT / "configs" / "ablations"


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    """What the configs' own commands register; once, for a name can be registered only once."""
    for path in sorted((ROOT / "configs").rglob("*.py")):
        register_file(path)


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_builds(path: Path) -> None:
    cfg = load_cfg(path, OFFLINE)
    if path.name != "custom.yaml":  # whose datasets --dataset names
        assert len(build_model(cfg).class_names) > 1
    assert set((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) <= set(DatasetCatalog.list())
    assert build_model(cfg, NAMES).class_names == NAMES


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_leaves_open_with_their_command(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    words = "--dataset my.yaml" if path.name == "custom.yaml" else f"--config-file {path.relative_to(ROOT)}"
    register = re.search(r" --register (\S+\.py)$", first)
    assert first.removesuffix(register[0] if register else "") == f"# python train_net.py {words}"
    assert register is None or (ROOT / register[1]).parent == path.parent


def test_custom_data_start_from_the_model_that_comes_along() -> None:
    """Its architecture is that of the file, so that nothing but T stays behind."""
    cfg = load_cfg(ROOT / "configs" / "custom.yaml", ["MODEL.CLIP.EMBEDDINGS", "random"])
    weights = load_checkpoint(cfg.MODEL.WEIGHTS)["model"]
    own = build_model(cfg, NAMES, text_width=512).state_dict()
    assert {name for name in own if name not in weights or weights[name].shape != own[name].shape} == {
        "text.embedding",
        "text.vocabulary",  # the model is older than that
    }
    assert weights.keys() <= own.keys()


def ablation(name: str, *opts: str) -> CfgNode:
    return load_cfg(ABLATIONS / f"{name}.yaml", [*OFFLINE, *opts])


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_take_a_step(path: Path, make_inputs: Callable[..., list[dict[str, Any]]]) -> None:
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


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPERIMENTS if path.parent == ABLATIONS))
def test_ablations_change_the_model_alone(name: str) -> None:
    full, own = leaf_keys(ablation("full")), leaf_keys(ablation(name))
    changed = {key for key, value in own.items() if value != full[key]}
    data = {"DATASETS.TRAIN"} if name.startswith("annotation") else set()
    assert bool(changed) is (name != "full")
    assert {key for key in changed if not key.startswith("MODEL.CLIP")} == data


@torch.no_grad()
def depends_on_text(model: ClipMask, inputs: list[dict[str, Any]]) -> tuple[bool, bool, bool]:
    """Whether features, queries before the first layer, and class logits of the same queries and features do."""
    features, queries, logits = [], [], []
    model.train()  # in which all predictions are returned; there is no dropout, and the statistics are frozen below
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    model.text.prepare()
    embeds = torch.randn(1, 1, 8, model.mask_decoder.query.embedding_dim)
    for _ in range(2):
        outputs = model._decode(inputs)
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
        ("random_text", True, True, True),
    ],
)
def test_text_is_where_the_name_says(
    name: str, features: bool, queries: bool, logits: bool, make_inputs: Callable[..., list[dict[str, Any]]]
) -> None:
    model = build_model(ablation(name))
    assert depends_on_text(model, make_inputs((64, 96))) == (features, queries, logits)


@pytest.mark.parametrize("control", ["random_text", "shuffled_text"])
def test_controls_are_other_text(control: str) -> None:
    real, other = (build_model(ablation(name)).eval().text() for name in ("full", control))
    torch.testing.assert_close(other.norm(dim=1).sort().values, real.norm(dim=1).sort().values, rtol=1e-4, atol=1e-4)
    assert (other - real).norm(dim=1).min() > 0.5


def test_the_paper_is_as_it_is_written() -> None:
    for path in (ROOT / "configs" / "paper").glob("c*.yaml"):
        node = load_cfg(path).MODEL.CLIPMASK
        written = (node.INJECTION, node.FUSION, node.MAX_IMAGE_KEYS, node.DICE_WEIGHT, len(node.SCALES))
        assert written == ("tokens", "both", 0, 0.0, 3)
