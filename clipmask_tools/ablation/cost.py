"""The cost of a model: its parameters, and the floating-point operations for one test image."""

from __future__ import annotations

from typing import NamedTuple

from fvcore.common.config import CfgNode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clipmask import build_model
from clipmask.data import TestMapper
from clipmask.data.catalog import load_dataset


class Cost(NamedTuple):
    """The cost of a model.

    Attributes:
        parameters: the number of all parameters.
        trainable: the number of trainable parameters, without those of a frozen stem.
        flops: the operations for one image; a multiplication with an addition counts as two.
        size: the (height, width) of this image at the input of the model.
    """

    parameters: int
    trainable: int
    flops: int
    size: tuple[int, int]


def measure_cost(cfg: CfgNode) -> Cost:
    """Counts the cost of a run's model on the first image of its first test dataset.

    The model is built with random weights.

    Raises:
        UserError: the dataset is missing, or the model can't be built.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.WEIGHTS, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "random", "", "cpu"
    cfg.MODEL.CLIP.EMBEDDINGS = "random"
    record = dict(load_dataset(cfg.DATASETS.TEST[0], labelled=True).records[0])
    sample = TestMapper.from_config(cfg)({**record, "text": None})
    model = build_model(cfg).eval()
    trainable = sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )
    # the counter fails on weights that require gradients in a pass without gradients
    model.requires_grad_(False)
    # the plain kernel, because not every release of torch can count the fused ones of CPUs
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model([sample])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, trainable, counter.get_total_flops(), tuple(sample["image"].shape[1:]))
