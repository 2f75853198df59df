"""Backbones: any timm model with features at strides 4, 8, 16 and 32, as a Detectron2 ``Backbone``.

The maps are named as Detectron2 names ResNet's: ``res2`` (stride 4) to ``res5`` (stride 32).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.d2 import BACKBONE_REGISTRY, Backbone, ShapeSpec
from clipmask.errors import UserError
from clipmask.weights.foreign import WEIGHT_ENDINGS, load_weight_file

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
NORMS = ("BN", "FrozenBN", "SyncBN")


class TimmBackbone(Backbone):
    """A timm model as feature extractor.

    Args:
        name: timm's model name, e.g. ``resnet50`` or ``swin_tiny_patch4_window7_224``.
        weights: ``pretrained`` (timm's default weights for the name), one of timm's tags for it, the path of a local
            file (see weight_files.py; the whole classifier or its trunk), or ``random``.
        timm_args: further arguments of ``timm.create_model``.
        freeze_at: 0 freezes nothing, 1 the stem, n >= 2 everything up to the feature ``res{n}``.
        norm: ``BN``, ``FrozenBN`` or ``SyncBN``; what becomes of the model's batch normalisations.
        strict: whether a local file must hold every weight and nothing else; otherwise each difference is logged.
        last: the deepest feature wanted; stages after it are not built.
        in_channels: channels of the images.

    Raises:
        UserError: timm lacks the model or refuses an argument; the model lacks one of the strides; the file is missing,
            damaged or does not fit; the weights can't be downloaded.
    """

    def __init__(
        self,
        name: str,
        weights: str,
        *,
        timm_args: Mapping[str, Any] | None = None,
        freeze_at: int = 0,
        norm: str = "BN",
        strict: bool = True,
        last: str = "res5",
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self._strides = {name: stride for name, stride in STRIDES.items() if name <= last}
        if norm not in NORMS:
            raise UserError(f"MODEL.BACKBONE.NORM {norm!r}: use one of {', '.join(NORMS)}")
        if not 0 <= freeze_at <= 5:
            raise UserError(f"MODEL.BACKBONE.FREEZE_AT {freeze_at}: use 0 (nothing) to 5 (everything)")
        args = {"in_chans": in_channels, **(timm_args or {})}
        self.body: Any = _build(name, weights, args, strict, list(self._strides.values()))
        info = self.body.feature_info
        self._shapes = {
            feature: ShapeSpec(channels=channels, stride=stride)
            for (feature, stride), channels in zip(self._strides.items(), info.channels(), strict=True)
        }
        self._channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self._set_norms(norm, freeze_at)

    def _set_norms(self, norm: str, freeze_at: int) -> None:
        from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
        from timm.utils import freeze

        if norm == "FrozenBN":
            self.body = freeze_batch_norm_2d(self.body)
        elif norm == "SyncBN":
            self.body = convert_sync_batchnorm(self.body)
        frozen = self._children_up_to(freeze_at)
        if frozen:
            freeze(self.body, frozen)

    def _children_up_to(self, freeze_at: int) -> list[str]:
        """Names of the modules to freeze, in the order in which timm runs them."""
        if freeze_at == 0:
            return []
        ends = [name.replace(".", "_") for name in self.body.feature_info.module_name()]
        leaves = [name for name, _ in self.body.named_modules() if name]
        stages: list[str] = []
        reached = -1  # index of the last feature passed
        for name in leaves:
            flat = name.removeprefix("model.").replace(".", "_")
            if any(name.startswith(f"{stage}.") for stage in stages):
                continue
            inside = [index for index, end in enumerate(ends) if flat == end or flat.startswith(f"{end}_")]
            holds = [index for index, end in enumerate(ends) if end.startswith(f"{flat}_")]
            if holds and not inside:
                continue  # a container of stages: its children are looked at one by one
            reached = max([reached, *inside])
            if reached + 2 > freeze_at:
                break
            stages.append(name)
        return stages

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Extracts the features of normalised images ``x`` (B, 3, H, W), H and W multiples of 32.

        Returns:
            ``res2`` .. ``res5``, each (B, C_i, H / stride, W / stride).
        """
        maps = self.body(x)
        if self._channels_last:
            maps = [map_.permute(0, 3, 1, 2).contiguous() for map_ in maps]
        return dict(zip(self._strides, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature."""
        return self._shapes

    @property
    def size_divisibility(self) -> int:
        """Images are to be padded to a multiple of it."""
        return max(self._strides.values())


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """Builds the backbone that the config names; weights that come with ``MODEL.WEIGHTS`` are not fetched first."""
    node = cfg.MODEL.BACKBONE
    return TimmBackbone(
        node.TIMM_NAME,
        "random" if cfg.MODEL.WEIGHTS else node.WEIGHTS,
        timm_args=dict(node.TIMM_ARGS),
        freeze_at=node.FREEZE_AT,
        norm=node.NORM,
        strict=node.WEIGHTS_STRICT,
        last=max(cfg.MODEL.CLIPMASK.SCALES),
        in_channels=input_shape.channels or 3,
    )


def _build(name: str, weights: str, args: dict[str, Any], strict: bool, strides: list[int]) -> Any:
    """Creates the feature extractor with its weights."""
    import timm

    whole = _create(name, args, num_classes=0)
    if "strict_img_size" in inspect.signature(type(whole).__init__).parameters:
        args = {"strict_img_size": False, **args}  # Swin otherwise takes images of its training size alone
    args = {**args, "features_only": True, "out_indices": _stride_indices(name, args, strides)}
    if weights == "random":
        return _create(name, args)
    if Path(weights).is_file():
        heads = whole.pretrained_cfg.get("classifier") or ()
        load_weight_file(
            whole,
            Path(weights),
            strict,
            aside=tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads)),
            made_for="Name the model they were made for in MODEL.BACKBONE.TIMM_NAME and TIMM_ARGS",
        )
        # Through timm's own loading, because it renames what the feature extractor holds under other names.
        overlay = {"state_dict": whole.state_dict(), "source": "", "custom_load": False}
        builder_log = logging.getLogger("timm.models._builder")
        builder_log.disabled = True  # it would list the layers after the last feature as unexpected
        try:
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **args)
        finally:
            builder_log.disabled = False
    if Path(weights).suffix in WEIGHT_ENDINGS:
        raise UserError(f"MODEL.BACKBONE.WEIGHTS {weights}: no such file")
    tagged = name if weights == "pretrained" else f"{name.partition('.')[0]}.{weights}"
    if weights != "pretrained" and tagged not in timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True):
        known = [model.partition(".")[2] for model in timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)]
        raise UserError(
            f"MODEL.BACKBONE.WEIGHTS {weights!r} is neither a file nor a timm tag of {name}; "
            f"its tags: {', '.join(known) or 'none'}"
        )
    try:
        return timm.create_model(tagged, pretrained=True, **args)
    except Exception as error:  # every hub and network library has exceptions of its own
        raise UserError(
            f"backbone weights {tagged} could not be had from timm's hub ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no message'}). Set MODEL.BACKBONE.WEIGHTS to a local "
            "file of them, to another tag that is in the local cache, or to random to train from scratch on purpose"
        ) from error


def _create(name: str, args: dict[str, Any], **more: Any) -> Any:
    """``timm.create_model`` without weights; its complaints about name and arguments as one message."""
    import timm

    if not timm.is_model(name.partition(".")[0]):
        near = timm.list_models(f"*{name.partition('.')[0].split('_')[0]}*")[:8]
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME {name!r}: timm has no such model"
            + (f"; it has {', '.join(near)} ..." if near else "; timm.list_models() lists them")
        )
    try:
        return timm.create_model(name, pretrained=False, **args, **more)
    except (TypeError, RuntimeError, AssertionError, ValueError) as error:
        raise UserError(f"timm can't build {name} with MODEL.BACKBONE.TIMM_ARGS {args}: {error}") from error


def _stride_indices(name: str, args: dict[str, Any], strides: list[int]) -> list[int]:
    """Which of the model's features to take: the last of each stride."""
    reductions = _create(name, args, features_only=True).feature_info.reduction()
    last = {reduction: index for index, reduction in enumerate(reductions)}
    missing = [str(stride) for stride in strides if stride not in last]
    if missing:
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME {name}: no feature at stride {', '.join(missing)} (it has "
            f"{', '.join(map(str, reductions))}); choose a hierarchical model such as a ResNet, Swin or ConvNeXt"
        )
    return [last[stride] for stride in strides]
