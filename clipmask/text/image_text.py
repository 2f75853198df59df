"""Texts of single images for the injections: MODEL.CLIP.TEXT ``annotation``.

The paper's T is CLIP's encoding of the "textual annotation". The strings of an image become its
rows of a (B, L, D) batch, centred in the same way as T. An image without text gets the rows of its
vocabulary. In training a share of the texts is left out, so that the model learns to work without
them. The classifier and the text queries always use the vocabulary's T.

Shapes: B batch, K classes, L largest number of strings of an image, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from clipmask.data.texts import read_texts


class ImageText(nn.Module):
    """Encodes the texts of a batch and pads them to one length.

    Args:
        drop: share of the images whose text is left out in training, in [0, 1). The images are
            drawn with torch's CPU generator.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ImageText | None:
        """Builds it from MODEL.CLIP; returns None unless TEXT is ``annotation``."""
        clip = cfg.MODEL.CLIP
        if clip.TEXT != "annotation":
            return None
        return cls(clip.TEXT_DROP)

    def forward(
        self,
        batched_inputs: Sequence[Mapping[str, Any]],
        own: Sequence[Tensor],
        encode: Callable[[Sequence[str]], Tensor],
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the text rows of each image, and which rows are not padding.

        Args:
            batched_inputs: one dict per image; ``text`` is a string or a list of strings, or
                missing.
            own: for each image the rows (S, D) of its vocabulary, centred.
            encode: turns N different strings into their rows (N, D), centred.

        Returns:
            See ``padded_rows``.

        Raises:
            UserError: a text is not a string, or can't be embedded.
        """
        texts = [read_texts(inputs) for inputs in batched_inputs]
        if self.training and self.drop:
            kept = (torch.rand(len(texts), device="cpu") >= self.drop).tolist()
            texts = [text if keep else [] for text, keep in zip(texts, kept, strict=True)]
        different = list(dict.fromkeys(chain.from_iterable(texts)))
        if not different:
            return padded_rows(own)
        row = dict(zip(different, encode(different), strict=True))
        rows = list(own)
        for image, text in enumerate(texts):
            if text:
                rows[image] = torch.stack([row[string] for string in text])
        return padded_rows(rows)


def padded_rows(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Stacks the text rows of the images of a batch.

    Args:
        rows: (L_i, D) of each image.

    Returns:
        (B, L, D), padded with zeros, and bool (B, L), False on padding, or None if nothing is
        padded. If all images share one tensor: that tensor (L, D), and None.
    """
    if all(own is rows[0] for own in rows):
        return rows[0], None
    lengths = [len(own) for own in rows]
    padded = pad_sequence(list(rows), batch_first=True)  # (B, L, D)
    if len(set(lengths)) == 1:
        return padded, None
    # Python numbers are compared with a range on the device, because making a tensor from the list
    # would wait for the device.
    places = torch.arange(padded.shape[1], device=padded.device)
    return padded, torch.stack([places < length for length in lengths])
