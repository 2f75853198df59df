"""The predictor, which applies a trained model to pictures of any kind and size."""

from __future__ import annotations

import functools
import logging
import os
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
from clipmask.data.picture_file import PictureFile
from clipmask.device import resolve_device
from clipmask.errors import UserError
from clipmask.inference.batches import in_parts
from clipmask.inference.classes import ChosenClasses, Classes
from clipmask.inference.exported import ExportedModel
from clipmask.inference.folding import prepare_for_inference
from clipmask.inference.from_file import (
    NoScores,
    OnWindow,
    ignore_windows,
    open_large,
    segment_file,
)
from clipmask.inference.large import LargeSegmentation, ShownFile
from clipmask.inference.loading import load_model
from clipmask.inference.pixels import Picture, to_pixels
from clipmask.inference.runtimes import OPENERS
from clipmask.inference.scores import KeptScores, SecondRun
from clipmask.inference.segmentation import Segmentation
from clipmask.inference.views import ClipMaskWithViews, with_views
from clipmask.modeling import ClipMask
from clipmask.modeling.build import compile_model
from clipmask.modeling.class_maps import best_labels
from clipmask.visualizer import Drawing
from clipmask.vocabulary import Vocabulary
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.licenses import License, checkpoint_licenses
from clipmask.weights.names import find_weights

logger = logging.getLogger(__name__)

# a function from a frame's pixels (H, W, 3) and scores (K, H, W) to the smoothed scores
Smoothing = Callable[[NDArray[np.uint8], Tensor], Tensor]

LARGE = 4_000_000  # pixels; a warning is logged if a larger picture is segmented as a whole


class Predictor:
    """Segments pictures of any kind and size with a trained model.

    Several threads may call one predictor, each with its own ``vocabulary``, even while another
    thread sets one: the names and colours of a result always belong to its labels.

    Args:
        cfg: the config of the model; INPUT, MODEL.CLIP, TEST.AUG and TEST.SLIDING_WINDOW are read.
        model: a model, which is put into evaluation mode and stays on its device; or an exported
            network.
        image_format: how picture files are read; it should be that of the training.
        licenses: the licences of the training data and of the pretrained weights.
        batch_size: the largest number of pictures of one size that are segmented together; on a
            CPU, they go through the model in parts, see ``clipmask.inference.batches``.

    Attributes:
        dataset_colors: class name -> [r, g, b] in the model's dataset; empty if it has no colours.
        server_ids: class name -> its id on the benchmark's server; empty if there are none.
        drawing: how overlays of the results are drawn; it can be set.
        image_format, licenses: as given.

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
        self._classes = ChosenClasses(model, cfg.MODEL.CLIP.EMBEDDINGS == "random")
        self._mapper = TestMapper.from_config(cfg)
        self._warned_of_size = False
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
        """Makes a predictor from a checkpoint of ClipMask, without any other file.

        Code in a checkpoint is never executed.

        Args:
            path: the checkpoint; or a file of ``clipmask-export``, ``.onnx``, ``.xml`` (OpenVINO)
                or ``.pt2`` (``torch.export``), which runs in its own runtime. PyTorch may execute
                code in a ``.pt2`` file: use only files that you trust.
            device: cuda, cuda:1, mps or cpu; None: the device in the training's config, or the CPU
                if that device is absent.
            opts: config keys and values, alternating, which replace those of the checkpoint.
            batch_size: see the class.

        Raises:
            UserError: the file is missing or damaged, or has no config; or a key or value of
                ``opts`` is wrong.
        """
        if Path(path).suffix in OPENERS:
            chosen = dict(zip(opts[::2], opts[1::2], strict=False)).get("MODEL.DEVICE", "cpu")
            exported = ExportedModel(Path(path), device or chosen, opts)
            if exported.cfg.MODEL.COMPILE:
                raise UserError(
                    f"--compile: {path} is an exported network, which can't be compiled"
                )
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
        overrides = list(opts)
        if device is not None:
            overrides += ["MODEL.DEVICE", device]
        cfg = stored_cfg(text, path, overrides)
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
            name: ``clipmask-street``, the bundled model; ``hf-hub:owner/name``; or the path of a
                folder or file, see ``clipmask.weights.names.find_weights``.
            device, opts, batch_size: as for ``from_checkpoint``.

        Raises:
            UserError: there is no such model, it can't be downloaded, or as for
                ``from_checkpoint``.
        """
        return cls.from_checkpoint(
            find_weights(os.fspath(name)), device, opts, batch_size=batch_size
        )

    @classmethod
    def from_config(
        cls, cfg: CfgNode | str | os.PathLike[str], *, batch_size: int = 1
    ) -> Predictor:
        """Makes a predictor from a config and the file of its MODEL.WEIGHTS.

        The class names come from that file. If it has none, as in files of Detectron2, they come
        from the config's dataset.

        Args:
            cfg: a config or its path.
            batch_size: see the class.

        Raises:
            UserError: MODEL.WEIGHTS is empty, the weights can't be read or don't fit, or there are
                no class names.
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
        """Sets the colours of classes for all later results, with any vocabulary.

        Args:
            colors: class name, or its first synonym -> [r, g, b], each 0..255; for example
                ``dataset_colors``. Other classes get colours of the palette.

        Raises:
            UserError: a colour does not have this form.
        """
        self._classes.set_colors(colors)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, in the order of their ids."""
        return self._classes.current.names

    @property
    def colors(self) -> list[list[int]]:
        """The colour [r, g, b], each 0..255, of each class.

        It is the one of ``set_colors``, or else depends on the class name and comes from a fixed
        palette (``clipmask.visualizer.palette``).
        """
        return self._classes.current.colors

    def set_vocabulary(
        self, names: Sequence[str] | Vocabulary, embeddings: str | None = None
    ) -> None:
        """Sets the classes of all later results.

        Args:
            names: the class names, ``a;b`` for synonyms; or a vocabulary, such as that of a
                dataset.
            embeddings: an .npz file with the CLIP embeddings of the names; None: they are computed
                by the CLIP model of the training. For names of the training, neither is needed.

        Raises:
            UserError: there are no names, or one is there twice; the model has a linear classifier;
                or there are no embeddings of a name.
        """
        self._classes.current = self._classes.of(Vocabulary.of(names).using(embeddings or ""))

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
            images: a picture: a path, bytes, an open file, a PIL image, an array or a tensor, see
                ``clipmask.inference.pixels.to_pixels``; or any iterable of pictures.
            text: one text or several that describe each of the pictures, for models that were
                trained with texts of images (MODEL.CLIP.TEXT annotation). None: the class names are
                used instead.
            vocabulary: the classes of this call, or their names; None: those of
                ``set_vocabulary``, or of the training. The embeddings of untrained names come from
                ``Vocabulary.embeddings``, else from the CLIP model of the training.
            scores: True: the results store their scores, see ``stream``.

        Returns:
            One result for one picture; for an iterable, a list in the same order.

        Raises:
            UserError: a file can't be read, or an object is not a picture; the model takes no
                texts; or the vocabulary can't be used, as for ``set_vocabulary``.
        """
        one = isinstance(images, str | bytes | Mapping) or hasattr(images, "read")
        one = one or (isinstance(images, np.ndarray | Tensor) and images.ndim < 4)
        # paths, PIL images, and objects that to_pixels refuses
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
        in_memory: bool = False,
        on_window: OnWindow = ignore_windows,
    ) -> Iterator[Segmentation]:
        """Segments pictures one after the other, with at most one batch of them in memory.

        With sliding windows, files of more than TEST.SLIDING_WINDOW.FROM_FILE_ABOVE pixels are read
        window by window, and their results are ``LargeSegmentation``.

        Args:
            images: as for a call; the iterable may be endless.
            on_error: a function that is called for each picture that can't be read, which is then
                left out; None: the error is raised.
            smoothing: for the frames of a film, in order: it averages the scores over time, for the
                labels and for the scores that are stored. Scores that are not stored are those of
                the single frame.
            text: as for a call.
            vocabulary: as for a call. A later ``set_vocabulary`` has no effect on this iterator.
            scores: True: the results store their scores, 4 bytes per class and pixel; without
                stored scores, ``Segmentation.scores`` runs the model again. Pictures are then in
                memory.
            in_memory: True: no picture is read window by window.
            on_window: a function that is called with the numbers of windows done and in all, while
                a picture is read window by window.

        Returns:
            An iterator over the results, in the order of the pictures.

        Raises:
            UserError: as for a call.
        """
        if text is not None and self.model.image_text is None:
            raise UserError(
                "this model takes no text of a picture: it was trained with MODEL.CLIP.TEXT"
                " vocabulary, not annotation. To set class names, use set_vocabulary"
            )
        classes = self._classes.of(vocabulary)
        extra: dict[str, Any] = {"vocabulary": classes.vocabulary}
        if text is not None:
            extra["text"] = text if isinstance(text, str) else list(text)
        segment = functools.partial(
            self._segment, smoothing=smoothing, extra=extra, scores=scores, classes=classes
        )
        segment_large = functools.partial(
            self._segment_large, extra=extra, classes=classes, on_window=on_window
        )
        wishes = {"a result with scores": scores, "a comparison": in_memory}
        whole = next((what for what, wished in wishes.items() if wished), "")
        return self._in_batches(images, segment, segment_large, whole, on_error)

    def size_in_parts(self, image: Picture) -> tuple[int, int] | None:
        """Returns the (H, W) of a picture that is read window by window; None for any other.

        Raises:
            UserError: the picture has more than INPUT.MAX_PIXELS pixels and can't be read so.
        """
        file = self._open_large(image)
        return None if file is None else (file.shape[0], file.shape[1])

    def _open_large(self, image: Picture, whole: str = "") -> PictureFile | None:
        return open_large(image, self._segmenter, self.cfg, self.image_format, whole)

    def _in_batches(
        self,
        images: Iterable[Picture],
        segment: Callable[[Sequence[tuple[str | None, NDArray[np.uint8]]]], Iterator[Segmentation]],
        segment_large: Callable[[PictureFile], Segmentation],
        whole: str,
        on_error: Callable[[Picture, UserError], object] | None,
    ) -> Iterator[Segmentation]:
        """Reads pictures, and segments successive pictures of the same size together."""
        batch: list[tuple[str | None, NDArray[np.uint8]]] = []
        for image in images:
            try:
                large = self._open_large(image, whole)
                if large is not None:
                    yield from segment(batch) if batch else ()
                    batch = []
                    result = segment_large(large)
                else:
                    pixels = to_pixels(image, self.image_format, self.cfg.INPUT.MAX_PIXELS)
            except UserError as error:
                if on_error is None:
                    raise
                on_error(image, error)
                continue
            if large is not None:
                yield result
                continue
            if batch and (len(batch) == self.batch_size or batch[0][1].shape != pixels.shape):
                yield from segment(batch)
                batch = []
            source = os.fspath(image) if isinstance(image, str | os.PathLike) else None
            batch.append((source, pixels))
            # a full batch does not wait for the next picture, which may come late from a camera
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
        extra: Mapping[str, Any],
        scores: bool,
        classes: Classes,
    ) -> Iterator[Segmentation]:
        """Segments a batch of pictures of one size, given by their sources and pixels."""
        inputs = [{**self._mapper.from_array(pixels), **extra} for _, pixels in batch]
        self._warn_of_size(*inputs[0]["image"].shape[1:])
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
            score = SecondRun(self._scores, pixels, extra)
            if scores:
                score = KeptScores(kept[index].float().cpu().numpy())
            yield Segmentation(
                shown(pixels),
                labels.cpu().numpy(),
                classes.names,
                classes.colors,
                source,
                score,
                self.server_ids,
                self.drawing,
            )

    def _segment_large(
        self,
        file: PictureFile,
        *,
        extra: Mapping[str, Any],
        classes: Classes,
        on_window: OnWindow,
    ) -> Segmentation:
        """Segments a picture that is read window by window."""
        segmenter = cast(ClipMaskWithViews, self._segmenter)
        stored = segment_file(segmenter, file, self._mapper, extra, on_window)
        return LargeSegmentation(
            cast(NDArray[np.uint8], ShownFile(file)),
            stored.mapped(),
            classes.names,
            classes.colors,
            os.fspath(file.path),
            NoScores(file),
            self.server_ids,
            self.drawing,
            _stored=stored,
        )

    @property
    def _device(self) -> str:
        """The type of the model's device; empty for an exported network."""
        return self.model.device.type if isinstance(self.model, ClipMask) else ""

    def _warn_of_size(self, height: int, width: int) -> None:
        """Logs a warning for the first large picture that is segmented as a whole."""
        windowed = (
            isinstance(self._segmenter, ClipMaskWithViews)
            and self._segmenter.views.window is not None
        )
        if windowed or self._warned_of_size or height * width <= LARGE:
            return
        self._warned_of_size = True
        logger.warning(
            "pictures of %dx%d pixels (width x height) are segmented as a whole, which takes time"
            " and memory; to avoid that, use --sliding-window (TEST.SLIDING_WINDOW.ENABLED True),"
            " or set INPUT.MIN_SIZE_TEST, such as 1024, to make them smaller",
            width,
            height,
        )

    def _scores(self, image: NDArray[np.uint8], extra: Mapping[str, Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs: Any = self._segmenter([{**self._mapper.from_array(image), **extra}])
        return outputs[0]["sem_seg"].float().cpu().numpy()
