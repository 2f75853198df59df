"""Scale fusion equals the equations as written: resize, concatenate, one linear map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clipmask.modeling.scale_fusion import ScaleFusion


def test_projecting_first_is_the_same_function() -> None:
    fusion = ScaleFusion(6, 5, 3)
    for bias in fusion.bias:
        torch.nn.init.normal_(bias)
    scales = [torch.randn(2, 6, 8, 12), torch.randn(2, 6, 4, 6), torch.randn(2, 6, 2, 3)]
    resized = [
        F.interpolate(scale, size=(8, 12), mode="bilinear", align_corners=False) for scale in scales
    ]
    total = torch.zeros(2, 5, 8, 12)
    for position, (term, bias, norm) in enumerate(
        zip(fusion.terms, fusion.bias, fusion.norms, strict=True)
    ):
        joined = torch.cat([resized[scale] for scale in term], 1)
        weights = []
        for scale in term:
            members = [p for p, other in enumerate(fusion.terms) if scale in other]
            index = members.index(position)
            weights.append(fusion.parts[scale].weight[index * 5 : (index + 1) * 5])
        total += F.gelu(norm(F.conv2d(joined, torch.cat(weights, 1), bias)))
    torch.testing.assert_close(
        fusion(scales, [8, 16, 32]), fusion.norm(total), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("mode", "scales", "terms"),
    [
        ("both", 3, [(0, 1), (0, 2), (1, 2), (0, 1, 2)]),
        ("joint", 3, [(0, 1, 2)]),
        ("pairwise", 3, [(0, 1), (0, 2), (1, 2)]),
        ("both", 2, [(0, 1)]),
        ("both", 1, [(0,)]),
        ("pairwise", 1, [(0,)]),
    ],
)
def test_terms(mode: str, scales: int, terms: list[tuple[int, ...]]) -> None:
    fusion = ScaleFusion(4, 4, scales, mode)
    assert fusion.terms == terms
    maps = [torch.randn(1, 4, 8 // 2**index, 8 // 2**index) for index in range(scales)]
    assert fusion(maps, [8 * 2**index for index in range(scales)]).shape == (1, 4, 8, 8)
    unused = [name for name, parameter in fusion.named_parameters() if parameter.numel() == 0]
    assert not unused


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="use both, joint or pairwise"):
        ScaleFusion(4, 4, 3, "neither")
