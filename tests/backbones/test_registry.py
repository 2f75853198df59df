"""Backbones that are not timm's: a user's own and Detectron2's, weights from files, configs that
don't suit them.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask import add_clipmask_config, build_model
from clipmask.backbones.features import STRIDES
from clipmask.backbones.registry import build_backbone
from clipmask.d2 import BACKBONE_REGISTRY, IMPLEMENTATION, Backbone, ShapeSpec
from clipmask.errors import UserError
from tests.conftest import NAMES, ROOT

MakeInputs = Callable[..., list[dict[str, Any]]]


class OwnBackbone(Backbone):
    """A backbone of a user's: one convolution a stage."""

    def __init__(self, channels: int, strides: dict[str, int]) -> None:
        super().__init__()
        self.strides = strides
        self.stages = nn.ModuleDict({name: nn.Conv2d(channels, 8, 1) for name in strides})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {
            name: stage(x[..., :: self.strides[name], :: self.strides[name]])
            for name, stage in self.stages.items()
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=8, stride=stride) for name, stride in self.strides.items()}


@pytest.fixture
def own_cfg(small_cfg: CfgNode) -> Iterator[CfgNode]:
    """A config whose backbone is a user's, registered as Detectron2's guide says; ``OWN`` is a key
    of its own.
    """

    @BACKBONE_REGISTRY.register()
    def build_own_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> OwnBackbone:
        if not cfg.MODEL.OWN.STRIDES:
            raise AssertionError("no strides")
        return OwnBackbone(
            input_shape.channels or 0,
            {f"res{i}": s for i, s in enumerate(cfg.MODEL.OWN.STRIDES, 2)},
        )

    small_cfg.MODEL.OWN = CfgNode({"STRIDES": [4, 8, 16, 32]})
    small_cfg.MODEL.BACKBONE.NAME = "build_own_backbone"
    yield small_cfg
    BACKBONE_REGISTRY._obj_map.pop("build_own_backbone")


@pytest.mark.parametrize("weights", [".pkl", ".pth", "random"])
def test_a_users_own_backbone(
    own_cfg: CfgNode, tmp_path: Path, make_inputs: Callable[..., list[dict[str, Any]]], weights: str
) -> None:
    source = OwnBackbone(3, STRIDES)
    path = tmp_path / f"own{weights}"
    if weights == ".pth":
        torch.save(source.state_dict(), path)
    elif weights == ".pkl":
        path.write_bytes(
            pickle.dumps({key: value.numpy() for key, value in source.state_dict().items()})
        )
    own_cfg.MODEL.BACKBONE.WEIGHTS = weights if weights == "random" else str(path)
    model = build_model(own_cfg, NAMES)
    assert isinstance(model.backbone, OwnBackbone)
    loaded = [
        torch.equal(a, b)
        for a, b in zip(model.backbone.parameters(), source.parameters(), strict=True)
    ]
    assert all(loaded) if weights != "random" else not any(loaded)
    sum(model.train()(make_inputs((64, 96), (48, 40))).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())


def test_weights_that_another_backbone_cannot_have(own_cfg: CfgNode, tmp_path: Path) -> None:
    for weights in ("pretrained", "a1_in1k"):
        own_cfg.MODEL.BACKBONE.WEIGHTS = weights
        with pytest.raises(
            UserError, match=rf"WEIGHTS '{weights}': build_own_backbone has no .*file .*random"
        ):
            build_backbone(own_cfg)
    own_cfg.MODEL.BACKBONE.WEIGHTS = str(tmp_path / "none.pkl")
    with pytest.raises(UserError, match=r"none.pkl: no such file"):
        build_backbone(own_cfg)
    own_cfg.MODEL.WEIGHTS = "model_final.pth"  # brings the backbone's: nothing is read for it
    build_backbone(own_cfg)
    own_cfg.MODEL.WEIGHTS, own_cfg.MODEL.BACKBONE.WEIGHTS = "", str(tmp_path / "other.pth")
    torch.save({"stages.res2.weight": torch.zeros(8, 3, 1, 1)}, tmp_path / "other.pth")
    with pytest.raises(
        UserError, match=r"7 missing: .* Configure build_own_backbone as .*STRICT False"
    ):
        build_backbone(own_cfg)
    own_cfg.MODEL.BACKBONE.WEIGHTS_STRICT = False
    assert not build_backbone(own_cfg).stages["res2"].weight.any()


def test_features_that_do_not_serve(own_cfg: CfgNode) -> None:
    own_cfg.MODEL.BACKBONE.WEIGHTS = "random"
    own_cfg.MODEL.OWN.STRIDES = [4, 8, 16]
    with pytest.raises(UserError, match="nothing at stride 32.*OUT_FEATURES"):
        build_backbone(own_cfg)
    own_cfg.MODEL.CLIPMASK.SCALES = ["res3", "res4"]
    build_backbone(own_cfg)
    for strides in ([2, 4, 8], [4, 6, 16]):
        own_cfg.MODEL.OWN.STRIDES = strides
        with pytest.raises(
            UserError,
            match=f"at strides {', '.join(map(str, strides))}; ClipMask takes res2 at stride 4",
        ):
            build_backbone(own_cfg)


def test_configs_that_a_builder_refuses(own_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cfg.MODEL.OWN.STRIDES = []
    with pytest.raises(
        UserError, match=r"build_own_backbone refuses this config \(AssertionError: no strides\)"
    ):
        build_backbone(own_cfg)
    del own_cfg.MODEL["OWN"]
    with pytest.raises(
        UserError, match=r"build_own_backbone reads a key OWN .*detectron2.config.get_cfg\(\)"
    ):
        build_backbone(own_cfg)

    def faulty(cfg: CfgNode, input_shape: ShapeSpec) -> None:
        input_shape.nothing  # type: ignore[attr-defined]  # noqa: B018

    def told(cfg: CfgNode, input_shape: ShapeSpec) -> None:
        raise UserError("as it is")

    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_own_backbone", faulty)
    with pytest.raises(AttributeError, match="'ShapeSpec' object"):
        build_backbone(own_cfg)
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_own_backbone", told)
    with pytest.raises(UserError, match="^as it is$"):
        build_backbone(own_cfg)


needs_detectron2 = pytest.mark.skipif(
    IMPLEMENTATION != "detectron2", reason="Detectron2 is not installed, or not used"
)


@pytest.fixture
def resnet_cfg() -> CfgNode:
    """Detectron2's config with ClipMask's keys, and its ResNet-18 as backbone."""
    from detectron2.config import get_cfg

    cfg = get_cfg()
    add_clipmask_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "toy.yaml"))
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.RESNETS.OUT_FEATURES = list(STRIDES)
    return cfg


def as_caffe2(key: str) -> str:
    """A weight of Detectron2's ResNet in Caffe2's name."""
    key = "res_conv1_bn" + key.removeprefix("stem.conv1.norm") if "stem.conv1.norm" in key else key
    for ours, theirs in {
        "stem.": "",
        "shortcut": "branch1",
        ".conv1": ".branch2a",
        ".conv2": ".branch2b",
        ".conv3": ".branch2c",
        ".norm": "_bn",
        "running_mean": "rm",
        "running_var": "riv",
        "bn.weight": "bn.s",
        "bias": "b",
        "weight": "w",
        ".": "_",
    }.items():
        key = key.replace(ours, theirs)
    return key


@needs_detectron2
@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("names", ["detectron2", "caffe2", "folded"])
def test_detectron2s_resnet_with_weights_of_its_zoo(
    resnet_cfg: CfgNode,
    tmp_path: Path,
    make_inputs: Callable[..., list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
    names: str,
    depth: int,
) -> None:
    from detectron2.layers import FrozenBatchNorm2d
    from detectron2.modeling.backbone import ResNet

    resnet_cfg.MODEL.RESNETS.DEPTH, resnet_cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = (
        depth,
        {18: 64, 50: 256}[depth],
    )
    resnet_cfg.MODEL.BACKBONE.WEIGHTS = "random"
    source = build_backbone(resnet_cfg).eval()
    for key, value in source.state_dict().items():
        if names == "folded" and "running" in key:
            value.fill_(float(key.endswith("var")))
        elif "norm" in key:
            value.uniform_(0.5, 1)
    state = {key: value.numpy() for key, value in source.state_dict().items()}
    classifier = {"w": torch.zeros(9, 5).numpy(), "b": torch.zeros(9).numpy()}
    if names == "detectron2":
        whole = {
            "model": {**state, "stem.fc.weight": classifier["w"], "stem.fc.bias": classifier["b"]},
            "__author__": "me",
        }
    else:
        kept = {
            key: value
            for key, value in state.items()
            if not (names == "folded" and "running" in key)
        }
        whole = {as_caffe2(key): value for key, value in kept.items()}
        assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch2a_bn_b"} <= set(whole)
        whole |= {
            "fc1000_w": classifier["w"],
            "fc1000_b": classifier["b"],
            "conv1_b": classifier["b"],
        }
    (tmp_path / "R.pkl").write_bytes(pickle.dumps(whole, protocol=2))
    resnet_cfg.MODEL.BACKBONE.WEIGHTS = str(tmp_path / "R.pkl")
    with caplog.at_level(logging.WARNING):
        model = build_model(resnet_cfg, NAMES)
    assert not [record for record in caplog.records if "backbone" in record.getMessage()]
    assert type(model.backbone) is ResNet
    assert isinstance(model.backbone.stem.conv1.norm, FrozenBatchNorm2d)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for name, map_ in model.backbone.eval()(images).items():
            torch.testing.assert_close(map_, source(images)[name])
    inputs = make_inputs((64, 96))
    sum(model.train()(inputs).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())
    with torch.no_grad():
        assert model.eval()(inputs)[0]["sem_seg"].shape == (5, 64, 96)  # type: ignore[index]


@needs_detectron2
def test_detectron2s_resnet_and_configs_that_do_not_suit_it(
    resnet_cfg: CfgNode, small_cfg: CfgNode
) -> None:
    small_cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    del small_cfg.MODEL["RESNETS"]  # as in a config from before Detectron2 was installed
    with pytest.raises(
        UserError, match=r"build_resnet_backbone reads a key RESNETS .*add_clipmask_config"
    ):
        build_model(small_cfg, NAMES)
    resnet_cfg.MODEL.BACKBONE.WEIGHTS = "pretrained"
    with pytest.raises(UserError, match="'pretrained': build_resnet_backbone has no weights"):
        build_model(resnet_cfg, NAMES)
    resnet_cfg.MODEL.RESNETS.OUT_FEATURES = ["res4", "res5"]
    with pytest.raises(UserError, match=r"nothing at stride 4, 8.*MODEL\.RESNETS\.OUT_FEATURES"):
        build_model(resnet_cfg, NAMES)
    resnet_cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 256
    with pytest.raises(
        UserError, match=r"build_resnet_backbone refuses this config .*RES2_OUT_CHANNELS = 64"
    ):
        build_model(resnet_cfg, NAMES)


@needs_detectron2
def test_stages_that_are_not_built_stay_in_the_file(resnet_cfg: CfgNode, tmp_path: Path) -> None:
    resnet_cfg.MODEL.BACKBONE.WEIGHTS = "random"
    whole = {key: value.numpy() for key, value in build_backbone(resnet_cfg).state_dict().items()}
    (tmp_path / "R.pkl").write_bytes(pickle.dumps(whole))
    resnet_cfg.MODEL.BACKBONE.WEIGHTS = str(tmp_path / "R.pkl")
    resnet_cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4"]
    resnet_cfg.MODEL.CLIPMASK.SCALES = ["res3", "res4"]
    assert not hasattr(build_backbone(resnet_cfg), "res5")


@needs_detectron2
def test_detectron2s_defaults_of_stages_and_its_fpn(
    resnet_cfg: CfgNode, make_inputs: MakeInputs
) -> None:
    resnet_cfg.MODEL.BACKBONE.WEIGHTS = "random"
    resnet_cfg.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    assert list(build_backbone(resnet_cfg).output_shape()) == list(STRIDES)
    assert resnet_cfg.MODEL.RESNETS.OUT_FEATURES == ["res4"], "the config stays as it is"
    resnet_cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    check_both_ways(build_model(resnet_cfg, NAMES), make_inputs)


@needs_detectron2
@pytest.mark.parametrize(
    ("norm", "trainable"), [("", 0), ("BN", 20), ("SyncBN", 20), ("FrozenBN", 0)]
)
def test_norms_of_detectron2s_resnet(resnet_cfg: CfgNode, norm: str, trainable: int) -> None:
    from detectron2.layers import FrozenBatchNorm2d

    resnet_cfg.MODEL.BACKBONE.WEIGHTS, resnet_cfg.MODEL.BACKBONE.NORM = "random", norm
    modules = list(build_backbone(resnet_cfg).modules())
    assert (
        sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules) == trainable
    )
    assert sum(isinstance(module, FrozenBatchNorm2d) for module in modules) == 20 - trainable


def check_both_ways(model: Any, make_inputs: MakeInputs) -> None:
    """Every parameter of the backbone learns, and a prediction has the size of its image."""
    inputs = make_inputs((64, 96), (48, 40))
    sum(model.train()(inputs).values()).backward()
    idle = [
        name
        for name, value in model.backbone.named_parameters()
        if value.requires_grad and value.grad is None
    ]
    assert not idle
    with torch.no_grad():
        assert model.eval()(inputs)[1]["sem_seg"].shape == (5, 48, 40)


def _swin() -> Any:
    from detectron2.modeling.backbone import SwinTransformer

    return SwinTransformer(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), window_size=4)


def _mvit() -> Any:
    from detectron2.modeling.backbone import MViT

    return MViT(
        embed_dim=24, depth=4, last_block_indexes=(0, 1, 2, 3), residual_pooling=True,
        out_features=("scale2", "scale3", "scale4", "scale5"),
    )  # fmt: skip


def _vit() -> Any:
    from detectron2.modeling.backbone import SimpleFeaturePyramid, ViT

    net = ViT(img_size=64, patch_size=16, embed_dim=24, depth=1, num_heads=2, pretrain_img_size=64)
    return SimpleFeaturePyramid(net, "last_feat", 16, (4.0, 2.0, 1.0, 0.5))


@needs_detectron2
@pytest.mark.parametrize("make", [_swin, _mvit, _vit])
def test_detectron2s_transformers(
    small_cfg: CfgNode,
    make_inputs: MakeInputs,
    make: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_theirs", lambda cfg, input_shape: make())
    small_cfg.MODEL.BACKBONE.NAME = "build_theirs"
    model = build_model(small_cfg, NAMES)
    assert list(model.feature_names) == list(STRIDES)
    assert not set(model.feature_names.values()) & set(STRIDES)
    check_both_ways(model, make_inputs)


@needs_detectron2
def test_weights_of_a_swin_classifier_as_maskformer_converts_them(
    small_cfg: CfgNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors in a pickle; a norm and a classifier are left over, and the norms of the outputs are
    not there.
    """
    source = _swin()
    state = {key: value for key, value in source.state_dict().items() if not key.startswith("norm")}
    state |= {
        "norm.weight": torch.ones(96),
        "head.weight": torch.ones(3, 96),
        "layers.0.blocks.0.attn_mask": torch.ones(1),
    }
    content = {"model": state, "__author__": "third_party", "matching_heuristics": True}
    (tmp_path / "swin.pkl").write_bytes(pickle.dumps(content))
    monkeypatch.setitem(
        BACKBONE_REGISTRY._obj_map, "build_theirs", lambda cfg, input_shape: _swin()
    )
    small_cfg.MODEL.BACKBONE.NAME, small_cfg.MODEL.BACKBONE.WEIGHTS = (
        "build_theirs",
        str(tmp_path / "swin.pkl"),
    )
    backbone = build_backbone(small_cfg)
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key
