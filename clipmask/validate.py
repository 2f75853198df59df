"""What a config must say for a model to be built from it."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from clipmask.config import leaf_keys
from clipmask.d2 import BACKBONE_REGISTRY
from clipmask.errors import UserError
from clipmask.ranges import check_ranges


def check_config(cfg: CfgNode) -> None:
    """Refuses values that would fail later, deep inside, or train something else than was meant.

    Raises:
        UserError: the key, its value and what it takes.
    """
    if cfg.VERSION != 2:
        raise UserError(
            f"VERSION {cfg.VERSION}: ClipMask reads configs of version 2, as Detectron2 has named"
            " its keys since 2019",
            key="VERSION",
        )
    node = cfg.MODEL.CLIPMASK
    check_ranges(leaf_keys(cfg), "MODEL.")
    _check_text(cfg)
    check_views(cfg)
    if node.HIDDEN_DIM % 4 or node.HIDDEN_DIM % node.NUM_HEADS:
        raise UserError(
            f"MODEL.CLIPMASK.HIDDEN_DIM {node.HIDDEN_DIM}: must be divisible by 4 and by NUM_HEADS"
            f" {node.NUM_HEADS}",
            key="MODEL.CLIPMASK.HIDDEN_DIM",
        )
    if node.MASK_DIM % 4:
        raise UserError(
            f"MODEL.CLIPMASK.MASK_DIM {node.MASK_DIM}: must be divisible by 4",
            key="MODEL.CLIPMASK.MASK_DIM",
        )
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    if len(mean) != len(std):
        raise UserError(
            f"MODEL.PIXEL_MEAN {list(mean)} and MODEL.PIXEL_STD {list(std)}: must be one number a"
            " channel each",
            key="MODEL.PIXEL_MEAN",
        )
    if cfg.MODEL.BACKBONE.NAME not in BACKBONE_REGISTRY:
        raise UserError(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME!r} is not registered; configs/base.yaml"
            " sets build_timm_backbone: start your config with _BASE_ and the path of that file",
            key="MODEL.BACKBONE.NAME",
        )


def _check_text(cfg: CfgNode) -> None:
    """Refuses settings of text that contradict each other."""
    clip, node = cfg.MODEL.CLIP, cfg.MODEL.CLIPMASK
    annotation = clip.TEXT == "annotation"
    if node.INJECTION == "channels" and not annotation:
        raise UserError(
            "MODEL.CLIPMASK.INJECTION channels needs MODEL.CLIP.TEXT annotation: with a fixed"
            " vocabulary the text beside each pixel's channels is one constant, no more than a"
            " bias. Use tokens, or annotation",
            key="MODEL.CLIPMASK.INJECTION",
        )
    if annotation and node.INJECTION == "none":
        raise UserError(
            "MODEL.CLIP.TEXT annotation: with MODEL.CLIPMASK.INJECTION none nothing would take the"
            " images' texts; use tokens or channels",
            key="MODEL.CLIP.TEXT",
        )
    if clip.TOWER == "frozen":
        return
    if clip.EMBEDDINGS:
        raise UserError(
            f"MODEL.CLIP.TOWER {clip.TOWER} trains with CLIP's text tower, which"
            f" MODEL.CLIP.EMBEDDINGS {clip.EMBEDDINGS} stands in for; leave EMBEDDINGS empty, or"
            " TOWER frozen",
            key="MODEL.CLIP.TOWER",
        )
    always = node.INJECTION != "none" and not annotation
    if node.CLASSIFIER == "linear" and not node.TEXT_QUERIES and not always:
        raise UserError(
            f"MODEL.CLIP.TOWER {clip.TOWER}: the embeddings of the class names reach no result, so"
            " nothing would train them; use CLASSIFIER cosine, TEXT_QUERIES True, or TOWER frozen",
            key="MODEL.CLIP.TOWER",
        )


def check_views(cfg: CfgNode) -> None:
    """Refuses settings of TEST.AUG and TEST.SLIDING_WINDOW that make no sense, also where they are
    not enabled.

    Raises:
        UserError: the key, its value and what it takes.
    """
    check_ranges(leaf_keys(cfg), "TEST.")
