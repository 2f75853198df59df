"""The predictor: a model, its config and a vocabulary, ready for pictures of any kind and size."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from PIL import Image

from clipmask.config import load_cfg, stored_cfg
from clipmask.data import TestMapper
from clipmask.engine.checkpoint import load_checkpoint
from clipmask.engine.device import resolve_device
from clipmask.errors import MissingText, UserError
from clipmask.modeling import ClipMask
from clipmask.modeling.inference import best_labels
from clipmask.predictor.loading import load_model
from clipmask.predictor.pixels import Picture, to_pixels
from clipmask.predictor.segmentation import Segmentation
from clipmask.predictor.smoothing import Smoothing
from clipmask.visualizer import palette

logger = logging.getLogger(__name__)

LARGE = 4_000_000  # pixels of a picture, as the model sees it, from which on segmenting it whole is worth a word


class Predictor:
    """A model ready to segment pictures of any kind and size.

    Args:
        cfg: the config that the model was built from; INPUT and MODEL.CLIP are read.
        model: is put into evaluation mode, and stays on its device.
        colors: [r, g, b] of each class; None chooses them by name.
        batch_size: pictures of one size that go through the model together.

    Raises:
        UserError: the batch size is below 1.
    """

    def __init__(
        self, cfg: CfgNode, model: ClipMask, *, colors: Sequence[Sequence[int]] | None = None, batch_size: int = 1
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch size {batch_size}: it must be at least 1")
        self.cfg, self.model, self.batch_size = cfg, model.eval(), batch_size
        self.names = tuple(model.class_names)
        self.colors = [list(color) for color in colors] if colors else palette(self.names)
        self._trained = dict(zip(self.names, self.colors, strict=True))
        self._mapper = TestMapper.from_config(cfg)
        self._told_of_size = False

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        device: str | None = None,
        opts: Sequence[str] = (),
        *,
        batch_size: int = 1,
    ) -> Predictor:
        """Makes a predictor from a checkpoint of ClipMask and nothing else; code in the file does not run.

        Args:
            path: the file.
            device: cuda, cuda:1, mps or cpu; None: the one of the training's config, the CPU where that is absent.
            opts: config keys and values in turn, over the checkpoint's config.
            batch_size: see the class.

        Raises:
            UserError: the file is missing or damaged, holds weights alone, or an override is wrong.
        """
        checkpoint = load_checkpoint(Path(path))
        text = checkpoint.get("config")
        if not isinstance(text, str):
            raise UserError(
                f"checkpoint {path}: holds weights but not the config of their model; name it: --config-file FILE "
                f"--opts MODEL.WEIGHTS {path} (in Python: Predictor.from_config(cfg))"
            )
        cfg = stored_cfg(text, path, [*opts, *([] if device is None else ["MODEL.DEVICE", device])])
        cfg.MODEL.WEIGHTS = str(path)
        return cls._assemble(cfg, checkpoint, batch_size)

    @classmethod
    def from_config(cls, cfg: CfgNode | str | os.PathLike[str], *, batch_size: int = 1) -> Predictor:
        """Makes a predictor from a config and the weights that its MODEL.WEIGHTS names.

        The class names are those in the weights' file; if it has none, such as one of Detectron2's, those of the
        config's dataset.

        Args:
            cfg: a config or the path of one.
            batch_size: see the class.

        Raises:
            UserError: no weights are named, they can't be read or don't fit, or there are no class names.
        """
        cfg = cfg.clone() if isinstance(cfg, CfgNode) else load_cfg(Path(cfg))
        if not cfg.MODEL.WEIGHTS:
            raise UserError(
                "MODEL.WEIGHTS is empty: name the trained model's file, --opts MODEL.WEIGHTS FILE on the command line"
            )
        return cls._assemble(cfg, load_checkpoint(cfg.MODEL.WEIGHTS), batch_size)

    @classmethod
    def _assemble(cls, cfg: CfgNode, checkpoint: Mapping[str, Any], batch_size: int) -> Predictor:
        device = resolve_device(cfg.MODEL.DEVICE)
        model, colors = load_model(cfg, checkpoint)
        return cls(cfg, model.to(device), colors=colors, batch_size=batch_size)

    def set_vocabulary(self, names: Sequence[str], embeddings: str | None = None) -> None:
        """Segments other classes from now on.

        Args:
            names: the class names; ``a;b`` averages synonyms.
            embeddings: an .npz with their CLIP embeddings; None computes them with the CLIP model of the training.

        Raises:
            UserError: no names or one twice; a linear classifier; the embeddings can't be had.
        """
        try:
            self.model.set_vocabulary(names, embeddings)
        except MissingText as error:
            if embeddings is not None or self.model.text.learner is not None:
                raise
            raise UserError(
                f"{error}. A file of embeddings for these names alone will do: --embeddings FILE.npz"
            ) from error
        self.names = tuple(self.model.class_names)
        known = all(name in self._trained for name in self.names)
        fresh = dict(zip(self.names, palette(self.names), strict=True))
        self.colors = [self._trained.get(name, fresh[name]) for name in self.names]
        if self.cfg.MODEL.CLIP.EMBEDDINGS == "random" and not (known and embeddings in (None, "random")):
            logger.warning(
                "this model was trained with MODEL.CLIP.EMBEDDINGS random: new class names mean nothing to it, and "
                "what it paints for them is arbitrary"
            )

    @overload
    def __call__(self, images: Picture) -> Segmentation: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Iterable[Picture]) -> list[Segmentation]: ...

    def __call__(self, images: Picture | Iterable[Picture]) -> Segmentation | list[Segmentation]:
        """Segments one picture or several.

        Args:
            images: a path, a PIL image or uint8 pixels (H, W, 3) in RGB; or any iterable of these.

        Returns:
            One result for one picture; for several a list, in their order.

        Raises:
            UserError: a file can't be read, or something is not a picture.
        """
        if isinstance(images, str | os.PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            return next(self.stream([images]))
        return list(self.stream(images))

    def stream(
        self,
        images: Iterable[Picture],
        on_error: Callable[[Picture, UserError], object] | None = None,
        *,
        smoothing: Smoothing | None = None,
    ) -> Iterator[Segmentation]:
        """Segments pictures as they come, never holding more than a batch of them.

        Args:
            images: as for a call; may be endless.
            on_error: told of each picture that can't be read, which is then left out; None: the error is raised.
            smoothing: for pictures that are the frames of a film, in order: labels are then those of scores averaged
                over time. ``scores()`` of a result stays that of its frame alone.

        Yields:
            The results, in the order of the pictures.
        """
        batch: list[tuple[str | None, NDArray[np.uint8]]] = []
        for image in images:
            try:
                pixels = to_pixels(image)
            except UserError as error:
                if on_error is None:
                    raise
                on_error(image, error)
                continue
            if batch and (len(batch) == self.batch_size or batch[0][1].shape != pixels.shape):
                yield from self._segment(batch, smoothing)
                batch = []
            batch.append((os.fspath(image) if isinstance(image, str | os.PathLike) else None, pixels))
            if len(batch) == self.batch_size:  # at once, so that a camera's picture is not one behind
                yield from self._segment(batch, smoothing)
                batch = []
        if batch:
            yield from self._segment(batch, smoothing)

    def _segment(
        self, batch: Sequence[tuple[str | None, NDArray[np.uint8]]], smoothing: Smoothing | None
    ) -> Iterator[Segmentation]:
        inputs = [self._mapper.from_array(pixels) for _, pixels in batch]
        self._tell_of_size(*inputs[0]["image"].shape[1:])
        with torch.inference_mode():
            if smoothing is None:
                maps = self.model.predict_labels(inputs)
            else:
                frames = zip(batch, self.model(inputs), strict=True)
                maps = [best_labels(smoothing(pixels, output["sem_seg"])) for (_, pixels), output in frames]
        for (source, pixels), labels in zip(batch, maps, strict=True):
            yield Segmentation(pixels, labels.cpu().numpy(), self.names, self.colors, source, self._scores)

    def _tell_of_size(self, height: int, width: int) -> None:
        """Warns, once, of the first large picture that goes through the model whole; all of a batch are of its size."""
        windows = self.model.views is not None and self.model.views.window is not None
        if windows or self._told_of_size or height * width <= LARGE:
            return
        self._told_of_size = True
        logger.warning(
            "pictures of %dx%d pixels (width x height) are segmented whole, which takes time and memory; ways out: "
            "--sliding-window (TEST.SLIDING_WINDOW.ENABLED True), or INPUT.MIN_SIZE_TEST, such as 1024, to see them "
            "smaller",
            width,
            height,
        )

    def _scores(self, result: Segmentation) -> NDArray[np.float32]:
        if result.names is not self.names:  # each change of vocabulary makes a new tuple, also for equal names
            raise UserError("scores() of a result from before set_vocabulary: segment the picture again")
        with torch.inference_mode():
            outputs: Any = self.model([self._mapper.from_array(result.image)])
        return outputs[0]["sem_seg"].float().cpu().numpy()
