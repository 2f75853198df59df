"""Folding changes no result, in whichever network, and leaves alone what it does not understand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipmask.backbones.timm_backbone import TimmBackbone
from clipmask.inference.folding import fold_batch_norms, prepare_for_inference, use_onednn
from clipmask.modeling import ClipMask

Inputs = list[dict[str, Any]]


def trained(network: nn.Module) -> nn.Module:
    """As after some training: statistics and affine values of their own."""
    for module in network.modules():
        if isinstance(getattr(module, "running_var", None), Tensor):
            for value, low, high in ((module.running_var, 0.5, 2), (module.weight, 0.5, 1.5)):
                value.data.uniform_(low, high)
            module.running_mean.data.normal_()
            module.bias.data.normal_()
    return network.eval()


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@pytest.mark.parametrize(
    ("name", "folds"), [("resnet10t", True), ("mobilenetv2_050", True), ("convnext_atto", False)]
)
def test_results_stay_and_no_normalisation_does(name: str, norm: str, folds: bool) -> None:
    network = trained(TimmBackbone(name, "random", norm=norm))
    folded = fold_batch_norms(network, torch.randn(1, 3, 64, 64))
    assert (folded is not network) == folds
    assert not any("BatchNorm" in type(module).__name__ for module in folded.modules())
    with torch.no_grad():
        image = torch.randn(2, 3, 96, 64)
        for name_, value in network(image).items():
            torch.testing.assert_close(
                folded(image)[name_], value, rtol=1e-4, atol=1e-4 * float(value.abs().max())
            )


class Shared(nn.Module):
    """Uses a convolution's result beside its normalisation, which no module shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.norm(x)


def test_a_result_that_is_used_otherwise_is_left_alone() -> None:
    network = trained(Shared())
    assert fold_batch_norms(network, torch.randn(1, 3, 8, 8)) is network


def test_a_model_for_inference_gives_the_same_scores(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs((96, 64))
    trained(small_model.backbone)
    before = small_model(inputs)[0]["sem_seg"]
    assert prepare_for_inference(small_model) is small_model
    torch.testing.assert_close(small_model(inputs)[0]["sem_seg"], before, rtol=1e-3, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in small_model.parameters())


class Square(nn.Module):
    """Takes pictures of 96 pixels a side and no others."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.size_divisibility = inner, 32

    def forward(self, x: Tensor) -> Any:
        assert x.shape[-2:] == (96, 96)
        return self.inner(x)


def test_a_backbone_of_one_size_is_shown_that_size(
    small_model: ClipMask, make_inputs: Callable[..., Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_model, "size_divisibility", 96)
    small_model.backbone = Square(trained(small_model.backbone))
    before = small_model(make_inputs((96, 90)))[0]["sem_seg"]
    prepare_for_inference(small_model)
    assert not any(
        "BatchNorm" in type(module).__name__ for module in small_model.backbone.modules()
    )
    torch.testing.assert_close(
        small_model(make_inputs((96, 90)))[0]["sem_seg"], before, rtol=1e-3, atol=1e-4
    )


class AsksItsNorm(nn.Module):
    """Reads an attribute of its normalisation, which a copy without one does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.norm(self.conv(x)) * self.norm.eps,)


def test_a_network_that_fails_without_its_normalisation_keeps_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = trained(AsksItsNorm())
    with caplog.at_level("INFO"):
        assert fold_batch_norms(network, torch.randn(1, 3, 8, 8)) is network
    assert "not folded" in caplog.text


def test_what_is_folded_takes_no_weights_of_the_layers_before(small_model: ClipMask) -> None:
    state = small_model.state_dict()
    small_model.load_state_dict(state)
    prepare_for_inference(small_model)
    with pytest.raises(RuntimeError, match="bn"):
        small_model.load_state_dict(state)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
def test_pointwise_convolutions_run_in_onednn_on_one_thread_and_give_the_same() -> None:
    network = nn.Sequential(nn.Conv2d(16, 64, 1), nn.Conv2d(64, 8, 3)).requires_grad_(False)
    picture, threads = torch.randn(1, 16, 64, 64), torch.get_num_threads()
    before = network(picture)
    use_onednn(network)
    torch.set_num_threads(1)
    try:
        with torch.profiler.profile() as recorded:
            after = network(picture)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(after, before)
    assert [event.name for event in recorded.events()].count("aten::mkldnn_convolution") == 2


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_pointwise_convolution_is_not_dilated(strict: bool) -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 1)).requires_grad_(False)
    use_onednn(network)
    exported = torch.export.export(network, (torch.randn(1, 4, 8, 8),), strict=strict)
    calls = [node for node in exported.graph.nodes if "conv2d" in str(node.target)]
    assert len(calls) == 1
    assert [2, 2] not in calls[0].args
    assert 2 not in calls[0].args
