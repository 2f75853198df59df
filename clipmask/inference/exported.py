"""An exported network in the place of a model: the same inputs, the same results."""

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

KEPT_VOCABULARIES = 256  # whose rows are kept ready


class ExportedModel:
    """What ``clipmask-export`` wrote, as ``Predictor`` asks a model.

    Args:
        path: the file, ``.onnx``, ``.xml`` or ``.pt2``.
        device: see ``open_network``.
        opts: config keys and values in turn, over those of the training.

    Attributes:
        vocabulary: the classes.
        image_format: how the training's picture files were read.
        description: see ``clipmask.weights.exported``.
        cfg: the config of the training, except that pictures are taken as they are: the network
            resizes them itself.

    Raises:
        UserError: see ``open_network``; or the file is no such network.
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
        self._network = open_network(self.path, self._device).run  # from the file again

    def eval(self) -> ExportedModel:
        """Returns itself: there is no other mode."""
        return self

    def __call__(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Returns one ``{"sem_seg": (K, H, W)}`` a picture; see ``ClipMask.forward``.

        Raises:
            UserError: the network gives labels alone, or takes pictures of another size.
        """
        if self.description["output"] != "scores":
            raise UserError(
                f"{self.path} gives labels and no scores: export the model with --scores for them"
            )
        return [{"sem_seg": torch.from_numpy(self._run(inputs))} for inputs in batched_inputs]

    def predict_labels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """Returns one map (H, W) of class ids a picture, uint8; see ``ClipMask.predict_labels``."""
        answers = [torch.from_numpy(self._run(inputs)) for inputs in batched_inputs]
        return (
            answers
            if self.description["output"] == "labels"
            else [best_labels(scores) for scores in answers]
        )

    def _run(self, inputs: Mapping[str, Any]) -> NDArray[Any]:
        image, size = inputs["image"], self.description["size"]
        if size is not None and list(image.shape[1:]) != list(size):
            raise UserError(
                f"{self.path} takes pictures of {size[1]}x{size[0]} pixels (width x height), this"
                f" one has {image.shape[2]}x{image.shape[1]}: resize it, or export the model"
                " without --size"
            )
        text = None
        if self._trained is not None:
            text = self._text(inputs.get("vocabulary", self.vocabulary))
        return self._network(image.to(torch.uint8).cpu().numpy()[None], text)[0]

    def check_vocabulary(self, classes: Vocabulary) -> None:
        """Makes sure that pictures can be segmented into these classes; see
        ``ClipMask.check_vocabulary``.

        Raises:
            UserError: the network's vocabulary is fixed, and is another; there are more than 255
                classes, or one with members; or they can't be embedded, or at another width.
        """
        if self._trained is not None:
            self._text(classes)
        elif classes.names != self.vocabulary.names:
            raise UserError(
                f"{self.path}: its classes are fixed, {', '.join(self.vocabulary.names)}. Export"
                " the model with --free-vocabulary to change them"
            )

    def _text(self, classes: Vocabulary) -> NDArray[np.float32]:
        """T (K, D) of the classes."""
        return self._rows.get(classes, lambda: self._embedded(classes))

    def _embedded(self, classes: Vocabulary) -> NDArray[np.float32]:
        if len(classes) > 255 or len(classes.terms) > len(classes):
            raise UserError(
                f"{self.path} takes up to 255 classes, each with one name or synonyms, and none"
                " with members"
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
                f"the text embeddings have width {rows.shape[1]}, the network takes"
                f" {self._trained.shape[1]}: use the CLIP model of the training (MODEL.CLIP.NAME)"
            )
        return np.ascontiguousarray(rows)
