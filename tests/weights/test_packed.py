"""One file holds all that a model needs, in half the size where asked, and nothing of the machine
that trained it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode
from safetensors.torch import save_file

from clipmask.config import stored_cfg
from clipmask.errors import UserError
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.packed import pack, unpack
from tests.checkpoints import write_checkpoint
from tests.conftest import NAMES


@pytest.fixture
def checkpoint(tmp_path: Path, small_cfg: CfgNode) -> dict:
    small_cfg.OUTPUT_DIR = "/somebody/runs/7"
    return load_checkpoint(write_checkpoint(tmp_path / "model.pth", small_cfg))


@pytest.mark.parametrize("half", [False, True])
def test_what_is_packed_comes_back(tmp_path: Path, checkpoint: dict, half: bool) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pack(checkpoint, "model.pth", half=half))
    for loaded in (unpack(path), load_checkpoint(path)):
        assert loaded["class_names"] == list(NAMES)
        assert loaded["metadata"] == checkpoint["metadata"]
        assert loaded["model"].keys() == checkpoint["model"].keys()
        for name, value in loaded["model"].items():
            trained = checkpoint["model"][name]
            if half and trained.ndim >= 2 and not name.startswith("text."):
                assert value.dtype == torch.float16, name
                torch.testing.assert_close(value.float(), trained, rtol=1e-3, atol=1e-6)
            else:
                assert torch.equal(value, trained), name
        assert "optimizer" not in loaded


def test_half_is_half(checkpoint: dict) -> None:
    assert len(pack(checkpoint, "model.pth", half=True)) < 0.75 * len(
        pack(checkpoint, "model.pth", half=False)
    )


def test_equal_checkpoints_make_equal_bytes(checkpoint: dict) -> None:
    assert pack(checkpoint, "a.pth", half=True) == pack(
        dict(reversed(checkpoint.items())), "b.pth", half=True
    )


def test_local_paths_stay_behind(tmp_path: Path, small_cfg: CfgNode) -> None:
    path = write_checkpoint(tmp_path / "model.pth", small_cfg)
    checkpoint = load_checkpoint(path)
    cfg = stored_cfg(checkpoint["config"], path)
    cfg.MODEL.BACKBONE.WEIGHTS, cfg.MODEL.CLIP.EMBEDDINGS = "/disk/trunk.pth", "texts/mine.npz"
    cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.PRETRAINED = "hf-hub:someone/clip", "/disk/their_clip.pt"
    cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS = "/somebody/runs/7", "/disk/earlier.pth"
    packed = tmp_path / "model.safetensors"
    packed.write_bytes(pack({**checkpoint, "config": cfg.dump()}, path, half=False))
    kept = stored_cfg(unpack(packed)["config"], packed)
    assert (kept.MODEL.BACKBONE.WEIGHTS, kept.MODEL.CLIP.EMBEDDINGS) == ("pretrained", "mine.npz")
    assert (kept.MODEL.CLIP.NAME, kept.MODEL.CLIP.PRETRAINED) == (
        "hf-hub:someone/clip",
        "their_clip.pt",
    )
    assert (kept.OUTPUT_DIR, kept.MODEL.WEIGHTS) == ("./output", "")
    for word in (b"somebody", b"disk", b"texts/"):
        assert word not in packed.read_bytes()


def test_weights_alone_are_refused(checkpoint: dict) -> None:
    with pytest.raises(
        UserError, match=r"bare\.pth: holds weights but neither their config nor class names"
    ):
        pack({"model": checkpoint["model"]}, "bare.pth", half=False)


def test_what_float16_cannot_hold_is_refused(checkpoint: dict) -> None:
    name = next(
        name
        for name, value in checkpoint["model"].items()
        if value.ndim >= 2 and "text." not in name
    )
    checkpoint["model"][name] = (
        checkpoint["model"][name].clone().index_fill_(0, torch.tensor(0), 1e6)
    )
    pack(checkpoint, "model.pth", half=False)
    with pytest.raises(UserError, match=rf"{name} is not finite as float16; leave --half away"):
        pack(checkpoint, "model.pth", half=True)


def test_a_strangers_header_is_bare_weights_or_one_error(tmp_path: Path) -> None:
    weights = {"a": torch.ones(2)}
    save_file(weights, tmp_path / "bare.safetensors", {"made": "elsewhere"})
    assert unpack(tmp_path / "bare.safetensors").keys() == {"a"}
    for text in ("{", "[1]"):
        save_file(weights, tmp_path / "odd.safetensors", {"clipmask": text})
        with pytest.raises(UserError, match=r"odd\.safetensors: damaged"):
            unpack(tmp_path / "odd.safetensors")


def test_configs_of_one_width_keep_it(small_cfg: CfgNode) -> None:
    """Files written before the stride-4 map had a width of its own."""
    text = small_cfg.dump().splitlines()
    old = "\n".join(line for line in text if "MASK_DIM" not in line)
    assert len(old.splitlines()) == len(text) - 1
    node = stored_cfg(old, "old.pth").MODEL.CLIPMASK
    assert node.MASK_DIM == node.HIDDEN_DIM == 16


def test_tags_are_no_files(tmp_path: Path, small_cfg: CfgNode) -> None:
    path = write_checkpoint(tmp_path / "model.pth", small_cfg)
    checkpoint = load_checkpoint(path)
    cfg = stored_cfg(checkpoint["config"], path)
    cfg.MODEL.BACKBONE.WEIGHTS, cfg.MODEL.CLIP.PRETRAINED = "a1_in1k", "laion2b_s34b_b88k"
    packed = tmp_path / "model.safetensors"
    packed.write_bytes(pack({**checkpoint, "config": cfg.dump()}, path, half=False))
    kept = stored_cfg(unpack(packed)["config"], packed)
    assert (kept.MODEL.BACKBONE.WEIGHTS, kept.MODEL.CLIP.PRETRAINED) == (
        "a1_in1k",
        "laion2b_s34b_b88k",
    )
