"""Backbones: strides of any timm model, weights from files, freezing, clear errors."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from clipmask.backbones.features import STRIDES
from clipmask.backbones.timm_backbone import TimmBackbone
from clipmask.d2 import BACKBONE_REGISTRY, Backbone
from clipmask.errors import UserError

MODELS = ["resnet18", "mobilenetv2_050", "convnext_atto", "swin_tiny_patch4_window7_224"]


@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_as_promised(name: str) -> None:
    backbone = TimmBackbone(name, "random").eval()
    assert isinstance(backbone, Backbone)
    features = backbone(torch.randn(1, 3, 96, 160))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes) == list(STRIDES)
    for key, map_ in features.items():
        stride = STRIDES[key]
        assert shapes[key].stride == stride
        assert map_.shape == (1, shapes[key].channels, 96 // stride, 160 // stride)


def test_registered() -> None:
    assert "build_timm_backbone" in BACKBONE_REGISTRY


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    whole = timm.create_model("resnet18")
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": whole.state_dict()}, path)
    else:
        from safetensors.torch import save_file

        save_file(whole.state_dict(), path)
    backbone = TimmBackbone("resnet18", str(path)).eval()
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone(images)["res5"], whole.eval().forward_features(images))


def test_weights_from_a_file_where_timm_renames_layers(tmp_path: Path) -> None:
    whole = timm.create_model("convnext_atto")
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = TimmBackbone("convnext_atto", str(tmp_path / "weights.pth")).eval()
    stem = whole.stem[0].weight
    assert any(
        value.shape == stem.shape and torch.equal(value, stem)
        for value in backbone.state_dict().values()
    )


def test_files_that_do_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = timm.create_model("resnet18").state_dict()
    del state["layer1.0.conv1.weight"]
    state["layer9.weight"] = torch.zeros(1)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(
        UserError,
        match=r"1 missing: layer1.0.conv1.weight; 1 unexpected: layer9.weight.*STRICT False",
    ):
        TimmBackbone("resnet18", str(path))
    with caplog.at_level(logging.WARNING):
        loose = TimmBackbone("resnet18", str(path), strict=False)
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "layer1.0.conv1.weight is missing",
        "layer9.weight is unexpected",
    ]
    assert torch.equal(loose.body.conv1.weight, state["conv1.weight"])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        TimmBackbone("resnet18", str(tmp_path / "none.pth"))
    path = tmp_path / "weights.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="can't be read as tensors"):
        TimmBackbone("resnet18", str(path))
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="not a state dict"):
        TimmBackbone("resnet18", str(path))


def test_names_and_arguments_that_timm_does_not_know() -> None:
    with pytest.raises(UserError, match="timm has no such model; it has .*resnet"):
        TimmBackbone("resnet_fifty", "random")
    with pytest.raises(UserError) as caught:
        TimmBackbone("resnet18", "random", timm_args={"no_such_argument": 1})
    assert caught.value.key == "MODEL.BACKBONE.TIMM_ARGS"
    with pytest.raises(UserError, match="its tags: .*a1_in1k"):
        TimmBackbone("resnet50", "a9_in1k")
    with pytest.raises(UserError, match="no feature at stride"):
        TimmBackbone("mixer_s16_224", "random")


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    original = timm.create_model

    def offline(name: str, pretrained: bool = False, **kwargs: object) -> nn.Module:
        if pretrained:
            raise ConnectionError("the network is unreachable")
        return original(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"resnet18 could not be had.*local file.*random"):
        TimmBackbone("resnet18", "pretrained")


@pytest.mark.parametrize("name", MODELS)
def test_freezing_stops_at_the_stage(name: str) -> None:
    counts = []
    for freeze_at in range(6):
        backbone = TimmBackbone(name, "random", freeze_at=freeze_at)
        counts.append(sum(parameter.requires_grad for parameter in backbone.parameters()))
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 6
    assert counts[-1] == 0 or name.startswith(("swin", "convnext"))


def test_frozen_stages_keep_their_statistics() -> None:
    backbone = TimmBackbone("resnet18", "random", freeze_at=2).train()
    before = {
        name: value.clone() for name, value in backbone.state_dict().items() if "running" in name
    }
    backbone(torch.randn(2, 3, 64, 64))
    after = backbone.state_dict()
    changed = {
        name.split(".")[1] for name, value in before.items() if not torch.equal(value, after[name])
    }
    assert changed == {"layer2", "layer3", "layer4"}


def test_norms() -> None:
    for norm, kind in (("BN", nn.BatchNorm2d), ("SyncBN", nn.SyncBatchNorm)):
        assert any(
            isinstance(module, kind)
            for module in TimmBackbone("resnet18", "random", norm=norm).modules()
        )
    frozen = TimmBackbone("resnet18", "random", norm="FrozenBN")
    assert not any(
        isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) for module in frozen.modules()
    )
    with pytest.raises(UserError, match="FrozenBN"):
        TimmBackbone("resnet18", "random", norm="GN")


def test_real_weights(test_data: Path) -> None:
    backbones = test_data / "backbones"
    TimmBackbone(
        "mobilenetv2_100",
        str(backbones / "mobilenetv2_100_coral_timm.pth"),
        timm_args={"pad_type": "same"},
    )
    trunk = str(backbones / "resnet18_in1k_stem_to_layer3.pth")
    TimmBackbone("resnet18", trunk, strict=False)
    with pytest.raises(UserError, match="missing"):
        TimmBackbone("resnet18", trunk)


PLAIN = (
    "vit_tiny_patch16_224",
    "vit_base_patch32_clip_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch16_dinov3",
)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_transformer_has_a_pyramid(name: str) -> None:
    """CLIP's, DINOv2's and DINOv3's, whatever their patches; of three blocks here, for the time it
    takes.
    """
    backbone = TimmBackbone(name, "random", timm_args={"depth": 3}).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(map_.shape[-2:]) for map_ in maps.values()] == [
        (64 // s, 96 // s) for s in (4, 8, 16, 32)
    ]
    assert {name: map_.shape[1] for name, map_ in maps.items()} == {
        name: shape.channels for name, shape in backbone.output_shape().items()
    }
    assert [shape.stride for shape in backbone.output_shape().values()] == [4, 8, 16, 32]


def test_a_plain_transformer_sees_another_size_as_its_own(tmp_path: Path) -> None:
    """Positions of the size that it was made for are what its weights say; and a file of them
    loads.
    """
    source = timm.create_model("vit_tiny_patch16_224", depth=3)
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    backbone = TimmBackbone(
        "vit_tiny_patch16_224", str(tmp_path / "vit.pth"), timm_args={"depth": 3}
    ).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        ours = backbone.body(x)[0]
        theirs = source.eval().forward_intermediates(x, indices=[2], intermediates_only=True)[0]
    torch.testing.assert_close(ours, theirs)


def test_a_plain_transformer_freezes_whole_and_its_pyramid_never() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", "random", timm_args={"depth": 3}, freeze_at=1)
    assert not any(parameter.requires_grad for parameter in backbone.body.parameters())
    assert all(parameter.requires_grad for parameter in backbone.pyramid.parameters())


@pytest.mark.parametrize("name", ["resnet50_clip", "convnext_base", "fastvit_mci0"])
def test_clips_towers_with_strides(name: str) -> None:
    backbone = TimmBackbone(name, "random").eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 64))
    assert [map_.shape[-1] for map_ in maps.values()] == [16, 8, 4, 2]
    assert [map_.shape[1] for map_ in maps.values()] == [
        s.channels for s in backbone.output_shape().values()
    ]
