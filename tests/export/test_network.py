"""The network that is exported answers as the model does, before any format comes into play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from clipmask import ClipMask
from clipmask.export.network import ExportedNetwork
from clipmask.inference.folding import prepare_for_inference
from clipmask.vocabulary import Vocabulary

Inputs = list[dict[str, Any]]


@pytest.mark.parametrize("size", [(64, 96), (61, 103), (20, 9)])
@pytest.mark.parametrize("free", [True, False])
@torch.inference_mode()
def test_scores_and_labels_are_the_models(
    small_model: ClipMask, make_inputs: Callable[..., Inputs], size: tuple[int, int], free: bool
) -> None:
    model = prepare_for_inference(small_model)
    inputs = make_inputs(size, size)
    pictures = torch.stack([one["image"] for one in inputs])
    expected = torch.stack([output["sem_seg"] for output in model(inputs)])
    for scores in (True, False):
        network = ExportedNetwork(model, size=None if free else size, scores=scores)
        answer, same = network(pictures), network(pictures, model.text.embedding)
        torch.testing.assert_close(answer, same)
        if scores:
            torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)
        else:
            assert answer.dtype == torch.uint8
            assert (answer == expected.argmax(1)).float().mean() > 0.999


@pytest.mark.parametrize("seen", [(80, 120), (33, 50)])
@torch.inference_mode()
def test_pictures_are_resized_to_what_the_model_sees(
    small_model: ClipMask, make_inputs: Callable[..., Inputs], seen: tuple[int, int]
) -> None:
    (inputs,) = make_inputs((50, 75))
    picture = v2.functional.gaussian_blur(inputs["image"], 9)
    small = v2.functional.resize_image(picture, list(seen), antialias=True)
    expected = small_model([{"image": small, "height": 50, "width": 75}])[0]["sem_seg"]
    answer = ExportedNetwork(small_model, size=(50, 75), seen=seen, scores=True)(picture[None])[0]
    # Both round the resized picture to whole numbers, by different arithmetic.
    torch.testing.assert_close(answer, expected, rtol=0, atol=0.02 * float(expected.max()))


@torch.inference_mode()
def test_channels_in_the_models_order(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    (inputs,) = make_inputs((32, 32))
    answer = ExportedNetwork(small_model, size=None, scores=True, bgr=True)(inputs["image"][None])[
        0
    ]
    expected = small_model([{"image": inputs["image"].flip(0)}])[0]["sem_seg"]
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_the_model_stays_as_it_is(small_model: ClipMask) -> None:
    ExportedNetwork(small_model, size=None)
    assert not any("image_keys" in vars(module) for module in small_model.modules())


@torch.inference_mode()
def test_classes_with_members_and_other_names(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    metadata = {"stuff_classes": ["street", "sky"], "class_members": {"street": ["road", "car"]}}
    small_model.set_vocabulary(Vocabulary.from_metadata(metadata))
    (inputs,) = make_inputs((40, 48))
    answer = ExportedNetwork(small_model, size=None, scores=True)(inputs["image"][None])[0]
    torch.testing.assert_close(answer, small_model([inputs])[0]["sem_seg"], rtol=1e-4, atol=1e-4)
