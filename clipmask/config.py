"""Configuration: every key ClipMask reads, its default and its meaning.

Keys that Detectron2 has too carry Detectron2's name, type and default, so that one YAML file works
in both; ``add_clipmask_config`` adds only our own. ``configs/base.yaml`` then sets what suits
ClipMask.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from fvcore.common.config import CfgNode

from clipmask.d2 import detectron2_config
from clipmask.errors import UserError
from clipmask.merging import (
    MERGE_ERRORS,
    changed_unread_keys,
    explain,
    leaf_keys,
    merge_content,
    merge_opts,
    put_leaf,
    without_defaults,
)
from clipmask.plain_yaml import load_yaml
from clipmask.ranges import check_ranges
from clipmask.shipped import ConfigReader, base_files, config_file

CN = CfgNode
logger = logging.getLogger(__name__)

# What names a file, or something else by the same key.
_FILE_KEYS = (
    "MODEL.WEIGHTS",
    "MODEL.BACKBONE.WEIGHTS",
    "MODEL.CLIP.PRETRAINED",
    "MODEL.CLIP.EMBEDDINGS",
)
# Keys of MODEL.CLIP in the configs of older checkpoints. T of such a model lies in its weights.
_FORMER_CLIP_KEYS = ("CONTROL", "CONTROL_DRAW")
_Init = TypeVar("_Init", bound=Callable[..., None])
_extensions: list[Callable[[CfgNode], None]] = []  # see extend_config


def get_cfg() -> CfgNode:
    """Returns a fresh config with every key and its default.

    Beside ``own_cfg``'s it has the keys of ``extend_config``, and Detectron2's others where
    Detectron2 is in use.
    """
    own = own_cfg()
    cfg = _extended(own) if _extensions else own
    others = detectron2_config()
    if others is not None:
        _add_missing(cfg, others)
    return cfg


def extend_config(add_keys: Callable[[CfgNode], None]) -> None:
    """Lets every config that is made from now on have further keys, such as those that a backbone
    of yours reads.

    Args:
        add_keys: adds keys to the config that it is given, as the functions ``add_..._config`` of
            Detectron2's projects do. Keys that ClipMask has too keep ClipMask's default.
    """
    _extensions.append(add_keys)


def _extended(own: CfgNode) -> CfgNode:
    """Returns ``own`` with what the extensions add; they may look at Detectron2's keys, where those
    are.
    """
    cfg = own.clone()
    others = detectron2_config()
    if others is not None:
        _add_missing(cfg, others)
    for add_keys in _extensions:
        add_keys(cfg)
    _add_missing(own, cfg)
    return own


def _add_missing(cfg: CfgNode, others: CfgNode) -> None:
    """Adds the keys that only ``others`` has; its nodes may be of Detectron2's class."""
    present = leaf_keys(cfg)
    for key, value in leaf_keys(others).items():
        if key not in present:
            put_leaf(
                cfg, key, CN(dict(value), new_allowed=True) if isinstance(value, CfgNode) else value
            )


def dump_cfg(cfg: CfgNode) -> str:
    """Returns a config as YAML.

    Of keys that ClipMask itself does not have, only those that are not at their default are in it:
    an installed Detectron2 changes no text of a config that works without it.
    """
    own = own_cfg()
    others = leaf_keys(get_cfg())
    for key in leaf_keys(own):
        others.pop(key, None)
    return str(without_defaults(cfg, others).dump())


def own_cfg() -> CfgNode:
    """Returns a fresh config with the keys that ClipMask reads: those shared with Detectron2, then
    our own.
    """
    cfg = CN()
    cfg.VERSION = 2  # of the names and meanings of the keys that Detectron2 has too

    cfg.MODEL = CN()
    # a name in META_ARCH_REGISTRY; base.yaml says ClipMask
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.DEVICE = "cuda"  # cuda, cuda:1, mps or cpu; cuda falls back to cpu with one warning
    # checkpoint to start from or to evaluate, or its https:// or detectron2://; empty: none
    cfg.MODEL.WEIGHTS = ""
    # per channel, in the order of INPUT.FORMAT, 0..255
    cfg.MODEL.PIXEL_MEAN = [103.530, 116.280, 123.675]
    cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]  # per channel, in the order of INPUT.FORMAT
    cfg.MODEL.BACKBONE = CN()
    # a name in BACKBONE_REGISTRY; base.yaml says build_timm_backbone
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    # 0: nothing frozen, 1: the stem, n >= 2: everything up to res{n}
    cfg.MODEL.BACKBONE.FREEZE_AT = 2

    cfg.INPUT = CN()
    cfg.INPUT.FORMAT = "BGR"  # channel order given to the model: RGB or BGR
    cfg.INPUT.MIN_SIZE_TEST = 800  # shorter side at test time, pixels; 0: the image's own size
    cfg.INPUT.MAX_SIZE_TEST = 1333  # longest side allowed when MIN_SIZE_TEST resizes
    # shorter side in training, pixels, drawn from these; (0,): SCALE_RANGE instead
    cfg.INPUT.MIN_SIZE_TRAIN = (800,)
    # choice (one of MIN_SIZE_TRAIN) or range (between two)
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"
    # longest side allowed when MIN_SIZE_TRAIN resizes, before a crop
    cfg.INPUT.MAX_SIZE_TRAIN = 1333
    cfg.INPUT.RANDOM_FLIP = "horizontal"  # horizontal, vertical (half of all samples each) or none
    cfg.INPUT.CROP = CN()
    cfg.INPUT.CROP.ENABLED = False  # crop training images
    # absolute (pixels), relative (share) or *_range (pixels, share to 1)
    cfg.INPUT.CROP.TYPE = "relative_range"
    # (height, width), as CROP.TYPE reads it; absolute_range: (least, most) of each
    cfg.INPUT.CROP.SIZE = [0.9, 0.9]

    cfg.DATASETS = CN()
    # names in DatasetCatalog; several train one model, each with its own classes
    cfg.DATASETS.TRAIN = ()
    cfg.DATASETS.TEST = ()  # each is evaluated by itself
    cfg.DATALOADER = CN()
    # loader processes per device; no more are started than this process may use cores
    cfg.DATALOADER.NUM_WORKERS = 4

    cfg.SOLVER = CN()
    cfg.SOLVER.MAX_ITER = 40000  # optimiser steps
    cfg.SOLVER.IMS_PER_BATCH = 16  # effective batch over all devices and accumulation steps
    cfg.SOLVER.BASE_LR = 0.001  # peak learning rate of everything but the backbone
    cfg.SOLVER.MOMENTUM = 0.9  # of OPTIMIZER SGD
    cfg.SOLVER.NESTEROV = False  # of OPTIMIZER SGD: Nesterov's momentum
    cfg.SOLVER.WEIGHT_DECAY = 0.0001  # not on norms, biases and embeddings
    # or WarmupCosineLR, WarmupStepWithFixedGammaLR, WarmupPolyLR
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
    # WarmupMultiStepLR: after these steps the learning rate is multiplied by GAMMA
    cfg.SOLVER.STEPS = (30000,)
    cfg.SOLVER.GAMMA = 0.1  # WarmupMultiStepLR and WarmupStepWithFixedGammaLR
    # WarmupStepWithFixedGammaLR: how often GAMMA multiplies, at equal distances
    cfg.SOLVER.NUM_DECAYS = 3
    cfg.SOLVER.BASE_LR_END = 0.0  # WarmupCosineLR: the learning rate at the end
    cfg.SOLVER.WARMUP_METHOD = "linear"  # linear or constant (at WARMUP_FACTOR)
    # the schedule begins after the warm-up and not with it; not WarmupPolyLR's
    cfg.SOLVER.RESCALE_INTERVAL = False
    cfg.SOLVER.WARMUP_ITERS = 1000  # steps of warm-up
    cfg.SOLVER.WARMUP_FACTOR = 1.0 / 1000  # share of the learning rate that the warm-up starts from
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000  # steps between checkpoints
    cfg.SOLVER.CLIP_GRADIENTS = CN()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False  # clip gradients
    # value (each number), norm (each parameter's), full_model (of all)
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "value"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.0  # the largest number, or norm
    cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE = 2.0  # which p-norm
    cfg.SOLVER.AMP = CN()
    cfg.SOLVER.AMP.ENABLED = False  # mixed precision in training

    cfg.TEST = CN()
    # [[task, metric, value, tolerance], ...] that the last evaluation must come to
    cfg.TEST.EXPECTED_RESULTS = []
    cfg.TEST.EVAL_PERIOD = 0  # steps between evaluations; 0: only at the end
    cfg.TEST.AUG = CN()
    # average scores over views, wherever pictures are segmented, EVAL_PERIOD too: slow
    cfg.TEST.AUG.ENABLED = False
    cfg.TEST.AUG.FLIP = True  # with the mirror image
    # where config.yaml, log.txt, metrics.json, checkpoints and inference/ go
    cfg.OUTPUT_DIR = "./output"
    # of weights, data order and augmentation; negative: drawn, logged and kept in the checkpoint
    cfg.SEED = -1
    cfg.CUDNN_BENCHMARK = False  # let cuDNN try its algorithms
    # steps between pictures of a training sample, as augmented, in TensorBoard; 0: none
    cfg.VIS_PERIOD = 0

    add_clipmask_config(cfg)
    return cfg


def add_clipmask_config(cfg: CfgNode) -> None:
    """Adds the keys that only ClipMask has to ``cfg``, Detectron2's or our own ``get_cfg()``.

    Args:
        cfg: a config with Detectron2's sections; changed in place.
    """
    # Detectron2's nodes are a class of their own, and a config merges nodes of one class only
    node_type = type(cfg)
    # build_timm_backbone: any timm model with strides 4, 8, 16, 32
    cfg.MODEL.BACKBONE.TIMM_NAME = "resnet50"
    # its: further arguments of timm.create_model
    cfg.MODEL.BACKBONE.TIMM_ARGS = node_type(new_allowed=True)
    # a file, its address, or random; timm's also: pretrained, a tag
    cfg.MODEL.BACKBONE.WEIGHTS = "pretrained"
    # False: keys may be missing or left over, each is logged
    cfg.MODEL.BACKBONE.WEIGHTS_STRICT = True
    # BN, FrozenBN (fixed statistics and affine), SyncBN (over processes); empty: as built
    cfg.MODEL.BACKBONE.NORM = ""
    # torch.compile makes code of the network at its first use, which takes minutes; --compile
    cfg.MODEL.COMPILE = False

    cfg.MODEL.CLIP = node_type()
    cfg.MODEL.CLIP.NAME = "ViT-B-16"  # an open_clip model, or hf-hub:owner/name
    # an open_clip tag, or a local file (of OpenAI's: NAME ViT-B-16-quickgelu)
    cfg.MODEL.CLIP.PRETRAINED = "openai"
    # an .npz with names and embeddings instead of CLIP; random: unit vectors by name
    cfg.MODEL.CLIP.EMBEDDINGS = ""
    # [single], [street], [imagenet], or templates with {} for the name
    cfg.MODEL.CLIP.PROMPTS = ["imagenet"]
    # what is injected: vocabulary (T), or annotation (each image's own "text")
    cfg.MODEL.CLIP.TEXT = "vocabulary"
    # annotation: share of training images whose text is left out, as it may be later
    cfg.MODEL.CLIP.TEXT_DROP = 0.5
    # frozen; experimental: context (learned vectors before the name) or full (the tower trains)
    cfg.MODEL.CLIP.TOWER = "frozen"
    cfg.MODEL.CLIP.CONTEXT_LENGTH = 16  # experimental; vectors of TOWER context
    # experimental; with TOWER context each class learns its own (then the vocabulary is fixed)
    cfg.MODEL.CLIP.CONTEXT_PER_CLASS = False

    node = node_type()
    cfg.MODEL.CLIPMASK = node
    node.SIZE_DIVISIBILITY = 32  # images are padded to a multiple of it
    node.HIDDEN_DIM = 256  # C, the width of every scale and query
    # E, the width of the fused map and of all at stride 4; never more than HIDDEN_DIM
    node.MASK_DIM = 128
    # heads of every attention at HIDDEN_DIM; at MASK_DIM fewer, of the same width
    node.NUM_HEADS = 8
    node.FFN_DIM = 1024  # hidden width of the decoder's feed-forward blocks
    node.DROPOUT = 0.0  # in the mask decoder
    node.SCALES = ["res3", "res4", "res5"]  # r1, r2, r3; fewer for the ablation of the hierarchy
    # the backbone's names of res2 and SCALES; empty: its features at strides 4, 8, 16 and 32
    node.IN_FEATURES = []
    # tokens (Eq. 1-9), none (the ablation without CLIP); experimental: channels (annotation only)
    node.INJECTION = "tokens"
    # image keys of an injection after pooling; 0: every pixel, as the paper writes
    node.MAX_IMAGE_KEYS = 64
    node.FUSION = "both"  # both, joint (Eq. 13 only) or pairwise (Eq. 10-12 only)
    node.CLASSIFIER = "cosine"  # cosine with T, or linear (then the vocabulary is fixed)
    node.NUM_QUERIES = 100  # Q
    node.TEXT_QUERIES = True  # the first K queries start from FC(T), the others are learned alone
    # decoder layers; predictions come from each and from the queries before the first
    node.DEC_LAYERS = 6
    node.NO_OBJECT_WEIGHT = 0.1  # weight of the no-object class in the class loss
    node.CLASS_WEIGHT = 2.0  # of the class cross-entropy, in the loss and in the matching
    # of the mask binary cross-entropy (Eq. 14), in the loss and in the matching
    node.BCE_WEIGHT = 5.0
    node.DICE_WEIGHT = 0.0  # of the dice loss, likewise; 0: off, as in the paper
    # pixels per cell where masks meet labels: 4 as predicted; 2 or 1, enlarged, for thin things
    node.LOSS_STRIDE = 4

    # how often each of TRAIN is shown, relative; (): every sample equally often
    cfg.DATASETS.TRAIN_WEIGHTS = ()

    # with MIN_SIZE_TRAIN (0,): images are resized by it, log-uniform
    cfg.INPUT.SCALE_RANGE = [0.5, 2.0]
    # SCALE_RANGE counts from the size of MIN_SIZE_TEST, not the image's own
    cfg.INPUT.SCALE_FROM_TEST_SIZE = False
    # a crop is drawn again (10 times) if one class has more than this
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # share of the crops that are put around a class drawn evenly from the picture's; 0: off
    cfg.INPUT.CROP.CLASS_BALANCE = 0.0
    cfg.INPUT.COLOR_AUG = True  # photometric distortion of training images
    # probability of each of: other exposure, white balance, haze, blur, noise; 0: off
    cfg.INPUT.LIGHTING_AUG = 0.0
    # share of the samples into which small classes of another sample are pasted; 0: off
    cfg.INPUT.CLASS_MIX = 0.0

    # most pixels of a picture (3 bytes each in memory); larger ones are refused; 0: none is
    cfg.INPUT.MAX_PIXELS = 1000000000

    cfg.SOLVER.OPTIMIZER = "ADAMW"  # ADAMW or SGD
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1  # learning rate of the backbone relative to BASE_LR
    # experimental; learning rate of CLIP's text tower relative to BASE_LR, with CLIP.TOWER full
    cfg.SOLVER.TEXT_MULTIPLIER = 0.01
    # WarmupPolyLR: the learning rate falls as (1 - progress) ** power
    cfg.SOLVER.POLY_LR_POWER = 0.9
    # images in one forward; more are accumulated, exactly; 0: no limit
    cfg.SOLVER.MAX_IMS_PER_DEVICE = 0
    # bf16 or fp16 (with loss scaling); fp16 on a CPU becomes bf16 with one warning
    cfg.SOLVER.AMP.DTYPE = "bf16"
    # activations that the backward pass computes again, to save memory: none, fine (those at
    # stride 4), head (all but the backbone's), or all
    cfg.SOLVER.ACTIVATION_CHECKPOINT = "none"
    # of several processes: ddp (each holds all weights) or fsdp (each a share of the weights)
    cfg.SOLVER.STRATEGY = "ddp"
    cfg.SOLVER.EMA_DECAY = 0.0  # decay of the averaged weights that are evaluated and saved; 0: off
    cfg.SOLVER.LOG_PERIOD = 20  # steps between lines in metrics.json and TensorBoard

    # factors on the size that the model would see without TEST.AUG
    cfg.TEST.AUG.SCALES = [0.75, 1.0, 1.25, 1.5]
    cfg.TEST.SLIDING_WINDOW = node_type()
    # segment in windows, each by itself, blended where they overlap
    cfg.TEST.SLIDING_WINDOW.ENABLED = False
    # (height, width), pixels of the image as the model sees it
    cfg.TEST.SLIDING_WINDOW.SIZE = [512, 1024]
    cfg.TEST.SLIDING_WINDOW.OVERLAP = 0.25  # share of a window that lies in the next, at least
    # picture files of more pixels are read window by window; 0: all are
    cfg.TEST.SLIDING_WINDOW.FROM_FILE_ABOVE = 100000000
    # validation images drawn (input, truth, prediction) at each evaluation
    cfg.TEST.NUM_PICTURES = 4
    # wandb and mlflow, installed by you: where metrics go beside metrics.json and TensorBoard
    cfg.TRACKERS = ()


def load_cfg(config: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """Reads a config file over the defaults, then ``KEY VALUE`` pairs over the file.

    Args:
        config: YAML file, or the name of one that comes with the package (``clipmask.shipped``);
            its ``_BASE_`` (relative to itself, or such a name) is read first. A weight file that it
            names is looked for from the working folder, as in Detectron2, then from the file's own
            folder.
        opts: keys and values in turn, as on the command line.

    Returns:
        The merged config, not frozen.

    Raises:
        UserError: the file or its base is missing or is not YAML; a key does not exist (the nearest
            is named); a value has another type than the default, or lies outside of its key's
            range; a key without a value.
    """
    cfg = get_cfg()
    path = config_file(config)
    try:
        if not isinstance(load_yaml(path.read_text()), dict):
            raise UserError(f"config file {path}: not a mapping of keys to values")
        merge_content(cfg, _as_written_before(ConfigReader.load_yaml_with_base(str(path))))
    except FileNotFoundError as error:
        raise UserError(
            f"config file {error.filename}: no such file (asked for by {path})"
        ) from error
    except yaml.YAMLError as error:
        raise UserError(
            f"config file {path}: not plain YAML: {' '.join(str(error).split())}"
        ) from error
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(
            f"config file {path}: its _BASE_ files name each other in a circle"
        ) from error
    except MERGE_ERRORS as error:
        raise UserError(f"config file {path}: {explain(error, cfg)}") from error
    _find_files(cfg, path)
    merge_opts(cfg, opts)
    _expand_home(cfg)
    if unread := changed_unread_keys(cfg):
        logger.warning(
            "keys of Detectron2 that ClipMask does not read change nothing: %s", ", ".join(unread)
        )
    check_ranges(leaf_keys(cfg))
    return cfg


def _as_written_before(content: dict[str, Any]) -> dict[str, Any]:
    """Completes the whole config that an earlier version wrote by keys that came later, as they are
    meant there.
    """
    model, solver = content.get("MODEL"), content.get("SOLVER")
    if not (isinstance(model, dict) and isinstance(solver, dict)):
        return content
    if not isinstance(model.get("CLIPMASK"), dict):
        return content
    if "HIDDEN_DIM" in model["CLIPMASK"] and "CUDNN_BENCHMARK" in content:
        model["CLIPMASK"].setdefault("MASK_DIM", model["CLIPMASK"]["HIDDEN_DIM"])
    if isinstance(model.get("CLIP"), dict):
        for key in _FORMER_CLIP_KEYS:
            model["CLIP"].pop(key, None)
    whole = {"POLY_LR_POWER", "LOG_PERIOD", "CLIP_GRADIENTS"} <= solver.keys()
    if whole and "LR_SCHEDULER_NAME" not in solver:
        solver["LR_SCHEDULER_NAME"] = "WarmupPolyLR"
        solver["CLIP_GRADIENTS"].setdefault("CLIP_TYPE", "full_model")
        content.setdefault("INPUT", {}).setdefault("MIN_SIZE_TRAIN", (0,))
        backbone = model.get("BACKBONE", {})
        if backbone.get("NORM") == "BN":
            # the default, which counted for timm's backbones alone: theirs are BN as built
            backbone["NORM"] = ""
    return content


def _find_files(cfg: CfgNode, path: Path) -> None:
    """Lets the values of ``_FILE_KEYS`` that are no files from here name those beside ``path`` or
    one of its bases.
    """
    folders, files = [], [path]
    for file in files:  # grows with the bases
        folders.append(file.parent)
        files += base_files(file, load_yaml(file.read_text()))
    values = leaf_keys(cfg)
    for key in _FILE_KEYS:
        found = [
            folder / values[key]
            for folder in folders
            if values[key] and (folder / values[key]).is_file()
        ]
        if found and not Path(values[key]).is_file():
            file, here = found[0].resolve(), Path.cwd()
            cfg.merge_from_list(
                [key, str(file.relative_to(here) if file.is_relative_to(here) else file)]
            )


def _expand_home(cfg: CfgNode) -> None:
    """Puts the user's folder in place of ``~`` in values of ``_FILE_KEYS``: a YAML file meets no
    shell that does.
    """
    values = leaf_keys(cfg)
    for key in _FILE_KEYS:
        if str(values[key]).startswith("~"):
            put_leaf(cfg, key, os.path.expanduser(values[key]))


def stored_cfg(text: str, path: str | os.PathLike[str], opts: Sequence[str] = ()) -> CfgNode:
    """Returns the config that a checkpoint holds.

    Args:
        text: YAML, with every key of the version that wrote it.
        path: of the checkpoint, for messages.
        opts: keys and values in turn, over the text's.

    Raises:
        UserError: the text is no config of this version, or an override is wrong.
    """
    cfg = get_cfg()
    try:
        merge_content(cfg, _as_written_before(dict(CfgNode(load_yaml(text)))))
    except (yaml.YAMLError, *MERGE_ERRORS) as error:
        raise UserError(
            f"checkpoint {path}: its config can't be read ({error}); give one with --config-file"
        ) from error
    cfg.MODEL.COMPILE = False  # how a model was trained need not be how it predicts
    merge_opts(cfg, opts)
    return cfg


def configurable(init: _Init) -> _Init:
    """Lets ``__init__`` take a config, as Detectron2's decorator of that name does.

    ``Class(cfg, **overrides)`` calls ``Class.from_config(cfg)``, which returns a dict of
    constructor arguments; overrides that ``from_config`` takes are given to it, the others replace
    its results. Without a config the constructor is called as written, so a test builds the class
    from plain values.

    Args:
        init: the ``__init__`` of a class that has a classmethod ``from_config``.
    """

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if "cfg" in kwargs:
            args = (kwargs.pop("cfg"), *args)
        if not (args and isinstance(args[0], CfgNode)):
            init(self, *args, **kwargs)
            return
        accepted = inspect.signature(type(self).from_config).parameters
        taken = {name: kwargs.pop(name) for name in list(kwargs) if name in accepted}
        init(self, **{**type(self).from_config(*args, **taken), **kwargs})

    return wrapped  # type: ignore[return-value]
