"""The backbone that a config names, from Detectron2's ``BACKBONE_REGISTRY``.

timm's models are built in ``timm_backbone.py``. Any other registered backbone, Detectron2's or the
user's own, is built here and gets its weights from a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from clipmask.backbones.features import STRIDES, choose_features, set_norms
from clipmask.backbones.timm_backbone import build_timm_backbone
from clipmask.d2 import BACKBONE_REGISTRY, ShapeSpec
from clipmask.errors import UserError
from clipmask.weights.addresses import is_address, local_file
from clipmask.weights.foreign import WEIGHT_ENDINGS, load_weight_file

# ImageNet classifiers in the files of Detectron2's and MaskFormer's model zoos. A backbone has no
# classifier; ``norm.`` precedes Swin's.
CLASSIFIERS = ("stem.fc.", "fc.", "fc1000.", "linear.", "head.", "norm.", "pred.", "classifier.")
# Norms of the outputs of Swin's stages. A Swin classifier has none, so they start untrained.
OF_OUTPUTS = ("norm0.", "norm1.", "norm2.", "norm3.")


def build_backbone(cfg: CfgNode) -> Any:
    """Builds the backbone of ``BACKBONE_REGISTRY`` that the config names, with its weights.

    Args:
        cfg: ``MODEL.BACKBONE.NAME`` is a registered name. ``MODEL.BACKBONE.WEIGHTS`` is a file, an
            address or ``random``; for ``build_timm_backbone`` also the name of weights. It is not
            read if ``MODEL.WEIGHTS`` is set.

    Returns:
        A ``Backbone``, Detectron2's or our own; ``named_features`` lists the features to use.

    Raises:
        UserError: the weights can't be found or don't fit; the builder reads a key that the config
            lacks, or refuses a value; a feature is missing or has an unsuitable stride.
    """
    name, input_shape = cfg.MODEL.BACKBONE.NAME, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    if name == build_timm_backbone.__name__:
        return build_timm_backbone(cfg, input_shape)
    builder = BACKBONE_REGISTRY.get(name)
    try:
        backbone = builder(_with_all_stages(cfg), input_shape)
    except UserError:
        raise
    except AttributeError as error:
        # A config's error message is the bare key. Any other message is a fault in the builder.
        if not str(error).isidentifier():
            raise
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} reads a key {error} that this config does not have."
            " Detectron2's backbones need Detectron2's config: cfg = detectron2.config.get_cfg(),"
            " then clipmask.add_clipmask_config(cfg). A backbone of your own: add its keys to the"
            " config before anything is merged into it",
            key="MODEL.BACKBONE.NAME",
        ) from error
    # These are the exceptions by which Detectron2's builders refuse a value.
    except (AssertionError, KeyError, ValueError, ImportError) as error:
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} refuses this config ({type(error).__name__}: {error})."
            " ClipMask takes a backbone with features at strides"
            f" {', '.join(map(str, STRIDES.values()))} (Detectron2's ResNet:"
            f" MODEL.RESNETS.OUT_FEATURES {list(STRIDES)}), and no operators that Detectron2 must"
            " have compiled, where it has not",
            key="MODEL.BACKBONE.NAME",
        ) from error
    named_features(cfg, backbone)
    weights = _file_of_weights(cfg)
    if weights is not None:
        own = backbone.state_dict()
        built = {key.split(".")[0] for key in own}
        unbuilt = tuple(f"{stage}." for stage in STRIDES if stage not in built)
        load_weight_file(
            backbone,
            weights,
            cfg.MODEL.BACKBONE.WEIGHTS_STRICT,
            aside=(*CLASSIFIERS, *unbuilt),
            drawn=OF_OUTPUTS,
            made_for=(
                f"Configure {name} as the model they were made for (Detectron2's ResNet:"
                " MODEL.RESNETS)"
            ),
        )
    return set_norms(backbone, cfg.MODEL.BACKBONE.NORM)


def _with_all_stages(cfg: CfgNode) -> CfgNode:
    """Returns a config in which Detectron2's ResNets and FPNs give all stages that are used.

    Detectron2's defaults (res4 alone, and none for the FPN) are made for detectors.
    """
    stages = ["res2", *cfg.MODEL.CLIPMASK.SCALES]
    sections = {"RESNETS": ("OUT_FEATURES", ["res4"]), "FPN": ("IN_FEATURES", [])}
    defaults = {
        name: key
        for name, (key, default) in sections.items()
        if name in cfg.MODEL and cfg.MODEL[name][key] == default
    }
    if not defaults:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    for name, key in defaults.items():
        cfg.MODEL[name][key] = stages
    return cfg


def named_features(cfg: CfgNode, backbone: Any) -> dict[str, str]:
    """Returns the backbone's names of res2 and MODEL.CLIPMASK.SCALES, see ``choose_features``."""
    node = cfg.MODEL.CLIPMASK
    return choose_features(
        cfg.MODEL.BACKBONE.NAME, backbone.output_shape(), ["res2", *node.SCALES], node.IN_FEATURES
    )


def _file_of_weights(cfg: CfgNode) -> Path | None:
    """The weight file of a backbone other than timm's; None if the weights are random or loaded
    later with MODEL.WEIGHTS.
    """
    name, weights = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.WEIGHTS
    if cfg.MODEL.WEIGHTS or weights == "random":
        return None
    if is_address(weights):
        return local_file(weights, "MODEL.BACKBONE.WEIGHTS")
    if Path(weights).is_file():
        return Path(weights)
    if Path(weights).suffix in WEIGHT_ENDINGS:
        raise UserError(
            f"MODEL.BACKBONE.WEIGHTS {weights}: no such file", key="MODEL.BACKBONE.WEIGHTS"
        )
    raise UserError(
        f"MODEL.BACKBONE.WEIGHTS {weights!r}: {name} has no weights of its own here, only timm's"
        " backbones (MODEL.BACKBONE.NAME build_timm_backbone) have. Set it to a file (.pth,"
        " .safetensors, or .pkl of Detectron2's model zoo), to its address (https://,"
        " detectron2://), or to random to train from scratch on purpose",
        key="MODEL.BACKBONE.WEIGHTS",
    )
