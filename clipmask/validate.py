"""What a config must say for a model to be built from it."""

from __future__ import annotations

import math

from fvcore.common.config import CfgNode

from clipmask.d2 import BACKBONE_REGISTRY
from clipmask.errors import UserError

LEAST_WINDOW = 32  # pixels: one cell of the coarsest scale


def check_config(cfg: CfgNode) -> None:
    """Refuses values that would fail later, deep inside, or train something else than was meant.

    Raises:
        UserError: the key, its value and what it takes.
    """
    if cfg.VERSION != 2:
        raise UserError(
            f"VERSION {cfg.VERSION}: ClipMask reads configs of version 2, as Detectron2 has named its keys since 2019"
        )
    node = cfg.MODEL.CLIPMASK
    _check_text(cfg)
    check_views(cfg)
    known = {
        "INJECTION": ("tokens", "channels", "none"),
        "FUSION": ("both", "joint", "pairwise"),
        "CLASSIFIER": ("cosine", "linear"),
    }
    for key, values in known.items():
        if node[key] not in values:
            raise UserError(f"MODEL.CLIPMASK.{key} {node[key]!r}: use {' or '.join(values)}")
    order = ["res3", "res4", "res5"]
    if not node.SCALES or list(node.SCALES) != [name for name in order if name in node.SCALES]:
        raise UserError(f"MODEL.CLIPMASK.SCALES {list(node.SCALES)}: use some of {order}, in this order, each once")
    for key in ("NUM_QUERIES", "DEC_LAYERS", "FFN_DIM", "NUM_HEADS", "HIDDEN_DIM", "MASK_DIM", "SIZE_DIVISIBILITY"):
        if node[key] < 1:
            raise UserError(f"MODEL.CLIPMASK.{key} {node[key]}: must be at least 1")
    for key in ("MAX_IMAGE_KEYS", "NO_OBJECT_WEIGHT", "CLASS_WEIGHT", "BCE_WEIGHT", "DICE_WEIGHT"):
        if node[key] < 0:
            raise UserError(f"MODEL.CLIPMASK.{key} {node[key]}: must be 0 or more")
    if node.LOSS_STRIDE not in (1, 2, 4):
        raise UserError(f"MODEL.CLIPMASK.LOSS_STRIDE {node.LOSS_STRIDE}: use 4, as masks are predicted, 2 or 1")
    if not 0 <= node.DROPOUT < 1:
        raise UserError(f"MODEL.CLIPMASK.DROPOUT {node.DROPOUT}: must be at least 0 and below 1")
    if node.HIDDEN_DIM % 4 or node.HIDDEN_DIM % node.NUM_HEADS:
        raise UserError(
            f"MODEL.CLIPMASK.HIDDEN_DIM {node.HIDDEN_DIM}: must be divisible by 4 and by NUM_HEADS {node.NUM_HEADS}"
        )
    if node.MASK_DIM % 4:
        raise UserError(f"MODEL.CLIPMASK.MASK_DIM {node.MASK_DIM}: must be divisible by 4")
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    numbers = all(isinstance(value, int | float) for value in (*mean, *std))
    if not numbers or len(mean) != len(std) or min(std, default=0) <= 0:
        raise UserError(
            f"MODEL.PIXEL_MEAN {list(mean)} and MODEL.PIXEL_STD {list(std)}: must be one number a channel each, the "
            "deviations above 0"
        )
    if cfg.MODEL.BACKBONE.NAME not in BACKBONE_REGISTRY:
        raise UserError(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME!r} is not registered; configs/base.yaml sets "
            "build_timm_backbone: start your config with _BASE_ and the path of that file"
        )


def _check_text(cfg: CfgNode) -> None:
    """Refuses settings of text that contradict each other."""
    clip, node = cfg.MODEL.CLIP, cfg.MODEL.CLIPMASK
    known = {
        "TEXT": ("vocabulary", "annotation"),
        "TOWER": ("frozen", "context", "full"),
    }
    for key, values in known.items():
        if clip[key] not in values:
            raise UserError(f"MODEL.CLIP.{key} {clip[key]!r}: use {' or '.join(values)}")
    if not 0 <= clip.TEXT_DROP < 1:
        raise UserError(f"MODEL.CLIP.TEXT_DROP {clip.TEXT_DROP}: must be at least 0 and below 1")
    annotation = clip.TEXT == "annotation"
    if node.INJECTION == "channels" and not annotation:
        raise UserError(
            "MODEL.CLIPMASK.INJECTION channels needs MODEL.CLIP.TEXT annotation: with a fixed vocabulary the text "
            "beside each pixel's channels is one constant, no more than a bias. Use tokens, or annotation"
        )
    if annotation and node.INJECTION == "none":
        raise UserError(
            "MODEL.CLIP.TEXT annotation: with MODEL.CLIPMASK.INJECTION none nothing would take the images' texts; use "
            "tokens or channels"
        )
    if clip.TOWER == "frozen":
        return
    if clip.EMBEDDINGS:
        raise UserError(
            f"MODEL.CLIP.TOWER {clip.TOWER} trains with CLIP's text tower, which MODEL.CLIP.EMBEDDINGS "
            f"{clip.EMBEDDINGS} stands in for; leave EMBEDDINGS empty, or TOWER frozen"
        )
    always = node.INJECTION != "none" and not annotation
    if node.CLASSIFIER == "linear" and not node.TEXT_QUERIES and not always:
        raise UserError(
            f"MODEL.CLIP.TOWER {clip.TOWER}: the embeddings of the class names reach no result, so nothing would train "
            "them; use CLASSIFIER cosine, TEXT_QUERIES True, or TOWER frozen"
        )


def check_views(cfg: CfgNode) -> None:
    """Refuses settings of TEST.AUG and TEST.SLIDING_WINDOW that make no sense, also where they are not enabled.

    Raises:
        UserError: the key, its value and what it takes.
    """
    scales, size = tuple(cfg.TEST.AUG.SCALES), tuple(cfg.TEST.SLIDING_WINDOW.SIZE)
    overlap = cfg.TEST.SLIDING_WINDOW.OVERLAP
    if not scales or not all(isinstance(s, int | float) and 0 < s < math.inf for s in scales):
        raise UserError(f"TEST.AUG.SCALES {list(scales)}: must be one or more factors above 0, such as [0.75, 1.0]")
    if len(size) != 2 or not all(isinstance(pixels, int) and pixels >= LEAST_WINDOW for pixels in size):
        raise UserError(
            f"TEST.SLIDING_WINDOW.SIZE {list(size)}: must be a height and a width in whole pixels, each at least "
            f"{LEAST_WINDOW}"
        )
    if not 0 <= overlap < 1:
        raise UserError(f"TEST.SLIDING_WINDOW.OVERLAP {overlap}: must be at least 0 and below 1")
