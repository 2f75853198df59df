"""What a model costs: its parameters, and the floating-point operations of one test image."""

from __future__ import annotations

from typing import NamedTuple

from fvcore.common.config import CfgNode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clipmask import build_model
from clipmask.data import TestMapper
from clipmask.data.catalog import load_dataset


class Cost(NamedTuple):
    """Of a model.

    Attributes:
        parameters: all.
        trainable: of them; a frozen stem has the rest.
        flops: of one image, multiplications and additions counted as two.
        size: (height, width) of that image, as the model sees it.
    """

    parameters: int
    trainable: int
    flops: int
    size: tuple[int, int]


def measure_cost(cfg: CfgNode) -> Cost:
    """Builds a run's model with random weights and counts, on the first image of its first test
    dataset.

    Raises:
        UserError: the dataset is not there, or the config can't be built.
    """
    own = cfg.clone()
    own.defrost()
    own.MODEL.BACKBONE.WEIGHTS, own.MODEL.WEIGHTS, own.MODEL.DEVICE = "random", "", "cpu"
    own.MODEL.CLIP.EMBEDDINGS = "random"
    record = dict(load_dataset(cfg.DATASETS.TEST[0], labelled=True).records[0])
    sample = TestMapper.from_config(own)({**record, "text": None})
    model = build_model(own).eval()
    trainable = sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )
    # the counter stumbles over weights that want gradients where none are made
    model.requires_grad_(False)
    # The plain kernel: not every release of torch knows what the fused ones of CPUs cost.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model([sample])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, trainable, counter.get_total_flops(), tuple(sample["image"].shape[1:]))
