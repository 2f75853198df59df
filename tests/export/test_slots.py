"""Image keys in slots give the injection's own result, at every size."""

from __future__ import annotations

import pytest
import torch

from clipmask.export.slots import use_slots
from clipmask.modeling.injection import ChannelInjection, Injection, TokenInjection
from clipmask.modeling.layers import Positions

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", [TokenInjection, ChannelInjection])
@pytest.mark.parametrize("grid", [(4, 6), (7, 7), (8, 7), (45, 60), (1, 500), (33, 17)])
@pytest.mark.parametrize("bound", [50, 0])
def test_a_graph_for_every_size_gives_the_same_result(
    kind: type[Injection], grid: tuple[int, int], bound: int
) -> None:
    module = kind(16, 12, 2, max_image_keys=bound)
    r, T = torch.randn(2, 16, *grid), torch.randn(3, 12)
    positions = Positions([(8 * grid[0] - 3, 8 * grid[1] - 5)], CPU)
    expected = module(r, T, positions, 8)
    use_slots(module)
    assert ("image_keys" in vars(module)) == bool(bound)
    torch.testing.assert_close(module(r, T, positions, 8), expected, rtol=1e-4, atol=1e-5)
