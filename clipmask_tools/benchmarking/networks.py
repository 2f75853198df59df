"""Gives ClipMask and the networks it is compared with one interface: training step and prediction.

Each network is built as the documentation of its library shows, with random weights and, where
possible, a ResNet-50 backbone. The work of a network's data loader (normalised pictures, one mask
per class of a picture) is not measured. Every training step ends in the same way: backward pass and
fused AdamW.

Shapes: B batch, Q queries, K classes, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipmask.config import load_cfg
from clipmask.errors import UserError
from clipmask.inference.folding import prepare_for_inference
from clipmask.inference.views import with_views
from clipmask.modeling import ClipMask, build_model

CONFIG = Path(__file__).parents[2] / "configs" / "camvid" / "clipmask_r50.yaml"
QUERIES = 100


class Pictures(NamedTuple):
    """A batch of pictures with labels, the same for all networks.

    Attributes:
        images: uint8 (B, 3, H, W).
        labels: uint8 (B, H, W), ids 0 .. K - 1.
    """

    images: Tensor
    labels: Tensor


class Network:
    """One of the networks that are compared.

    Args:
        model: model with random weights, on the CPU.
        inputs: function that turns pictures into the inputs of ``loss`` and ``labels``; its time is
            not measured.
        loss: function that turns inputs into a scalar loss.
        labels: function that turns inputs into class ids (B, H, W).
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Callable[[Pictures], Any],
        loss: Callable[[Any], Tensor],
        labels: Callable[[Any], Tensor],
    ) -> None:
        self.model, self.inputs, self.loss, self.labels = model, inputs, loss, labels
        self._optimizer: torch.optim.Optimizer | None = None

    def step(self, inputs: Any, autocast: torch.dtype | None = None) -> None:
        """Runs one training step: forward pass, matching, loss, backward pass and AdamW.

        Args:
            inputs: result of ``self.inputs``.
            autocast: 16-bit data type of the forward pass; None: float32.
        """
        self.model.train()
        with _autocast(self.model, autocast):
            loss = self.loss(inputs)
        loss.backward()
        self.optimize()

    def optimize(self) -> None:
        """Runs one step of AdamW with the current gradients, and deletes the gradients."""
        if self._optimizer is None:
            self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def for_inference(self) -> None:
        """Prepares ClipMask for inference as its ``Predictor`` does.

        The other networks stay as they are: their libraries have no such step.
        """
        if isinstance(self.model, ClipMask):
            prepare_for_inference(self.model)

    def predict(self, inputs: Any, autocast: torch.dtype | None = None) -> Tensor:
        """Predicts label maps (B, H, W); for the arguments see ``step``."""
        self.model.eval()
        with torch.inference_mode(), _autocast(self.model, autocast):
            return self.labels(inputs)


def _autocast(model: nn.Module, dtype: torch.dtype | None) -> torch.autocast:
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def clipmask(num_classes: int, options: tuple[str, ...] = ()) -> Network:
    """Builds ClipMask with ResNet-50 from ``configs/camvid/clipmask_r50.yaml``.

    Args:
        num_classes: K.
        options: config keys and values in alternation.
    """
    random = ("MODEL.BACKBONE.WEIGHTS", "random", "MODEL.CLIP.EMBEDDINGS", "random")
    cfg = load_cfg(CONFIG, [*random, *options])
    model = build_model(cfg, [f"class {k}" for k in range(num_classes)])
    model.prepare()
    segmenter = with_views(cfg, model)

    def inputs(pictures: Pictures) -> list[dict[str, Tensor]]:
        return [{"image": image, "sem_seg": label} for image, label in zip(*pictures, strict=True)]

    return Network(
        model,
        inputs,
        lambda batch: torch.stack(list(model(batch).values())).sum(),
        lambda batch: torch.stack(segmenter.predict_labels(batch)),
    )


def _recomputing(num_classes: int) -> Network:
    """Builds ClipMask, whose training computes the activations at stride 4 again."""
    return clipmask(num_classes, ("SOLVER.ACTIVATION_CHECKPOINT", "fine"))


def _normalized(images: Tensor) -> Tensor:
    return (images.float() - 120) / 60


def _largest(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarges scores (B, K, h, w) to ``size`` and returns the class ids with the largest score."""
    # the indices of ``max`` are those of ``argmax``, and it is many times faster on a CPU
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False).max(1).indices


def _mask_classification(model: Any, enlarge: tuple[int, int] | None, aside: bool) -> Network:
    """Wraps MaskFormer or Mask2Former of ``transformers``.

    Training uses the model's own losses; prediction does the same as the semantic post-processing
    of its image processor.

    Args:
        model: model that takes pixel values, mask labels and class labels.
        enlarge: size to which the image processor resizes the masks before it adds them up; None:
            no resize.
        aside: whether the model can omit the masks of all layers but the last in prediction.
    """

    def run(inputs: Mapping[str, Any]) -> Any:
        if aside:
            model.config.use_auxiliary_loss = model.training
            return model(**inputs, output_hidden_states=model.training)
        return model(**inputs)

    def inputs(pictures: Pictures) -> dict[str, Any]:
        classes, masks = [], []
        for label in pictures.labels:
            ids = label.unique().long()
            classes.append(ids)
            masks.append((label == ids[:, None, None]).float())
        return {
            "pixel_values": _normalized(pictures.images),
            "mask_labels": masks,
            "class_labels": classes,
        }

    def labels(inputs: Mapping[str, Any]) -> Tensor:
        outputs = run({"pixel_values": inputs["pixel_values"]})
        masks = outputs.masks_queries_logits
        if enlarge is not None:
            masks = F.interpolate(masks, size=enlarge, mode="bilinear", align_corners=False)
        classes = outputs.class_queries_logits.softmax(-1)[..., :-1]
        scores = torch.einsum("bqk,bqhw->bkhw", classes, masks.sigmoid())
        return _largest(scores, inputs["pixel_values"].shape[-2:])

    return Network(model, inputs, lambda inputs: run(inputs).loss, labels)


def _resnet() -> Any:
    from transformers import ResNetConfig

    # the defaults are those of ResNet-50
    return ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])


def maskformer(num_classes: int) -> Network:
    """Builds MaskFormer of ``transformers``, with a loss on every decoder layer."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation

    config = MaskFormerConfig(
        backbone_config=_resnet(),
        decoder_config=DetrConfig(num_queries=QUERIES),
        num_labels=num_classes,
    )
    return _mask_classification(MaskFormerForInstanceSegmentation(config), None, True)


def mask2former(num_classes: int) -> Network:
    """Builds Mask2Former of ``transformers``, with a loss on every decoder layer.

    Its image processor adds the masks up at 384x384 pixels.
    """
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    config = Mask2FormerConfig(
        backbone_config=_resnet(), num_queries=QUERIES, num_labels=num_classes
    )
    return _mask_classification(Mask2FormerForUniversalSegmentation(config), (384, 384), False)


def _per_pixel(
    model: nn.Module, scores: Callable[[Tensor], Tensor], enlarge: bool, multiple: int = 1
) -> Network:
    """Wraps a network with one score per class and pixel, trained by cross-entropy at full size.

    Args:
        model: the model.
        scores: function that turns normalised images into scores (B, K, h, w).
        enlarge: whether the scores are smaller than the images and must be enlarged.
        multiple: number by which both sides of the images must be divisible. The images are padded
            (this time is not measured), and the scores are cut to the original size.
    """

    def inputs(pictures: Pictures) -> tuple[Tensor, Tensor]:
        height, width = pictures.labels.shape[-2:]
        images = F.pad(_normalized(pictures.images), (0, -width % multiple, 0, -height % multiple))
        return images, pictures.labels.long()

    def loss(inputs: tuple[Tensor, Tensor]) -> Tensor:
        (height, width), output = inputs[1].shape[-2:], scores(inputs[0])
        if enlarge:
            output = F.interpolate(
                output, size=(height, width), mode="bilinear", align_corners=False
            )
        return F.cross_entropy(output[..., :height, :width], inputs[1])

    def labels(inputs: tuple[Tensor, Tensor]) -> Tensor:
        (height, width), output = inputs[1].shape[-2:], scores(inputs[0])
        if enlarge:
            return _largest(output, (height, width))
        return output.max(1).indices[..., :height, :width]

    return Network(model, inputs, loss, labels)


def segformer(num_classes: int) -> Network:
    """Builds SegFormer-B2 of ``transformers``; its backbone is a transformer, not a ResNet."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=[3, 4, 6, 3],
        hidden_sizes=[64, 128, 320, 512],
        decoder_hidden_size=768,
        num_labels=num_classes,
    )
    model = SegformerForSemanticSegmentation(config)
    return _per_pixel(model, lambda images: model(pixel_values=images).logits, enlarge=True)


def _smp(name: str) -> Callable[[int], Network]:
    def build(num_classes: int) -> Network:
        import segmentation_models_pytorch as smp

        model = getattr(smp, name)("resnet50", encoder_weights=None, classes=num_classes)
        return _per_pixel(model, model, enlarge=False, multiple=model.encoder.output_stride)

    build.__doc__ = f"Builds {name} of ``segmentation_models_pytorch``."
    return build


NETWORKS: dict[str, Callable[[int], Network]] = {
    "ClipMask": clipmask,
    "ClipMask-recomputed": _recomputing,
    "MaskFormer": maskformer,
    "Mask2Former": mask2former,
    "DeepLabV3+": _smp("DeepLabV3Plus"),
    "FPN": _smp("FPN"),
    "UPerNet": _smp("UPerNet"),
    "SegFormer-B2": segformer,
}


def build_network(name: str, num_classes: int, options: tuple[str, ...] = ()) -> Network:
    """Builds a network by name, always with the same random weights.

    Args:
        name: a name in ``NETWORKS``.
        num_classes: K.
        options: config keys and values in alternation; only ClipMask uses them.

    Raises:
        UserError: there is no such network, or its library is not installed.
    """
    if name not in NETWORKS:
        raise UserError(f"--networks {name}: not known; choose from {', '.join(NETWORKS)}")
    torch.manual_seed(0)
    try:
        return clipmask(num_classes, options) if name == "ClipMask" else NETWORKS[name](num_classes)
    except ImportError as error:
        raise UserError(
            f"{name} needs the package {error.name}; install the packages of all networks with"
            f" pip install -e '.[benchmark]', or remove {name} from --networks"
        ) from error


def make_pictures(
    batch: int, size: tuple[int, int], num_classes: int, device: torch.device
) -> Pictures:
    """Makes random pictures, and label maps of 12 x 16 blocks with random classes.

    Args:
        batch: B.
        size: H and W.
        num_classes: K.
        device: device of the returned tensors.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    blocks = torch.randint(0, num_classes, (batch, 1, 12, 16), generator=generator).float()
    label_type = torch.uint8 if num_classes < 256 else torch.long
    labels = F.interpolate(blocks, size=size, mode="nearest")[:, 0].to(label_type)
    return Pictures(images.to(device), labels.to(device))
