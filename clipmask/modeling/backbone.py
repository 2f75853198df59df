"""The backbone that a config names: a timm model, or any other of ``BACKBONE_REGISTRY``.

``TimmBackbone`` makes any timm model with features at strides 4, 8, 16 and 32 a Detectron2
``Backbone``, and any plain vision transformer, whose one map becomes a ``SimplePyramid``. Its maps
are named as Detectron2 names ResNet's: ``res2`` (stride 4) to ``res5`` (stride 32).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.d2 import BACKBONE_REGISTRY, Backbone, ShapeSpec
from clipmask.errors import UserError
from clipmask.modeling.features import STRIDES, choose_features, set_norms
from clipmask.modeling.simple_pyramid import SimplePyramid, resized_for
from clipmask.weights.addresses import is_address, local_file
from clipmask.weights.foreign import WEIGHT_ENDINGS, load_weight_file
from clipmask.weights.hub import check_cached

# Classifiers of ImageNet in the files of Detectron2's and MaskFormer's model zoos, whose backbones
# have none; ``norm.`` stands before Swin's.
CLASSIFIERS = ("stem.fc.", "fc.", "fc1000.", "linear.", "head.", "norm.", "pred.", "classifier.")
# The norms of the outputs of Swin's stages, which its classifiers have not: they begin as they are
# drawn.
OF_OUTPUTS = ("norm0.", "norm1.", "norm2.", "norm3.")
PATCHES = (8, 14, 16, 32)  # sides of the patches of plain transformers, pixels
PYRAMID_WIDTH = 256  # channels of each map of a plain transformer's pyramid, as in ViTDet


class TimmBackbone(Backbone):
    """A timm model as feature extractor.

    Args:
        name: timm's model name, e.g. ``resnet50`` or ``swin_tiny_patch4_window7_224``.
        weights: ``pretrained`` (timm's default weights for the name), one of timm's tags for it,
            the path of a local file or an address (see weights/foreign.py, weights/addresses.py;
            the whole classifier or its trunk), or ``random``.
        timm_args: further arguments of ``timm.create_model``.
        freeze_at: 0 freezes nothing, 1 the stem, n >= 2 everything up to the feature ``res{n}``.
        norm: ``BN``, ``FrozenBN`` or ``SyncBN``; what becomes of the model's batch normalisations.
            Empty: nothing.
        strict: whether a local file must hold every weight and nothing else; otherwise each
            difference is logged.
        last: the deepest feature wanted; stages after it are not built.
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
                f"MODEL.BACKBONE.FREEZE_AT {freeze_at}: use 0 (nothing) to 5 (everything)"
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
            self.body.requires_grad_(False)  # it has no stages
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
    """Builds the backbone that the config names; weights that come with ``MODEL.WEIGHTS`` are not
    fetched first.
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


# Detic has a backbone of this name too. In ClipMask's models the name means ours, whoever was
# registered first.
if build_timm_backbone.__name__ not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_timm_backbone)


class _Plan(NamedTuple):
    """Which features of a timm model serve.

    Attributes:
        indices: of them in ``feature_info``.
        patch: 0; of a plain transformer, whose only feature becomes a pyramid, the side of its
            patches in pixels.
    """

    indices: tuple[int, ...]
    patch: int = 0


def _build(name: str, weights: str, args: dict[str, Any], strict: bool, plan: _Plan) -> Any:
    """Creates the feature extractor with its weights."""
    import timm

    whole = _create(name, args, num_classes=0)
    taken = inspect.signature(type(whole).__init__).parameters
    if "strict_img_size" in taken:
        # Swin otherwise takes images of its training size alone
        args = {"strict_img_size": False, **args}
    if plan.patch and "dynamic_img_size" in taken:
        args = {"dynamic_img_size": True, **args}  # likewise plain transformers
    args = {**args, "features_only": True, "out_indices": plan.indices}
    if weights == "random":
        return _create(name, args)
    if is_address(weights):
        weights = str(local_file(weights, "MODEL.BACKBONE.WEIGHTS"))
    if Path(weights).is_file():
        heads = whole.pretrained_cfg.get("classifier") or ()
        load_weight_file(
            whole,
            Path(weights),
            strict,
            aside=tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads)),
            made_for="Name the model they were made for in MODEL.BACKBONE.TIMM_NAME and TIMM_ARGS",
        )
        # Through timm's own loading, because it renames what the feature extractor holds under
        # other names.
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
    if weights != "pretrained" and tagged not in timm.list_models(
        f"{name.partition('.')[0]}.*", pretrained=True
    ):
        known = [
            model.partition(".")[2]
            for model in timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        ]
        raise UserError(
            f"MODEL.BACKBONE.WEIGHTS {weights!r} is neither a file nor a timm tag of {name}; "
            f"its tags: {', '.join(known) or 'none'}"
        )
    try:
        body = timm.create_model(tagged, pretrained=True, **args)
        _check_cached(tagged)
        return body
    except UserError:
        raise
    except Exception as error:  # every hub and network library has exceptions of its own
        _check_cached(tagged)
        raise UserError(
            f"backbone weights {tagged} could not be had from timm's hub ({type(error).__name__}:"
            f" {str(error).splitlines()[0] if str(error) else 'no message'}). Set"
            " MODEL.BACKBONE.WEIGHTS to a local file of them, to another tag that is in the local"
            " cache, or to random to train from scratch on purpose"
        ) from error


def _check_cached(name: str) -> None:
    """Raises a ``UserError`` where the hub's cache holds other weights of that timm name than the
    hub announced.
    """
    from timm.models import get_pretrained_cfg

    repository = getattr(get_pretrained_cfg(name), "hf_hub_id", None)
    if repository:
        check_cached(repository)


def _create(name: str, args: dict[str, Any], **more: Any) -> Any:
    """``timm.create_model`` without weights; its complaints about name and arguments as one
    message.
    """
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
        raise UserError(
            f"timm can't build {name} with MODEL.BACKBONE.TIMM_ARGS {args}: {error}"
        ) from error


def _plan(name: str, args: dict[str, Any], strides: list[int]) -> _Plan:
    """Chooses the last feature of each stride; of a plain transformer its last, for a pyramid."""
    model = _create(name, args, features_only=True)
    reductions = model.feature_info.reduction()
    last = {reduction: index for index, reduction in enumerate(reductions)}
    # A transformer's own class is inside.
    any_size = (
        "dynamic_img_size" in inspect.signature(type(getattr(model, "model", model))).parameters
    )
    if len(last) == 1 and any_size and reductions[0] in PATCHES:
        return _Plan((-1,), reductions[0])
    missing = [str(stride) for stride in strides if stride not in last]
    if missing:
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME {name}: no feature at stride {', '.join(missing)} (it has"
            f" {', '.join(map(str, reductions))}); choose a hierarchical model such as a ResNet,"
            " Swin or ConvNeXt, or a plain transformer with patches of"
            f" {', '.join(map(str, PATCHES))} pixels"
        )
    return _Plan(tuple(last[stride] for stride in strides))


def build_backbone(cfg: CfgNode) -> Any:
    """Builds the backbone of ``BACKBONE_REGISTRY`` that the config names, with its weights.

    Args:
        cfg: ``MODEL.BACKBONE.NAME`` is registered. For another than ``build_timm_backbone``, which
            has weights by name, ``MODEL.BACKBONE.WEIGHTS`` is a file, an address or ``random``;
            like there, they are not read where they come with ``MODEL.WEIGHTS``.

    Returns:
        A ``Backbone``, Detectron2's or our own, with the features that ``named_features`` tells.

    Raises:
        UserError: the weights are neither, or don't fit; the builder reads a key that the config
            lacks, or refuses a value; a feature is missing, or its stride is none that ClipMask
            takes.
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
        # a config's complaint is the bare key; any other is a fault in the builder
        if not str(error).isidentifier():
            raise
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} reads a key {error} that this config does not have."
            " Detectron2's backbones need Detectron2's config: cfg = detectron2.config.get_cfg(),"
            " then clipmask.add_clipmask_config(cfg). A backbone of your own: add its keys to the"
            " config before anything is merged into it"
        ) from error
    # how Detectron2's builders refuse a value
    except (AssertionError, KeyError, ValueError, ImportError) as error:
        raise UserError(
            f"MODEL.BACKBONE.NAME {name} refuses this config ({type(error).__name__}: {error})."
            " ClipMask takes a backbone with features at strides"
            f" {', '.join(map(str, STRIDES.values()))} (Detectron2's ResNet:"
            f" MODEL.RESNETS.OUT_FEATURES {list(STRIDES)}), and no operators that Detectron2 must"
            " have compiled, where it has not"
        ) from error
    named_features(cfg, backbone)
    weights = _file_of_weights(cfg)
    if weights is not None:
        own = backbone.state_dict()
        unbuilt = tuple(
            f"{stage}." for stage in STRIDES if not any(key.startswith(f"{stage}.") for key in own)
        )
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
    """Returns a config in which Detectron2's ResNets, with and without an FPN, give all stages that
    are used.

    Their defaults, res4 alone and nothing, are those of detectors, and serve no ClipMask.
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
    """Returns what the backbone calls res2 and each of MODEL.CLIPMASK.SCALES, see
    ``choose_features``.
    """
    node = cfg.MODEL.CLIPMASK
    return choose_features(
        cfg.MODEL.BACKBONE.NAME, backbone.output_shape(), ["res2", *node.SCALES], node.IN_FEATURES
    )


def _file_of_weights(cfg: CfgNode) -> Path | None:
    """The file that a backbone other than timm's takes its weights from; None where they are drawn
    or come later.
    """
    name, weights = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.WEIGHTS
    if cfg.MODEL.WEIGHTS or weights == "random":
        return None
    if is_address(weights):
        return local_file(weights, "MODEL.BACKBONE.WEIGHTS")
    if Path(weights).is_file():
        return Path(weights)
    if Path(weights).suffix in WEIGHT_ENDINGS:
        raise UserError(f"MODEL.BACKBONE.WEIGHTS {weights}: no such file")
    raise UserError(
        f"MODEL.BACKBONE.WEIGHTS {weights!r}: {name} has no weights of its own here, only timm's"
        " backbones (MODEL.BACKBONE.NAME build_timm_backbone) have. Set it to a file (.pth,"
        " .safetensors, or .pkl of Detectron2's model zoo), to its address (https://,"
        " detectron2://), or to random to train from scratch on purpose"
    )
