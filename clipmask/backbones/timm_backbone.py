"""timm's models as backbones.

``TimmBackbone`` is a Detectron2 ``Backbone`` around a timm model with features at strides 4, 8, 16
and 32, or around a plain vision transformer, whose single map becomes a ``SimplePyramid``. Its maps
have Detectron2's names for those of a ResNet: ``res2`` (stride 4) to ``res5`` (stride 32).
Backbones of other libraries are built in ``registry.py``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.backbones.features import STRIDES, set_norms
from clipmask.backbones.simple_pyramid import SimplePyramid, resized_for
from clipmask.d2 import BACKBONE_REGISTRY, Backbone, ShapeSpec
from clipmask.errors import UserError, first_line, listed
from clipmask.weights.addresses import is_address, local_file
from clipmask.weights.foreign import WEIGHT_ENDINGS, load_weight_file
from clipmask.weights.hub import check_cached, short_wait

PATCHES = (8, 14, 16, 32)  # allowed sides of a plain transformer's patches, in pixels
PYRAMID_WIDTH = 256  # channels of each map of a plain transformer's pyramid, as in ViTDet


class TimmBackbone(Backbone):
    """A timm model as feature extractor.

    Args:
        name: timm's model name, e.g. ``resnet50`` or ``swin_tiny_patch4_window7_224``.
        weights: ``pretrained`` (timm's default weights for the name), one of timm's tags for it,
            the path of a local file or an address (see weights/foreign.py, weights/addresses.py;
            the whole classifier or its trunk), or ``random``.
        timm_args: extra keyword arguments for ``timm.create_model``.
        freeze_at: 0 freezes nothing, 1 the stem, n >= 2 everything up to the feature ``res{n}``.
        norm: ``BN``, ``FrozenBN`` or ``SyncBN``, to which the model's batch normalisations are
            converted. Empty: they stay as they are.
        strict: whether a local file must hold every weight and nothing else. If not, each
            difference is logged.
        last: the deepest feature that is used; later stages are not built.
        in_channels: channels of the images.

    Raises:
        UserError: timm lacks the model or refuses an argument; the model lacks one of the strides;
            the file is missing, damaged or does not fit; the weights can't be downloaded.
    """

    def __init__(
        self,
        name: str,
        weights: str,
        *,
        timm_args: Mapping[str, Any] | None = None,
        freeze_at: int = 0,
        norm: str = "",
        strict: bool = True,
        last: str = "res5",
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self._strides = {name: stride for name, stride in STRIDES.items() if name <= last}
        if not 0 <= freeze_at <= 5:
            raise UserError(
                f"MODEL.BACKBONE.FREEZE_AT {freeze_at}: use 0 (nothing) to 5 (everything)",
                key="MODEL.BACKBONE.FREEZE_AT",
            )
        args = {"in_chans": in_channels, **(timm_args or {})}
        wanted = list(self._strides.values())
        plan = _plan(name, args, wanted)
        self.body: Any = _build(name, weights, args, strict, plan)
        channels = list(self.body.feature_info.channels())
        self._patch = plan.patch
        if plan.patch:
            width = min(channels[0], PYRAMID_WIDTH)
            self.pyramid = SimplePyramid(channels[0], width, wanted)
            channels = [width] * len(wanted)
        self._shapes = {
            feature: ShapeSpec(channels=count, stride=stride)
            for (feature, stride), count in zip(self._strides.items(), channels, strict=True)
        }
        self._channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self.body = set_norms(self.body, norm)
        self._freeze(freeze_at)

    def _freeze(self, freeze_at: int) -> None:
        from timm.utils import freeze

        if self._patch and freeze_at:
            self.body.requires_grad_(False)  # a plain transformer has no stages
            return
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
            inside = [
                index for index, end in enumerate(ends) if flat == end or flat.startswith(f"{end}_")
            ]
            holds = [index for index, end in enumerate(ends) if end.startswith(f"{flat}_")]
            if holds and not inside:
                continue  # a container of stages: its children are looked at one by one
            reached = max([reached, *inside])
            if reached + 2 > freeze_at:
                break
            stages.append(name)
        return stages

    def recomputable_stages(self, what: str) -> list[nn.Module]:
        """Returns modules of several layers that activation checkpointing may compute again.

        Args:
            what: ``all``, or ``fine`` for those up to stride 4. A plain transformer has blocks of
                one stride only, which are coarse.
        """
        if self._patch:
            return list(getattr(self.body.model, "blocks", [])) if what == "all" else []
        names = self._children_up_to(5 if what == "all" else 2)
        parts = [self.body.get_submodule(name) for name in names]
        return [part for part in parts if len(list(part.children()))]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Extracts the features of normalised images ``x`` (B, 3, H, W), H and W multiples of 32.

        Returns:
            ``res2`` .. ``res5``, each (B, C_i, H / stride, W / stride).
        """
        if self._patch:
            maps = self.pyramid(self.body(resized_for(x, self._patch))[0])
            return dict(zip(self._strides, maps, strict=True))
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


def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """Builds a ``TimmBackbone`` from MODEL.BACKBONE.

    With MODEL.WEIGHTS, which holds the backbone's weights too, no other weights are loaded.
    """
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


# Detic registers a backbone of this name too. In ClipMask's models the name means ours, whichever
# was registered first.
if build_timm_backbone.__name__ not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_timm_backbone)


class _Plan(NamedTuple):
    """Which features of a timm model are used.

    Attributes:
        indices: their places in ``feature_info``.
        patch: the side of the patches in pixels for a plain transformer, whose only feature becomes
            a pyramid; 0 for every other model.
    """

    indices: tuple[int, ...]
    patch: int = 0


def _build(name: str, weights: str, args: dict[str, Any], strict: bool, plan: _Plan) -> Any:
    """Creates the feature extractor with its weights."""
    # A file's weights are of pictures in colour; timm makes them fit other bands.
    whole = _create(name, {**args, "in_chans": 3}, num_classes=0)
    taken = inspect.signature(type(whole).__init__).parameters
    if "strict_img_size" in taken:
        # Swin would otherwise accept images of its training size only.
        args = {"strict_img_size": False, **args}
    if plan.patch and "dynamic_img_size" in taken:
        args = {"dynamic_img_size": True, **args}  # and so would plain transformers
    args = {**args, "features_only": True, "out_indices": plan.indices}
    if weights == "random":
        return _create(name, args)
    if is_address(weights):
        weights = str(local_file(weights, "MODEL.BACKBONE.WEIGHTS"))
    if Path(weights).is_file():
        return _with_file(whole, name, Path(weights), args, strict)
    if Path(weights).suffix in WEIGHT_ENDINGS:
        raise UserError(
            f"MODEL.BACKBONE.WEIGHTS {weights}: no such file", key="MODEL.BACKBONE.WEIGHTS"
        )
    return _with_hub_weights(name, weights, args)


def _with_file(whole: Any, name: str, file: Path, args: dict[str, Any], strict: bool) -> Any:
    """Loads a file into the ``whole`` classifier, and its weights into the feature extractor."""
    import timm

    heads = whole.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    load_weight_file(
        whole,
        file,
        strict,
        aside=tuple(f"{head}." for head in heads),
        made_for="Name the model they were made for in MODEL.BACKBONE.TIMM_NAME and TIMM_ARGS",
    )
    # timm's own loading is used because some weights have other names in the feature extractor.
    overlay = {"state_dict": whole.state_dict(), "source": "", "custom_load": False}
    builder_log = logging.getLogger("timm.models._builder")
    builder_log.disabled = True  # it would list the layers after the last feature as unexpected
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **args)
    finally:
        builder_log.disabled = False


def _with_hub_weights(name: str, tag: str, args: dict[str, Any]) -> Any:
    """Downloads timm's weights of a tag, or its default ones where ``tag`` is ``pretrained``."""
    import timm

    architecture = name.partition(".")[0]
    tagged = name if tag == "pretrained" else f"{architecture}.{tag}"
    known = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag != "pretrained" and tagged not in known:
        tags = ", ".join(model.partition(".")[2] for model in known)
        raise UserError(
            f"MODEL.BACKBONE.WEIGHTS {tag!r} is neither a file nor a timm tag of {name}; "
            f"its tags: {tags or 'none'}",
            key="MODEL.BACKBONE.WEIGHTS",
        )
    try:
        with short_wait():
            body = timm.create_model(tagged, pretrained=True, **args)
        _check_cached(tagged)
        return body
    except UserError:
        raise
    except Exception as error:  # every hub and network library has exceptions of its own
        _check_cached(tagged)
        reason = first_line(error)
        raise UserError(
            f"backbone weights {tagged} could not be had from timm's hub ({type(error).__name__}:"
            f" {reason}). Set MODEL.BACKBONE.WEIGHTS to a local file of them, to another tag that"
            " is in the local cache, or to random to train from scratch on purpose"
        ) from error


def _check_cached(name: str) -> None:
    """Raises a ``UserError`` if the cached weights are not those that the hub announced."""
    from timm.models import get_pretrained_cfg

    repository = getattr(get_pretrained_cfg(name), "hf_hub_id", None)
    if repository:
        check_cached(repository)


def _create(name: str, args: dict[str, Any], **more: Any) -> Any:
    """Calls ``timm.create_model`` without weights; its errors become one ``UserError``."""
    import timm

    if not timm.is_model(name.partition(".")[0]):
        near = timm.list_models(f"*{name.partition('.')[0].split('_')[0]}*")
        hint = "timm.list_models() lists them"
        if near:
            hint = f"it has {listed(near, 8)}"
        raise UserError(f"MODEL.BACKBONE.TIMM_NAME {name!r}: timm has no such model; {hint}")
    try:
        return timm.create_model(name, pretrained=False, **args, **more)
    except (TypeError, RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"timm can't build {name} with MODEL.BACKBONE.TIMM_ARGS {args}: {error}",
            key="MODEL.BACKBONE.TIMM_ARGS",
        ) from error


def _plan(name: str, args: dict[str, Any], strides: list[int]) -> _Plan:
    """Chooses the last feature of each stride, or a plain transformer's last feature."""
    model = _create(name, args, features_only=True)
    reductions = model.feature_info.reduction()
    last = {reduction: index for index, reduction in enumerate(reductions)}
    # timm wraps a plain transformer; the wrapper's ``model`` is of the transformer's own class.
    own_class = type(getattr(model, "model", model))
    any_size = "dynamic_img_size" in inspect.signature(own_class).parameters
    if len(last) == 1 and any_size and reductions[0] in PATCHES:
        return _Plan((-1,), reductions[0])
    missing = [str(stride) for stride in strides if stride not in last]
    if missing:
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME {name}: no feature at stride {', '.join(missing)} (it has"
            f" {', '.join(map(str, reductions))}); choose a hierarchical model such as a ResNet,"
            " Swin or ConvNeXt, or a plain transformer with patches of"
            f" {', '.join(map(str, PATCHES))} pixels",
            key="MODEL.BACKBONE.TIMM_NAME",
        )
    return _Plan(tuple(last[stride] for stride in strides))
