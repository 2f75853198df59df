"""The backbone that a config names: timm's, Detectron2's or a user's own, whatever ``BACKBONE_REGISTRY`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from clipmask.d2 import BACKBONE_REGISTRY, ShapeSpec
from clipmask.errors import UserError
from clipmask.modeling.backbone import STRIDES, build_timm_backbone
from clipmask.weights.foreign import WEIGHT_ENDINGS, load_weight_file

# Classifiers of ImageNet in the files of Detectron2's model zoo, whose backbones have none.
CLASSIFIERS = ("stem.fc.", "fc.", "fc1000.", "linear.", "head.", "pred.", "classifier.")


def build_backbone(cfg: CfgNode) -> Any:
    """Builds the backbone of ``BACKBONE_REGISTRY`` that the config names, with its weights.

    Args:
        cfg: ``MODEL.BACKBONE.NAME`` is registered. For another than ``build_timm_backbone``, which has weights by name,
            ``MODEL.BACKBONE.WEIGHTS`` is a local file (see weight_files.py) or ``random``; like there, they are not
            read where they come with ``MODEL.WEIGHTS``.

    Returns:
        A ``Backbone``, Detectron2's or our own, with a feature ``res2`` at stride 4 and each of
        ``MODEL.CLIPMASK.SCALES``.

    Raises:
        UserError: the weights are neither, or don't fit; the builder reads a key that the config lacks, or refuses a
            value; a feature is missing, or its stride is none that ClipMask takes.
    """
    name, builder = cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)
    input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    if builder is build_timm_backbone:
        return builder(cfg, input_shape)
    try:
        backbone = builder(cfg, input_shape)
    except UserError:
        raise
    except AttributeError as error:
        if not str(error).isidentifier():  # a config's complaint is the bare key; any other is a fault in the builder
            raise
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} reads a key {error} that this config does not have. Detectron2's backbones "
            "need Detectron2's config: cfg = detectron2.config.get_cfg(), then clipmask.add_clipmask_config(cfg). A "
            "backbone of your own: add its keys to the config before anything is merged into it"
        ) from error
    except (AssertionError, KeyError, ValueError, ImportError) as error:  # how Detectron2's builders refuse a value
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} refuses this config ({type(error).__name__}: {error}). ClipMask takes a "
            f"backbone without an FPN that gives {', '.join(STRIDES)} (MODEL.RESNETS.OUT_FEATURES), and no operators "
            "that Detectron2 must have compiled, where it has not"
        ) from error
    _check_features(name, backbone.output_shape(), ["res2", *cfg.MODEL.CLIPMASK.SCALES])
    weights = _file_of_weights(cfg)
    if weights is not None:
        own = backbone.state_dict()
        unbuilt = tuple(f"{stage}." for stage in STRIDES if not any(key.startswith(f"{stage}.") for key in own))
        load_weight_file(
            backbone,
            weights,
            cfg.MODEL.BACKBONE.WEIGHTS_STRICT,
            aside=(*CLASSIFIERS, *unbuilt),
            made_for=f"Configure {name} as the model they were made for (Detectron2's ResNet: MODEL.RESNETS)",
        )
    return backbone


def _file_of_weights(cfg: CfgNode) -> Path | None:
    """The file that a backbone other than timm's takes its weights from; None where they are drawn or come later."""
    name, weights = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.WEIGHTS
    if cfg.MODEL.WEIGHTS or weights == "random":
        return None
    if Path(weights).is_file():
        return Path(weights)
    if Path(weights).suffix in WEIGHT_ENDINGS and "://" not in weights:
        raise UserError(f"MODEL.BACKBONE.WEIGHTS {weights}: no such file")
    raise UserError(
        f"MODEL.BACKBONE.WEIGHTS {weights!r}: {name} has no weights of its own here, only timm's backbones "
        "(MODEL.BACKBONE.NAME build_timm_backbone) have. Set it to a local file (.pth, .safetensors, or .pkl of "
        "Detectron2's model zoo), or to random to train from scratch on purpose"
    )


def _check_features(name: str, shapes: Mapping[str, ShapeSpec], wanted: list[str]) -> None:
    """Refuses a backbone without the features or strides that the pixel decoder takes."""
    missing = [feature for feature in wanted if feature not in shapes]
    if missing:
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} gives {', '.join(shapes)}, but not {', '.join(missing)}: ClipMask takes "
            "res2 and MODEL.CLIPMASK.SCALES, without an FPN between. For Detectron2's build_resnet_backbone set "
            f"MODEL.RESNETS.OUT_FEATURES {list(STRIDES)}"
        )
    strides = [shapes[feature].stride or 0 for feature in wanted]
    if strides[0] != STRIDES["res2"] or any(not coarse or coarse % fine for fine, coarse in pairwise(strides)):
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} gives {', '.join(wanted)} at strides {', '.join(map(str, strides))}; ClipMask "
            "takes res2 at stride 4 and each other at a multiple of the stride before it"
        )
