"""ClipMask and its peers behind one interface: a training step, and pictures to label maps.

Each peer is built as its own library's documentation builds it, with random weights and a ResNet-50
where it can have one. What a peer's data loader does (normalised pictures, one mask per class of an
image) is done before any clock runs, and every training step ends alike: backward, fused AdamW.

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
    """What all networks see.

    Attributes:
        images: uint8 (B, 3, H, W).
        labels: uint8 (B, H, W), ids 0 .. K - 1.
    """

    images: Tensor
    labels: Tensor


class Network:
    """One of the networks compared.

    Args:
        model: with random weights, on the CPU.
        inputs: pictures to whatever ``loss`` and ``labels`` take; not timed.
        loss: those inputs to a scalar.
        labels: those inputs to (B, H, W) class ids.
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
        """Forward, matching, loss, backward and AdamW; in 16 bits where ``autocast`` says so."""
        self.model.train()
        with _autocast(self.model, autocast):
            loss = self.loss(inputs)
        loss.backward()
        self.optimize()

    def optimize(self) -> None:
        """Steps AdamW with the gradients that there are, and drops them."""
        if self._optimizer is None:
            self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def for_inference(self) -> None:
        """Lets ClipMask do what its ``Predictor`` does with a model; the peers' libraries have
        nothing of the kind.
        """
        if isinstance(self.model, ClipMask):
            prepare_for_inference(self.model)

    def predict(self, inputs: Any, autocast: torch.dtype | None = None) -> Tensor:
        """Label maps (B, H, W)."""
        self.model.eval()
        with torch.inference_mode(), _autocast(self.model, autocast):
            return self.labels(inputs)


def _autocast(model: nn.Module, dtype: torch.dtype | None) -> torch.autocast:
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def clipmask(num_classes: int, options: tuple[str, ...] = ()) -> Network:
    """ClipMask with ResNet-50, as ``configs/camvid/clipmask_r50.yaml`` has it.

    Args:
        num_classes: K.
        options: config keys and values in turn.
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


def _normalized(images: Tensor) -> Tensor:
    return (images.float() - 120) / 60


def _largest(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Class maps (B, K, h, w) to ids at full size; ``max`` gives argmax's indices, many times
    faster on a CPU.
    """
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False).max(1).indices


def _mask_classification(model: Any, enlarge: tuple[int, int] | None, aside: bool) -> Network:
    """A MaskFormer of ``transformers``: its own losses, and what its processor's semantic
    post-processing does.

    Args:
        model: takes pixel values, mask labels and class labels.
        enlarge: size to which its processor brings the masks before it sums them up; None: their
            own.
        aside: whether it can leave the masks of all layers but the last aside when it predicts.
    """

    def run(inputs: Mapping[str, Any]) -> Any:
        if aside:
            model.config.use_auxiliary_loss = model.training
            return model(**inputs, output_hidden_states=model.training)
        return model(**inputs)

    def inputs(pictures: Pictures) -> dict[str, Any]:
        classes = [label.unique().long() for label in pictures.labels]
        masks = [
            (label == ids[:, None, None]).float()
            for label, ids in zip(pictures.labels, classes, strict=True)
        ]
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

    # its defaults are ResNet-50
    return ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])


def maskformer(num_classes: int) -> Network:
    """``transformers``' MaskFormer, every decoder layer supervised."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation

    config = MaskFormerConfig(
        backbone_config=_resnet(),
        decoder_config=DetrConfig(num_queries=QUERIES),
        num_labels=num_classes,
    )
    return _mask_classification(MaskFormerForInstanceSegmentation(config), None, True)


def mask2former(num_classes: int) -> Network:
    """``transformers``' Mask2Former, every decoder layer supervised; its processor sums masks up at
    384x384.
    """
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    config = Mask2FormerConfig(
        backbone_config=_resnet(), num_queries=QUERIES, num_labels=num_classes
    )
    return _mask_classification(Mask2FormerForUniversalSegmentation(config), (384, 384), False)


def _per_pixel(
    model: nn.Module, scores: Callable[[Tensor], Tensor], enlarge: bool, multiple: int = 1
) -> Network:
    """A network of one score per class and pixel, trained by cross-entropy at full size.

    Args:
        model: any.
        scores: normalised images to (B, K, h, w).
        enlarge: whether scores are smaller than the images.
        multiple: of which the images' sides must be; they are padded before any clock runs, and
            scores are cut.
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
        return (
            _largest(output, (height, width))
            if enlarge
            else output.max(1).indices[..., :height, :width]
        )

    return Network(model, inputs, loss, labels)


def segformer(num_classes: int) -> Network:
    """``transformers``' SegFormer-B2; it has a transformer for backbone."""
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

    build.__doc__ = f"``segmentation_models_pytorch``'s {name}."
    return build


NETWORKS: dict[str, Callable[[int], Network]] = {
    "ClipMask": clipmask,
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
        name: in ``NETWORKS``.
        num_classes: K.
        options: config keys and values in turn, of ClipMask alone.

    Raises:
        UserError: no such network, or its library is not installed.
    """
    if name not in NETWORKS:
        raise UserError(f"--networks {name}: choose of {', '.join(NETWORKS)}")
    torch.manual_seed(0)
    try:
        return clipmask(num_classes, options) if name == "ClipMask" else NETWORKS[name](num_classes)
    except ImportError as error:
        raise UserError(
            f"{name} needs {error.name}; pip install -e '.[benchmark]' brings all peers, or leave"
            " it out of --networks"
        ) from error


def make_pictures(
    batch: int, size: tuple[int, int], num_classes: int, device: torch.device
) -> Pictures:
    """Random pictures, and label maps in which every class has a few blocks.

    Args:
        batch: B.
        size: H and W.
        num_classes: K.
        device: where they are to be.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    blocks = torch.randint(0, num_classes, (batch, 1, 12, 16), generator=generator).float()
    labels = F.interpolate(blocks, size=size, mode="nearest")[:, 0].to(
        torch.uint8 if num_classes < 256 else torch.long
    )
    return Pictures(images.to(device), labels.to(device))
