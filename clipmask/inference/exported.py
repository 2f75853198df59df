"""A wrapper that gives an exported network the interface of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from clipmask.config import stored_cfg
from clipmask.data.image_format import ImageFormat
from clipmask.errors import UserError
from clipmask.inference.runtimes import open_network
from clipmask.modeling.class_maps import best_labels
from clipmask.recent import Recent
from clipmask.text.sources import text_source
from clipmask.vocabulary import Vocabulary
from clipmask.weights.checkpoint import trained_vocabularies
from clipmask.weights.exported import read_description

KEPT_VOCABULARIES = 256  # number of vocabularies whose rows of T are cached


class ExportedModel:
    """A file of ``clipmask-export``, with the interface of a model that ``Predictor`` uses.

    Args:
        path: the file, ``.onnx``, ``.xml`` or ``.pt2``.
        device: as for ``open_network``.
        opts: config keys and values, alternating, which replace those of the training.

    Attributes:
        vocabulary: the classes.
        image_format: how the picture files of the training were read.
        description: see ``clipmask.weights.exported``.
        cfg: the config of the training, but without resizing, which the network does itself.

    Raises:
        UserError: as for ``open_network``; or the file is not a network of ``clipmask-export``.
    """

    image_text = None  # an exported network takes no texts of pictures

    def __init__(self, path: str | Path, device: str = "cpu", opts: Sequence[str] = ()) -> None:
        self.path = Path(path)
        self._device = device
        self._network, stored = open_network(self.path, device)
        self.description = read_description(stored, path)
        self.vocabulary = trained_vocabularies(self.description)[0]
        self.image_format = ImageFormat.from_metadata(self.description.get("metadata") or {})
        self._trained: NDArray[np.float32] | None = self.description["text"]
        self._rows: Recent[Vocabulary, NDArray[np.float32]] = Recent(KEPT_VOCABULARIES)
        self.cfg: CfgNode = stored_cfg(self.description["config"], path, opts)
        self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.FORMAT = 0, "RGB"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self._network = open_network(self.path, self._device).run  # a network can't be pickled

    def eval(self) -> ExportedModel:
        """Returns the model itself, which has no training mode."""
        return self

    def __call__(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Returns one ``{"sem_seg": (K, H, W)}`` per picture; see ``ClipMask.forward``.

        Raises:
            UserError: the network returns labels only, or takes pictures of another size.
        """
        if self.description["output"] != "scores":
            raise UserError(
                f"{self.path} returns labels but no scores: export the model with --scores to get"
                " them"
            )
        return [{"sem_seg": torch.from_numpy(self._run(inputs))} for inputs in batched_inputs]

    def predict_labels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """Returns one label map (H, W), uint8, per picture; see ``ClipMask.predict_labels``."""
        outputs = [torch.from_numpy(self._run(inputs)) for inputs in batched_inputs]
        if self.description["output"] == "labels":
            return outputs
        return [best_labels(scores) for scores in outputs]

    def _run(self, inputs: Mapping[str, Any]) -> NDArray[Any]:
        image, size = inputs["image"], self.description["size"]
        if size is not None and list(image.shape[1:]) != list(size):
            raise UserError(
                f"{self.path} takes pictures of {size[1]}x{size[0]} pixels (width x height), but"
                f" this one has {image.shape[2]}x{image.shape[1]}: resize it, or export the model"
                " without --size"
            )
        text = None
        if self._trained is not None:
            text = self._text(inputs.get("vocabulary", self.vocabulary))
        return self._network(image.to(torch.uint8).cpu().numpy()[None], text)[0]

    def check_vocabulary(self, classes: Vocabulary) -> None:
        """Checks that the network can use a vocabulary; see ``ClipMask.check_vocabulary``.

        Raises:
            UserError: the network has a fixed vocabulary that differs; there are more than 255
                classes, or a class with members; or there are no embeddings of the right width.
        """
        if self._trained is not None:
            self._text(classes)
        elif classes.names != self.vocabulary.names:
            raise UserError(
                f"{self.path}: its classes are fixed, {', '.join(self.vocabulary.names)}. Export"
                " the model with --free-vocabulary to change them"
            )

    def _text(self, classes: Vocabulary) -> NDArray[np.float32]:
        """Returns T (K, D) of the classes, from the cache if possible."""
        return self._rows.get(classes, lambda: self._embedded(classes))

    def _embedded(self, classes: Vocabulary) -> NDArray[np.float32]:
        if len(classes) > 255 or len(classes.terms) > len(classes):
            raise UserError(
                f"{self.path} takes up to 255 classes, which may have synonyms but no members"
            )
        assert self._trained is not None, "only a network of a free vocabulary takes text"
        known = dict(zip(self.description["names"], self._trained, strict=True))
        if not classes.embeddings and all(name in known for name in classes.names):
            rows = np.stack([known[name] for name in classes.names])
        else:
            clip = self.cfg.MODEL.CLIP
            source = text_source(
                clip.NAME, clip.PRETRAINED, classes.embeddings or clip.EMBEDDINGS, clip.PROMPTS
            )
            rows = source.encode(classes.terms).float().cpu().numpy()
        if rows.shape[1] != self._trained.shape[1]:
            raise UserError(
                f"the text embeddings have width {rows.shape[1]}, but the network takes"
                f" {self._trained.shape[1]}: use the CLIP model of the training (MODEL.CLIP.NAME)"
            )
        return np.ascontiguousarray(rows)
