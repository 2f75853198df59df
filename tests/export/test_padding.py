"""Convolutions with TensorFlow's padding: fixed for the sizes that exported networks see."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from clipmask.export.network import FixedPadding, fix_padding
from clipmask.inference.folding import fold_batch_norms


@pytest.mark.parametrize("size", [(32, 64), (96, 32), (160, 224)])
def test_fixed_padding_is_the_padding_of_each_size(size: tuple[int, int]) -> None:
    network = nn.Sequential(
        Conv2dSame(3, 4, 3, stride=2),
        nn.Sequential(Conv2dSame(4, 4, 5, stride=2, groups=4), nn.ReLU()),
        Conv2dSame(4, 2, (3, 5), stride=1, dilation=2, bias=False),
        Conv2dSame(2, 2, 2, stride=4),
    )
    image = torch.randn(2, 3, *size)
    before = network(image)
    fix_padding(network)
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(FixedPadding) == 4
    torch.testing.assert_close(network(image), before)


def test_their_batch_normalisations_are_folded() -> None:
    network = nn.Sequential(Conv2dSame(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)).eval()
    network[1].running_mean.uniform_(-1, 1)
    network[1].running_var.uniform_(0.5, 2)
    image = torch.randn(1, 3, 32, 32)
    folded = fold_batch_norms(network, image)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(image), network(image))
