"""The network that is exported: it turns pictures into label maps or scores.

Resizing, normalisation and padding are parts of the network:

    pictures (B, 3, H, W) uint8 RGB -> resized to what the model sees -> normalised, padded ->
    ClipMask -> (B, H, W)

If no ``size`` is given, one graph serves pictures of every size. If T is an input, it serves every
vocabulary.

Shapes: B pictures of one size, H and W their rows and columns, h and w those that the model sees,
K classes, D text width.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipmask.export.slots import use_slots
from clipmask.modeling import ClipMask
from clipmask.modeling.class_maps import STRIDE, plain_scores
from clipmask.modeling.injection import Injection
from clipmask.modeling.layers import ceil_div
from clipmask.text.class_logits import class_logits


class FixedPadding(nn.Module):
    """A convolution with TensorFlow's padding, for maps whose sides are multiples of its stride.

    timm's ``Conv2dSame`` computes the padding from the size of each map. In a graph for
    every size, these computations would take the exporter many minutes. Pictures are padded to
    multiples of all strides, so the padding is the same for all of them.

    Args:
        conv: timm's convolution, whose weights are shared.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        rows, columns = (
            max(0, (kernel - 1) * dilation + 1 - stride)
            for kernel, dilation, stride in zip(
                conv.kernel_size, conv.dilation, conv.stride, strict=True
            )
        )
        self.pad = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves a map (B, C, H, W)."""
        conv = self.conv
        padded = F.pad(x, self.pad)
        return F.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def fix_padding(network: nn.Module) -> None:
    """Puts a ``FixedPadding`` in the place of each ``Conv2dSame`` in a network."""
    from timm.layers import Conv2dSame

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(parent, name, FixedPadding(child))


class ExportedNetwork(nn.Module):
    """A copy of a model as one function of tensors.

    Args:
        model: prepared for inference, see ``clipmask.inference.folding``; it is not changed.
        size: H and W of the pictures; None: any size.
        seen: the size h and w to which pictures are resized for the model; None: they are not
            resized.
        scores: return scores (B, K, H, W) float32 instead of labels (B, H, W) uint8.
        bgr: the model takes its channels in the order BGR.
    """

    T: Tensor
    columns: Tensor | None

    def __init__(
        self,
        model: ClipMask,
        *,
        size: tuple[int, int] | None,
        seen: tuple[int, int] | None = None,
        scores: bool = False,
        bgr: bool = False,
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.seen, self.scores, self.bgr = seen, scores, bgr
        fix_padding(self.model.backbone)
        for module in self.model.modules():
            if size is None and isinstance(module, Injection):
                use_slots(module)
        with torch.no_grad():
            # (S, D), centred
            self.register_buffer("T", model.text.select(model.text(), model.vocabulary).clone())
        self.register_buffer("columns", model.columns_of(model.vocabulary))
        self.num_classes = len(model.vocabulary)
        if size is not None and seen is not None:
            for axis, (have, want) in enumerate(zip(size, seen, strict=True)):
                self.register_buffer(f"resize{axis}", _resizing(have, want))

    def forward(self, image: Tensor, text: Tensor | None = None) -> Tensor:
        """Segments pictures.

        Args:
            image: (B, 3, H, W) uint8, RGB.
            text: (K, D) float32, CLIP's embeddings of the class names, each of unit length, for a
                model whose classes have no members; None: those of the model.

        Returns:
            uint8 (B, H, W), ids of classes, or float32 (B, K, H, W), see the class.
        """
        model, size = self.model, (image.shape[-2], image.shape[-1])
        pixels = image.float()
        if self.bgr:
            pixels = pixels.flip(1)
        if self.seen is not None:
            # A product with one matrix per axis, because runtimes differ in how they resize.
            rows_matrix, columns_matrix = self.get_buffer("resize0"), self.get_buffer("resize1")
            pixels = (rows_matrix @ pixels @ columns_matrix.T).round().clamp(0, 255)
        height, width = seen = size if self.seen is None else self.seen
        pixels = (pixels - model.pixel_mean) / model.pixel_std
        rows, columns = (ceil_div(length, model.divisor) * model.divisor for length in seen)
        pixels = F.pad(pixels, (0, columns - width, 0, rows - height))
        T = self.T if text is None else text - model.text.mean
        outputs = model.mask_decoder(model.pixel_decoder(model.backbone(pixels), T, [seen]), T)
        masks = outputs.pred_masks[..., : ceil_div(height, STRIDE), : ceil_div(width, STRIDE)]
        logits = outputs.pred_logits[-1]  # (B, Q, S + 1), of names
        if self.columns is not None:
            grouped = class_logits(logits.unsqueeze(1), [self.columns], [self.num_classes])
            logits = grouped.squeeze(1)
        scores = plain_scores(logits, masks, size, input_size=seen)
        if self.scores:
            return scores
        return scores.argmax(1).to(torch.uint8)


def _resizing(have: int, want: int) -> Tensor:
    """The matrix (want, have) of bilinear resizing with antialiasing along one axis."""
    eye = torch.eye(have)[None, None]
    return F.interpolate(
        eye, size=(want, have), mode="bilinear", align_corners=False, antialias=True
    )[0, 0]
