"""Weights from files: each format and its names, parts of larger models, what does not fit, hostile
files.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clipmask.errors import UserError
from clipmask.weights.foreign import load_weight_file, read_weight_file


def write(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def arrays(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, np.ndarray]:
    return {f"{prefix}{key}": value.numpy() for key, value in state.items()}


class Trunk(nn.Module):
    """A stem and a stage, in the names of Detectron2's ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"conv1": self._conv(3, 4)})
        branches = {"conv1": self._conv(4, 2), "conv2": self._conv(2, 2), "conv3": self._conv(2, 8)}
        self.res2 = nn.Sequential(nn.ModuleDict({**branches, "shortcut": self._conv(4, 8)}))
        for value in self.state_dict().values():
            if value.is_floating_point():
                nn.init.uniform_(value)

    @staticmethod
    def _conv(width: int, to: int) -> nn.Module:
        conv = nn.Conv2d(width, to, 1, bias=False)
        conv.norm = nn.BatchNorm2d(to)
        return conv


def caffe2(state: Mapping[str, Tensor], statistics: bool) -> dict[str, np.ndarray]:
    """Gives a trunk's weights Caffe2's names."""
    leaves = {
        "norm.weight": "bn_s",
        "norm.bias": "bn_b",
        "norm.running_mean": "bn_rm",
        "norm.running_var": "bn_riv",
    }
    branches = {
        "shortcut": "branch1",
        "conv1": "branch2a",
        "conv2": "branch2b",
        "conv3": "branch2c",
    }
    blobs = {}
    for key, value in state.items():
        layer, conv, leaf = re.fullmatch(r"(stem|res\d\.\d+)\.(\w+)\.(.+)", key).groups()  # type: ignore[union-attr]
        if leaf.endswith("num_batches_tracked") or ("running" in leaf and not statistics):
            continue
        name = f"{layer.replace('.', '_')}_{branches[conv]}" if layer != "stem" else "conv1"
        if leaf == "weight":
            blobs[f"{name}_w"] = value.numpy()
        else:
            blobs[f"{'res_' * (layer == 'stem')}{name}_{leaves[leaf]}"] = value.numpy()
    return blobs


def assert_loaded(model: nn.Module, source: nn.Module) -> None:
    own, theirs = model.state_dict(), source.state_dict()
    assert [key for key in own if not torch.equal(own[key], theirs[key])] == []


@pytest.mark.parametrize("protocol", [2, 5])
def test_detectron2s_format(tmp_path: Path, protocol: int) -> None:
    source, model = Trunk(), Trunk()
    classifier = {
        "stem.fc.weight": np.ones((2, 8), np.float32),
        "stem.fc.bias": np.ones(2, np.float32),
    }
    content = {"model": arrays(source.state_dict()) | classifier, "__author__": "torchvision"}
    path = write(
        tmp_path / "R.pkl", content | {"matching_heuristics": True, "iteration": 3}, protocol
    )
    load_weight_file(model, path, strict=True, aside=("stem.fc.",))
    assert_loaded(model, source)
    with pytest.raises(UserError, match=r"2 unexpected: stem\.fc\.weight, stem\.fc\.bias"):
        load_weight_file(model, path, strict=True)


@pytest.mark.parametrize("wrapped", [False, True])
def test_caffe2s_names(tmp_path: Path, wrapped: bool) -> None:
    source, model = Trunk(), Trunk()
    blobs: dict[str, Any] = caffe2(source.state_dict(), statistics=True)
    assert {"conv1_w", "res_conv1_bn_riv", "res2_0_branch1_w", "res2_0_branch2c_bn_s"} < set(blobs)
    others = (
        "conv1_b",
        "fc1000_w",
        "fc1000_b",
        "pred_w",
        "conv1_w_momentum",
        "res_conv1_bn_s_momentum",
        "lr",
    )
    blobs |= {name: np.ones(4, np.float32) for name in others}
    blobs["model_iter"] = np.int64(9)
    load_weight_file(
        model, write(tmp_path / "R.pkl", {"blobs": blobs} if wrapped else blobs), strict=True
    )
    assert_loaded(model, source)


def test_statistics_folded_into_the_affine_part(tmp_path: Path) -> None:
    source, model = Trunk(), Trunk()
    load_weight_file(
        model, write(tmp_path / "R.pkl", caffe2(source.state_dict(), statistics=False)), strict=True
    )
    norm, theirs = model.stem["conv1"].norm, source.stem["conv1"].norm
    x = torch.randn(2, 4, 3, 3)
    folded = x * theirs.weight.view(-1, 1, 1) + theirs.bias.view(-1, 1, 1)
    torch.testing.assert_close(norm.eval()(x), folded, rtol=1e-4, atol=1e-4)


def test_group_norms_have_no_statistics(tmp_path: Path) -> None:
    blobs = {"conv1_w": np.ones(1), "conv1_gn_s": np.ones(2), "conv1_gn_b": np.ones(2)}
    read = read_weight_file(write(tmp_path / "R.pkl", blobs))
    assert set(read) == {"stem.conv1.weight", "stem.conv1.norm.weight", "stem.conv1.norm.bias"}


@pytest.mark.parametrize(
    "prefix", ["backbone.bottom_up.", "backbone.", "module.backbone.bottom_up."]
)
@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
def test_the_trunk_of_a_whole_segmenter(tmp_path: Path, prefix: str, suffix: str) -> None:
    source, model, path = Trunk(), Trunk(), tmp_path / f"model{suffix}"
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    state |= {
        "backbone.fpn_lateral2.weight": torch.ones(2),
        "sem_seg_head.predictor.weight": torch.ones(2),
    }
    if suffix == ".pkl":
        write(path, {"model": arrays(state), "__author__": "Detectron2 Model Zoo"})
    elif suffix == ".pth":
        torch.save({"model": state, "iteration": 9}, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    if prefix == "backbone.":
        with pytest.raises(UserError, match=r"1 unexpected: fpn_lateral2\.weight"):
            load_weight_file(model, path, strict=True)
        load_weight_file(model, path, strict=False)
    else:
        load_weight_file(model, path, strict=True)
    assert_loaded(model, source)
    del state[f"{prefix}res2.0.conv1.weight"]
    torch.save(state, tmp_path / "less.pth")
    # not one of several parts, by guess
    with pytest.raises(UserError, match=r"missing: stem\.conv1\.weight"):
        load_weight_file(model, tmp_path / "less.pth", strict=True)


def test_strictness(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, model = Trunk(), Trunk()
    state = arrays(source.state_dict()) | {
        "stem.conv1.norm.bias": np.ones(3, np.float32),
        "extra": np.ones(1),
    }
    del state["res2.0.conv1.weight"]
    path, before = write(tmp_path / "R.pkl", state), model.stem["conv1"].norm.bias.clone()
    found = (
        r"1 missing: res2.0.conv1.weight; 1 unexpected: extra; 1 of another shape:"
        r" stem.conv1.norm.bias. Do this, or"
    )
    with pytest.raises(
        UserError, match=rf"R\.pkl do not fit the model: {found} set .*WEIGHTS_STRICT False"
    ):
        load_weight_file(model, path, strict=True, made_for="Do this")
    with caplog.at_level(logging.WARNING):
        load_weight_file(model, path, strict=False)
    assert len(caplog.records) == 3
    assert torch.equal(model.stem["conv1"].norm.bias, before)
    assert torch.equal(model.stem["conv1"].weight, source.stem["conv1"].weight)


def test_hostile_files_are_one_clear_error(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Hostile:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {mark}",)

    for content, told in (
        ({"model": {"a": np.zeros(1)}, "b": Hostile()}, f"{os.system.__module__}.system"),
        ({"a": np.array([Hostile()], dtype=object)}, "dtype 'O8'"),
        ({"a": torch.nn.Linear(1, 1)}, r"torch\.nn\.modules\.linear\.Linear"),
    ):
        with pytest.raises(UserError, match=rf"backbone weights .*R\.pkl: holds .*{told}"):
            read_weight_file(write(tmp_path / "R.pkl", content))
    assert not mark.exists()


def test_damaged_and_empty_files(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.zeros(9)})
    (tmp_path / "R.pkl").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="can't be read as tensors"):
        read_weight_file(tmp_path / "R.pkl")
    for content in (
        [1, 2],
        {},
        {"__author__": "nobody", "model": {}},
        {"a": {"b": {"c": np.zeros(1)}}},
    ):
        with pytest.raises(UserError, match="not a state dict"):
            read_weight_file(write(tmp_path / "R.pkl", content))
