"""A trained model from a file or a config, with what a predictor needs to know about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode

from clipmask.config import stored_cfg
from clipmask.data.image_format import ImageFormat
from clipmask.device import resolve_device
from clipmask.errors import UserError
from clipmask.inference.exported import ExportedModel
from clipmask.inference.folding import prepare_for_inference
from clipmask.inference.loading import load_model
from clipmask.inference.runtimes import OPENERS
from clipmask.modeling import ClipMask
from clipmask.modeling.build import compile_model
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.licenses import License, checkpoint_licenses


class TrainedModel(NamedTuple):
    """A model that is ready for inference, on its device.

    Attributes:
        cfg: its config.
        model: the model, or an exported network.
        image_format: how the picture files of the training were read.
        licenses: the licences of the training data and of the pretrained weights.
    """

    cfg: CfgNode
    model: ClipMask | ExportedModel
    image_format: ImageFormat
    licenses: tuple[License, ...]


def from_file(path: Path, device: str | None, opts: Sequence[str]) -> TrainedModel:
    """Reads a trained model from a checkpoint or an exported network, without any other file.

    Args:
        path: the file; its suffix says whether it is an exported network.
        device: cuda, cuda:1, mps or cpu; None: the device in the training's config, or the CPU if
            that device is absent.
        opts: config keys and values, alternating, which replace those of the file.

    Raises:
        UserError: the file is missing or damaged, or has no config; or a key or value of ``opts``
            is wrong.
    """
    if path.suffix in OPENERS:
        return _from_exported(path, device, opts)
    checkpoint = load_checkpoint(path)
    text = checkpoint.get("config")
    if not isinstance(text, str):
        raise UserError(
            f"checkpoint {path}: holds weights but not the config of their model; name it:"
            f" --config-file FILE --opts MODEL.WEIGHTS {path} (in Python:"
            " Predictor.from_config(cfg))"
        )
    overrides = list(opts)
    if device is not None:
        overrides += ["MODEL.DEVICE", device]
    cfg = stored_cfg(text, path, overrides)
    cfg.MODEL.WEIGHTS = str(path)
    return _prepared(cfg, checkpoint)


def from_config(cfg: CfgNode) -> TrainedModel:
    """Builds the model of a config with the weights of its MODEL.WEIGHTS.

    The class names come from that file. If it has none, they come from the config's dataset.

    Raises:
        UserError: MODEL.WEIGHTS is empty, the weights can't be read or don't fit, or there are no
            class names.
    """
    if not cfg.MODEL.WEIGHTS:
        raise UserError(
            "MODEL.WEIGHTS is empty: name the trained model's file, --opts MODEL.WEIGHTS FILE"
            " on the command line"
        )
    return _prepared(cfg, load_checkpoint(cfg.MODEL.WEIGHTS))


def _from_exported(path: Path, device: str | None, opts: Sequence[str]) -> TrainedModel:
    chosen = dict(zip(opts[::2], opts[1::2], strict=False)).get("MODEL.DEVICE", "cpu")
    exported = ExportedModel(path, device or chosen, opts)
    if exported.cfg.MODEL.COMPILE:
        raise UserError(f"--compile: {path} is an exported network, which can't be compiled")
    licenses = checkpoint_licenses(exported.description)
    return TrainedModel(exported.cfg, exported, exported.image_format, tuple(licenses))


def _prepared(cfg: CfgNode, checkpoint: Mapping[str, Any]) -> TrainedModel:
    """Loads a checkpoint's model, moves it to the config's device and folds its layers."""
    device = resolve_device(cfg.MODEL.DEVICE)
    model, image_format = load_model(cfg, checkpoint)
    prepare_for_inference(model.to(device))
    if cfg.MODEL.COMPILE:
        compile_model(model)
    return TrainedModel(cfg, model, image_format, tuple(checkpoint_licenses(checkpoint)))
