"""The predictor: a model, its config and a vocabulary, ready for pictures of any kind and size."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from clipmask.config import load_cfg, stored_cfg
from clipmask.data import TestMapper
from clipmask.data.image_format import PLAIN, ImageFormat, shown
from clipmask.device import resolve_device
from clipmask.errors import MissingText, UserError
from clipmask.inference.batches import in_parts
from clipmask.inference.classes import Classes, check_colors, choose_colors
from clipmask.inference.exported import ExportedModel
from clipmask.inference.folding import prepare_for_inference
from clipmask.inference.loading import load_model
from clipmask.inference.pixels import Picture, to_pixels
from clipmask.inference.runtimes import OPENERS
from clipmask.inference.scores import KeptScores, SecondRun
from clipmask.inference.segmentation import Segmentation
from clipmask.inference.views import ClipMaskWithViews, with_views
from clipmask.modeling import ClipMask
from clipmask.modeling.build import compile_model
from clipmask.modeling.class_maps import best_labels
from clipmask.recent import Recent
from clipmask.visualizer import Drawing
from clipmask.vocabulary import Vocabulary
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.licenses import License, checkpoint_licenses
from clipmask.weights.names import find_weights

logger = logging.getLogger(__name__)

# A frame's pixels (H, W, 3) and scores (K, H, W) to its scores as they are over time.
Smoothing = Callable[[NDArray[np.uint8], Tensor], Tensor]

# pixels of a picture, as the model sees it, from which on segmenting it whole is worth a word
LARGE = 4_000_000
# vocabularies of calls that are kept ready
KEPT_VOCABULARIES = 256


class Predictor:
    """A model ready to segment pictures of any kind and size.

    Several threads may call one predictor, each with its own ``vocabulary`` or while another sets
    one: the names and colours of a result are always those that its labels were predicted for.

    Args:
        cfg: the config that the model was built from; INPUT, MODEL.CLIP and what enables views of
            TEST are read.
        model: is put into evaluation mode, and stays on its device; or an exported one.
        batch_size: pictures of one size that are taken together; on a CPU they go through the
            model in parts, see ``clipmask.inference.batches``.

    Attributes:
        dataset_colors: class name to [r, g, b] in the model's dataset; empty where it has none.
        server_ids: class name to the id of the benchmark's server; likewise.
        drawing: how overlays of the results are drawn; set it to change that.
        image_format: how picture files are read: as those of the training were.
        licenses: of the data that the model was trained on, and of the weights that its training
            started from.

    Raises:
        UserError: the batch size is below 1.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: ClipMask | ExportedModel,
        *,
        image_format: ImageFormat = PLAIN,
        licenses: Sequence[License] = (),
        batch_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch size {batch_size}: it must be at least 1")
        self.cfg, self.model, self.batch_size = cfg, model.eval(), batch_size
        self._segmenter = with_views(cfg, self.model)
        self.image_format, self.licenses = image_format, tuple(licenses)
        classes = model.vocabulary.classes
        self.dataset_colors = {
            item.term.text: list(item.color) for item in classes if item.color is not None
        }
        self.server_ids = {
            item.term.text: item.server_id for item in classes if item.server_id is not None
        }
        terms = model.text.terms if isinstance(model, ClipMask) else model.vocabulary.terms
        self._trained = frozenset(term.text for term in terms)
        self._preparing = threading.Lock()  # CLIP is loaded once, whoever asks
        self._given_colors: dict[str, list[int]] = {}
        self._known: Recent[Vocabulary, Classes] = Recent(KEPT_VOCABULARIES)
        self._classes = self._classes_of(model.vocabulary)
        self._mapper = TestMapper.from_config(cfg)
        self._told_of_size = False
        self.drawing = Drawing()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        device: str | None = None,
        opts: Sequence[str] = (),
        *,
        batch_size: int = 1,
    ) -> Predictor:
        """Makes a predictor from a checkpoint of ClipMask and nothing else; code in a checkpoint
        does not run.

        Args:
            path: the file; or one that ``clipmask-export`` wrote, ``.onnx``, ``.xml`` (OpenVINO)
                or ``.pt2`` (``torch.export``), which runs in its runtime. PyTorch may run code that
                is in a ``.pt2`` file: take those alone that you trust.
            device: cuda, cuda:1, mps or cpu; None: the one of the training's config, the CPU where
                that is absent.
            opts: config keys and values in turn, over the checkpoint's config.
            batch_size: see the class.

        Raises:
            UserError: the file is missing or damaged, holds weights alone, or an override is wrong.
        """
        if Path(path).suffix in OPENERS:
            given = dict(zip(opts[::2], opts[1::2], strict=False)).get("MODEL.DEVICE", "cpu")
            exported = ExportedModel(Path(path), device or given, opts)
            if exported.cfg.MODEL.COMPILE:
                raise UserError(f"--compile: {path} is a network that was compiled by its export")
            return cls(
                exported.cfg,
                exported,
                image_format=exported.image_format,
                licenses=checkpoint_licenses(exported.description),
                batch_size=batch_size,
            )
        checkpoint = load_checkpoint(Path(path))
        text = checkpoint.get("config")
        if not isinstance(text, str):
            raise UserError(
                f"checkpoint {path}: holds weights but not the config of their model; name it:"
                f" --config-file FILE --opts MODEL.WEIGHTS {path} (in Python:"
                " Predictor.from_config(cfg))"
            )
        cfg = stored_cfg(text, path, [*opts, *([] if device is None else ["MODEL.DEVICE", device])])
        cfg.MODEL.WEIGHTS = str(path)
        return cls._assemble(cfg, checkpoint, batch_size)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        device: str | None = None,
        opts: Sequence[str] = (),
        *,
        batch_size: int = 1,
    ) -> Predictor:
        """Makes a predictor from a model's name.

        Args:
            name: ``clipmask-street``, which comes with the package; ``hf-hub:owner/name``; or
                the path of a folder or file, see ``clipmask.weights.names.find_weights``.
            device, opts, batch_size: as for ``from_checkpoint``.

        Raises:
            UserError: there is no such model, the hub does not give it, or as for
                ``from_checkpoint``.
        """
        return cls.from_checkpoint(
            find_weights(os.fspath(name)), device, opts, batch_size=batch_size
        )

    @classmethod
    def from_config(
        cls, cfg: CfgNode | str | os.PathLike[str], *, batch_size: int = 1
    ) -> Predictor:
        """Makes a predictor from a config and the weights that its MODEL.WEIGHTS names.

        The class names are those in the weights' file; if it has none, such as one of Detectron2's,
        those of the config's dataset.

        Args:
            cfg: a config or the path of one.
            batch_size: see the class.

        Raises:
            UserError: no weights are named, they can't be read or don't fit, or there are no class
                names.
        """
        cfg = cfg.clone() if isinstance(cfg, CfgNode) else load_cfg(Path(cfg))
        if not cfg.MODEL.WEIGHTS:
            raise UserError(
                "MODEL.WEIGHTS is empty: name the trained model's file, --opts MODEL.WEIGHTS FILE"
                " on the command line"
            )
        return cls._assemble(cfg, load_checkpoint(cfg.MODEL.WEIGHTS), batch_size)

    @classmethod
    def _assemble(cls, cfg: CfgNode, checkpoint: Mapping[str, Any], batch_size: int) -> Predictor:
        device = resolve_device(cfg.MODEL.DEVICE)
        model, image_format = load_model(cfg, checkpoint)
        prepare_for_inference(model.to(device))
        if cfg.MODEL.COMPILE:
            compile_model(model)
        return cls(
            cfg,
            model,
            image_format=image_format,
            licenses=checkpoint_licenses(checkpoint),
            batch_size=batch_size,
        )

    def set_colors(self, colors: Mapping[str, Sequence[int]]) -> None:
        """Draws classes in these colours from now on, whatever the vocabulary; ``dataset_colors``
        are such.

        Args:
            colors: class name, or the first of its synonyms, to [r, g, b], 0..255. Classes that are
                not in it have those of the palette.

        Raises:
            UserError: a colour is no such triple.
        """
        self._given_colors = check_colors(colors)
        self._known = Recent(KEPT_VOCABULARIES)
        self._classes = self._classes_of(self._classes.vocabulary)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, in the order of their ids."""
        return self._classes.names

    @property
    def colors(self) -> list[list[int]]:
        """[r, g, b], 0..255, of each class: by its name from a fixed palette
        (``clipmask.visualizer.palette``), but for those of ``set_colors``.
        """
        return self._classes.colors

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_preparing": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = {**state, "_preparing": threading.Lock()}

    def set_vocabulary(
        self, names: Sequence[str] | Vocabulary, embeddings: str | None = None
    ) -> None:
        """Segments other classes from now on.

        Args:
            names: the class names, ``a;b`` for synonyms; or a vocabulary, such as a dataset's.
            embeddings: an .npz with their CLIP embeddings; None computes them with the CLIP model
                of the training, which is not needed for names of the training alone.

        Raises:
            UserError: no names or one twice; a linear classifier; the embeddings can't be had.
        """
        vocabulary = names if isinstance(names, Vocabulary) else Vocabulary.from_names(names)
        self._classes = self._classes_of(vocabulary.using(embeddings or ""))

    def _classes_of(self, vocabulary: Vocabulary) -> Classes:
        """The classes of a vocabulary that the model was asked for: what can go wrong with it does
        so here.
        """
        return self._known.get(vocabulary, lambda: self._make_classes(vocabulary))

    def _make_classes(self, vocabulary: Vocabulary) -> Classes:
        try:
            with self._preparing:
                self.model.check_vocabulary(vocabulary)
        except MissingText as error:
            learned = isinstance(self.model, ClipMask) and self.model.text.learner is not None
            if vocabulary.embeddings or learned:
                raise
            raise MissingText(
                f"{error}. A file of embeddings for these names alone will do: --embeddings"
                " FILE.npz"
            ) from error
        known = all(term.text in self._trained for term in vocabulary.terms)
        if self.cfg.MODEL.CLIP.EMBEDDINGS == "random" and not (
            known and vocabulary.embeddings in ("", "random")
        ):
            logger.warning(
                "this model was trained with MODEL.CLIP.EMBEDDINGS random: new class names mean"
                " nothing to it, and what it paints for them is arbitrary"
            )
        return Classes(vocabulary, choose_colors(vocabulary.names, self._given_colors))

    def _asked(self, vocabulary: Vocabulary | Sequence[str] | None) -> Classes:
        """The classes of a call."""
        if vocabulary is None:
            return self._classes
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = Vocabulary.from_names(vocabulary)
        return self._classes_of(vocabulary)

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: Picture,
        text: str | Sequence[str] | None = None,
        *,
        vocabulary: Vocabulary | Sequence[str] | None = None,
        scores: bool = False,
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        images: Iterable[Picture],
        text: str | Sequence[str] | None = None,
        *,
        vocabulary: Vocabulary | Sequence[str] | None = None,
        scores: bool = False,
    ) -> list[Segmentation]: ...

    def __call__(
        self,
        images: Picture | Iterable[Picture],
        text: str | Sequence[str] | None = None,
        *,
        vocabulary: Vocabulary | Sequence[str] | None = None,
        scores: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Segments one picture or several.

        Args:
            images: a picture, see ``clipmask.inference.pixels.to_pixels``: a path, bytes, an open
                file, a PIL image, an array or a tensor; or any iterable of these.
            text: what is said of each of them, one string or several; for models that were trained
                with texts of images (MODEL.CLIP.TEXT annotation). None: they are shown the
                vocabulary.
            vocabulary: the classes of this call, or their names; None: those of
                ``set_vocabulary``, or of the training. Rows of T of names that were not trained
                come from ``Vocabulary.embeddings``, else from the CLIP model of the training.
            scores: results keep their scores, see ``stream``.

        Returns:
            One result for one picture; for several a list, in their order.

        Raises:
            UserError: a file can't be read, or something is not a picture; the model takes no
                texts; or the vocabulary can't be looked for, as for ``set_vocabulary``.
        """
        one = isinstance(images, str | bytes | Mapping) or hasattr(images, "read")
        one = one or (isinstance(images, np.ndarray | Tensor) and images.ndim < 4)
        # paths, PIL images, and what to_pixels refuses
        one = one or not isinstance(images, Iterable)
        if one:
            images = [cast(Picture, images)]
        results = self.stream(
            cast(Iterable[Picture], images), text=text, vocabulary=vocabulary, scores=scores
        )
        return next(results) if one else list(results)

    def stream(
        self,
        images: Iterable[Picture],
        on_error: Callable[[Picture, UserError], object] | None = None,
        *,
        smoothing: Smoothing | None = None,
        text: str | Sequence[str] | None = None,
        vocabulary: Vocabulary | Sequence[str] | None = None,
        scores: bool = False,
    ) -> Iterator[Segmentation]:
        """Segments pictures as they come, never holding more than a batch of them.

        Args:
            images: as for a call; may be endless.
            on_error: called for each picture that can't be read, which is then left out; None: the
                error is raised.
            smoothing: for pictures that are the frames of a film, in order: labels are then those
                of scores averaged over time, and so are the scores that ``scores`` keeps; others
                are those of the frame alone.
            text: as for a call.
            vocabulary: as for a call; those of ``set_vocabulary`` are the ones at the time of this
                call, for all pictures.
            scores: results keep their scores, 4 bytes a class and pixel, so that the model need not
                run again.

        Returns:
            The results, in the order of the pictures.

        Raises:
            UserError: as for a call.
        """
        if text is not None and self.model.image_text is None:
            raise UserError(
                "this model takes no text of a picture: it was trained with MODEL.CLIP.TEXT"
                " vocabulary, not annotation. Class names are set by set_vocabulary"
            )
        given = {} if text is None else {"text": text if isinstance(text, str) else list(text)}
        segment = functools.partial(
            self._segment,
            smoothing=smoothing,
            given=given,
            scores=scores,
            classes=self._asked(vocabulary),
        )
        return self._in_batches(images, segment, on_error)

    def _in_batches(
        self,
        images: Iterable[Picture],
        segment: Callable[[Sequence[tuple[str | None, NDArray[np.uint8]]]], Iterator[Segmentation]],
        on_error: Callable[[Picture, UserError], object] | None,
    ) -> Iterator[Segmentation]:
        """Reads pictures, and segments those together that follow each other and are of one
        size.
        """
        batch: list[tuple[str | None, NDArray[np.uint8]]] = []
        for image in images:
            try:
                pixels = to_pixels(image, self.image_format, self.cfg.INPUT.MAX_PIXELS)
            except UserError as error:
                if on_error is None:
                    raise
                on_error(image, error)
                continue
            if batch and (len(batch) == self.batch_size or batch[0][1].shape != pixels.shape):
                yield from segment(batch)
                batch = []
            batch.append(
                (os.fspath(image) if isinstance(image, str | os.PathLike) else None, pixels)
            )
            # at once, so that a camera's picture is not one behind
            if len(batch) == self.batch_size:
                yield from segment(batch)
                batch = []
        if batch:
            yield from segment(batch)

    def _segment(
        self,
        batch: Sequence[tuple[str | None, NDArray[np.uint8]]],
        *,
        smoothing: Smoothing | None,
        given: Mapping[str, Any],
        scores: bool,
        classes: Classes,
    ) -> Iterator[Segmentation]:
        asked = {**given, "vocabulary": classes.vocabulary}
        inputs = [{**self._mapper.from_array(pixels), **asked} for _, pixels in batch]
        self._tell_of_size(*inputs[0]["image"].shape[1:])
        kept: list[Tensor] = []
        with torch.inference_mode():
            if smoothing is None and not scores:
                maps = in_parts(self._segmenter.predict_labels, inputs, self._device)
            else:
                outputs = in_parts(self._segmenter, inputs, self._device)
                kept = [output["sem_seg"] for output in outputs]
                if smoothing is None:
                    maps = [best_labels(maps_of_classes) for maps_of_classes in kept]
                else:
                    frames = zip(batch, kept, strict=True)
                    maps = [best_labels(smoothing(pixels, seen)) for (_, pixels), seen in frames]
        for index, ((source, pixels), labels) in enumerate(zip(batch, maps, strict=True)):
            score: Callable[[Segmentation], NDArray[np.float32]]
            score = SecondRun(self._scores, pixels, asked)
            if scores:
                score = KeptScores(kept[index].float().cpu().numpy())
            label_map = labels.cpu().numpy()
            yield Segmentation(
                shown(pixels),
                label_map,
                classes.names,
                classes.colors,
                source,
                score,
                self.server_ids,
                self.drawing,
            )

    @property
    def _device(self) -> str:
        """The type of the device that the model is on; exported ones take care of theirs."""
        return self.model.device.type if isinstance(self.model, ClipMask) else ""

    def _tell_of_size(self, height: int, width: int) -> None:
        """Warns, once, of the first large picture that goes through the model whole; all of a batch
        are of its size.
        """
        windowed = (
            isinstance(self._segmenter, ClipMaskWithViews)
            and self._segmenter.views.window is not None
        )
        if windowed or self._told_of_size or height * width <= LARGE:
            return
        self._told_of_size = True
        logger.warning(
            "pictures of %dx%d pixels (width x height) are segmented whole, which takes time and"
            " memory; ways out: --sliding-window (TEST.SLIDING_WINDOW.ENABLED True), or"
            " INPUT.MIN_SIZE_TEST, such as 1024, to see them smaller",
            width,
            height,
        )

    def _scores(self, image: NDArray[np.uint8], asked: Mapping[str, Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs: Any = self._segmenter([{**self._mapper.from_array(image), **asked}])
        return outputs[0]["sem_seg"].float().cpu().numpy()
