"""The predictor, which applies a trained model to pictures of any kind and size."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from fvcore.common.config import CfgNode
from torch import Tensor

from clipmask.config import load_cfg
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.picture_file import PictureFile
from clipmask.errors import UserError
from clipmask.inference import trained
from clipmask.inference.classes import ChosenClasses
from clipmask.inference.exported import ExportedModel
from clipmask.inference.from_file import OnWindow, ignore_windows, open_large
from clipmask.inference.pixels import Picture, to_pixels
from clipmask.inference.segmentation import Segmentation
from clipmask.inference.segmenter import Request, Segmenter, Smoothing
from clipmask.inference.stream import ReadPicture, raise_error, segment_stream
from clipmask.modeling import ClipMask
from clipmask.visualizer import Drawing
from clipmask.vocabulary import Vocabulary
from clipmask.weights.licenses import License
from clipmask.weights.names import find_weights


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
        self._segmenter = Segmenter(cfg, self.model)
        self.image_format, self.licenses = image_format, tuple(licenses)
        classes = model.vocabulary.classes
        self.dataset_colors = {
            item.term.text: list(item.color) for item in classes if item.color is not None
        }
        self.server_ids = {
            item.term.text: item.server_id for item in classes if item.server_id is not None
        }
        self._classes = ChosenClasses(model, cfg.MODEL.CLIP.EMBEDDINGS == "random")
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
        return cls._of(trained.from_file(Path(path), device, opts), batch_size)

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
        own = cfg.clone() if isinstance(cfg, CfgNode) else load_cfg(Path(cfg))
        return cls._of(trained.from_config(own), batch_size)

    @classmethod
    def _of(cls, source: trained.TrainedModel, batch_size: int) -> Predictor:
        return cls(
            source.cfg,
            source.model,
            image_format=source.image_format,
            licenses=source.licenses,
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
        if one:
            return next(results)
        return list(results)

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
        inputs: dict[str, Any] = {"vocabulary": classes.vocabulary}
        if text is not None:
            inputs["text"] = text if isinstance(text, str) else list(text)
        request = Request(
            classes, inputs, scores, smoothing, on_window, self.server_ids, self.drawing
        )
        needs_whole = ""
        if scores:
            needs_whole = "a result with scores"
        elif in_memory:
            needs_whole = "a comparison"
        return segment_stream(
            images,
            functools.partial(self._read, needs_whole=needs_whole),
            functools.partial(self._segmenter.segment, request=request),
            functools.partial(self._segmenter.segment_file, request=request),
            self.batch_size,
            on_error or raise_error,
        )

    def size_in_parts(self, image: Picture) -> tuple[int, int] | None:
        """Returns the (H, W) of a picture that is read window by window; None for any other.

        Raises:
            UserError: the picture has more than INPUT.MAX_PIXELS pixels and can't be read so.
        """
        file = self._open_large(image)
        if file is None:
            return None
        return file.shape[0], file.shape[1]

    def _open_large(self, image: Picture, needs_whole: str = "") -> PictureFile | None:
        model = self._segmenter.model
        return open_large(image, model, self.cfg, self.image_format, needs_whole)

    def _read(self, image: Picture, needs_whole: str) -> ReadPicture | PictureFile:
        large = self._open_large(image, needs_whole)
        if large is not None:
            return large
        source = os.fspath(image) if isinstance(image, str | os.PathLike) else None
        return ReadPicture(source, to_pixels(image, self.image_format, self.cfg.INPUT.MAX_PIXELS))
