"""The meta-architecture: from images and class names to losses or class maps (the paper's Fig. 1).

``ClipMask.from_config`` builds the parts from a config. Each part has a ``from_config`` of its own
and a constructor that takes plain values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.backbones.recompute import recompute_activations
from clipmask.backbones.registry import build_backbone, named_features
from clipmask.config import configurable
from clipmask.d2 import register_model
from clipmask.data.configured_classes import configured_ignore_label, configured_vocabularies
from clipmask.errors import UserError
from clipmask.losses.criterion import Criterion
from clipmask.losses.strays import StrayIds
from clipmask.losses.targets import LabelSpace, count_pairs
from clipmask.modeling.class_maps import STRIDE, class_scores, label_map, target_size
from clipmask.modeling.layers import ceil_div
from clipmask.modeling.mask_decoder import DecoderOutput, LinearClassifier, MaskDecoder
from clipmask.modeling.pixel_decoder import PixelDecoder
from clipmask.modeling.text_embedding import TextEmbedding
from clipmask.text.class_logits import ClassColumns, class_logits
from clipmask.text.image_text import ImageText, padded_rows
from clipmask.validate import check_config
from clipmask.visualizer.training_picture import draw_if_due
from clipmask.vocabulary import Vocabulary, union

Inputs = list[dict[str, Any]]  # a batch as Detectron2 gives it: one dict an image
ImageOutput = tuple[Tensor, Tensor, tuple[int, int], tuple[int, int]]


@register_model
class ClipMask(nn.Module):
    """Semantic segmentation by mask classification, guided by CLIP's embeddings of class names.

    Build it from a config, ``ClipMask(cfg)``, or from its parts.

    Args:
        backbone: normalised images (B, 3, H, W) to ``res2`` .. ``res5``.
        text: holds T.
        pixel_decoder: features and T to injected scales and per-pixel embedding.
        mask_decoder: the pixel decoder's result and T to (class, mask) pairs.
        criterion: pairs and label maps to losses.
        vocabularies: the different vocabularies of the training datasets, at least one; a list of
            names is read by ``Vocabulary.from_names``. Images that come without a vocabulary are
            segmented into the first.
        pixel_mean: mean of each channel, 0..255.
        pixel_std: standard deviation of each channel, 0..255.
        size_divisibility: images are padded to a multiple of it; at least the backbone's own.
        image_text: collects the images' own texts for the injections. None: the injections use T.
        feature_names: maps our names, ``res2`` .. ``res5``, to the backbone's names. None: they
            are the same.
        input_format: order of the images' channels, RGB or BGR, for code that reads or draws.
        vis_period: steps between pictures of a training sample in Detectron2's trainers; 0: none.
        recompute: see ``recompute_activations``.

    Raises:
        UserError: the backbone can't compute its stages again.
    """

    pixel_mean: Tensor  # (3, 1, 1)
    pixel_std: Tensor  # (3, 1, 1)

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        text: TextEmbedding,
        pixel_decoder: PixelDecoder,
        mask_decoder: MaskDecoder,
        criterion: Criterion,
        vocabularies: Sequence[Vocabulary | Sequence[str]],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int = 32,
        image_text: ImageText | None = None,
        feature_names: Mapping[str, str] | None = None,
        input_format: str = "RGB",
        vis_period: int = 0,
        recompute: str = "none",
    ) -> None:
        super().__init__()
        self.input_format, self.vis_period = input_format, vis_period
        self._strays = StrayIds()
        self.feature_names = dict(feature_names or {})
        self.backbone, self.text = backbone, text
        self.pixel_decoder, self.mask_decoder = pixel_decoder, mask_decoder
        self.image_text = image_text
        self.criterion, self.size_divisibility = criterion, size_divisibility
        self.vocabularies = tuple(map(Vocabulary.of, vocabularies))
        self.vocabulary = self.vocabularies[0]
        linear = isinstance(mask_decoder.classifier, LinearClassifier)
        self._columns = ClassColumns(self.vocabularies if linear else ())
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        recompute_activations(self, recompute)

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        vocabularies: Sequence[Vocabulary] | None = None,
        text_width: int | None = None,
    ) -> dict[str, Any]:
        """Returns the constructor's arguments.

        Args:
            cfg: the config.
            vocabularies: see the class; None: ``configured_vocabularies``.
            text_width: D, if T will be loaded with the weights; see ``TextEmbedding``.

        Raises:
            UserError: there are no class names, a key has a value outside its range, or a part
                can't be built.
        """
        check_config(cfg)
        spaces = tuple(vocabularies or configured_vocabularies(cfg))
        text = TextEmbedding.from_config(cfg, union(spaces), text_width)
        backbone = build_backbone(cfg)
        names_of, shapes = named_features(cfg, backbone), backbone.output_shape()
        return {
            "backbone": backbone,
            "feature_names": names_of,
            "text": text,
            "pixel_decoder": PixelDecoder.from_config(
                cfg, {ours: shapes[theirs] for ours, theirs in names_of.items()}, text.width
            ),
            "mask_decoder": MaskDecoder.from_config(cfg, text.width, sum(map(len, spaces))),
            "criterion": Criterion.from_config(cfg, configured_ignore_label(cfg)),
            "vocabularies": spaces,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.MODEL.CLIPMASK.SIZE_DIVISIBILITY,
            "image_text": ImageText.from_config(cfg),
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
            "recompute": cfg.SOLVER.ACTIVATION_CHECKPOINT,
        }

    def forward(
        self, batched_inputs: Inputs, normalizer: Tensor | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Computes losses in training and class scores in evaluation: Detectron2's interface.

        Args:
            batched_inputs: one dict per image. ``image``: (3, H, W), 0..255, uint8 or float,
                channels in the order of ``INPUT.FORMAT``. In training ``sem_seg``: (H, W) integer
                labels. In evaluation ``height`` and ``width``: size of the result, by default that
                of the image. Optional: ``text``, a string or a list of strings, read if there is an
                ``image_text``; ``vocabulary``, the classes of this image, by default
                ``self.vocabulary``; ``ignore_label``, the id of void in its labels, by default
                ``self.ignore_label``.
            normalizer: in training, (2,) float: the (image, class) pairs and the images by which
                the loss sums are divided; None: those of this batch. See ``count_targets``.

        Returns:
            In training weighted scalar losses, see ``clipmask.losses.criterion``; else one
            ``{"sem_seg": (K, H, W)}`` per image, float32 scores on the model's device.

        In a batch with larger images, the scores of an image differ a little from those that it has
        alone: the backbone sees zeros beyond the image instead of the edge of the batch, and the
        injections pool its keys by the factor of the largest image.
        """
        outputs = self.decode(batched_inputs)
        if self.training:
            labels, spaces = self._labels(batched_inputs)
            self._strays.check(batched_inputs, spaces)
            draw_if_due(
                self.vis_period,
                batched_inputs[0],
                lambda: label_map(*self._images(outputs, batched_inputs)[0]),
                self._vocabulary_of(batched_inputs[0]),
                spaces[0].ignore_label,
                self.input_format,
            )
            return self.criterion(
                outputs.pred_logits, outputs.mask_embed, outputs.pixels, labels, normalizer, spaces
            )
        images = self._images(outputs, batched_inputs)
        return [{"sem_seg": class_scores(*image)} for image in images]

    @torch.no_grad()
    def predict_labels(self, batched_inputs: Inputs) -> list[Tensor]:
        """Predicts class ids without making a float map of K x H x W.

        Args:
            batched_inputs: as for ``forward``; the model must be in evaluation mode.

        Returns:
            One (H, W) map per image, uint8 (int64 beyond 255 classes), ids into ``class_names``.
        """
        assert not self.training, "call eval() first: in training the predictions are not its own"
        images = self._images(self.decode(batched_inputs), batched_inputs)
        return [label_map(*image) for image in images]

    def decode(self, batched_inputs: Inputs) -> DecoderOutput:
        """Predicts (class, mask) pairs with all layers in training, else with the last one only.

        Args:
            batched_inputs: as for ``forward``; labels and the size of the result are not read.
        """
        images, sizes = self._preprocess(batched_inputs)  # (B, 3, H, W), padded
        features = self._features(images)
        vocabularies = [self._vocabulary_of(inputs) for inputs in batched_inputs]
        rows = self._rows(vocabularies)  # each image's (S, D), centred
        T = texts = padded_rows(rows)
        if self.image_text is not None:
            texts = self.image_text(batched_inputs, rows, self.text.encode_texts)
        outputs = self._decoded(features, sizes, texts, T)
        columns = [self.columns_of(vocabulary) for vocabulary in vocabularies]
        logits = class_logits(outputs.pred_logits, columns, list(map(len, vocabularies)))
        return replace(outputs, pred_logits=logits)

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        """Returns res2 .. res5, each (B, C_i, H / stride, W / stride)."""
        maps = self.backbone(images)
        return {ours: maps[theirs] for ours, theirs in self.feature_names.items()} or dict(maps)

    def _decoded(
        self,
        features: dict[str, Tensor],
        sizes: list[tuple[int, int]],
        texts: tuple[Tensor, Tensor | None],
        T: tuple[Tensor, Tensor | None],
    ) -> DecoderOutput:
        """Runs both decoders; ``texts`` and ``T`` are results of ``padded_rows``."""
        return self.mask_decoder(self.pixel_decoder(features, texts[0], sizes, texts[1]), *T)

    def compile_network(self, backend: str = "inductor") -> None:
        """Lets ``torch.compile`` compile the network at its first use on the device.

        The backbone and the decoders become one graph each, without a break. Losses and class maps
        are not compiled. The first size of pictures has a graph of its own, and a second size leads
        to a graph for every size; the first call takes a minute or more. Copies and pickles of the
        model are not compiled.

        Args:
            backend: of ``torch.compile``.
        """
        compiled = functools.partial(torch.compile, fullgraph=True, backend=backend)
        self._features = compiled(self._features)  # type: ignore[method-assign]
        self._decoded = compiled(self._decoded)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_features", "_decoded"):  # compiled code can be neither copied nor stored
            state.pop(name, None)
        return state

    def _apply(self, *args: Any, **kwargs: Any) -> ClipMask:
        """Moves or converts the model; the pixel statistics stay in 32 bits, because pictures are
        normalised before they are rounded to 16.
        """
        mean, std = self.pixel_mean, self.pixel_std
        super()._apply(*args, **kwargs)
        if self.pixel_mean.dtype != mean.dtype:
            self.pixel_mean, self.pixel_std = mean.to(self.device), std.to(self.device)
        return self

    def _vocabulary_of(self, inputs: dict[str, Any]) -> Vocabulary:
        """Returns an image's classes; if they equal the model's vocabulary, that same object."""
        given: Vocabulary = inputs.get("vocabulary", self.vocabulary)
        equal = not given.embeddings and given.label_space == self.vocabulary.label_space
        return self.vocabulary if equal else given

    def _rows(self, vocabularies: Sequence[Vocabulary]) -> list[Tensor]:
        """Each image's rows of T, (S, D); the same tensor for the same vocabulary."""
        T = self.text()  # (R, D)
        own = {each: self.text.select(T, each) for each in dict.fromkeys(vocabularies)}
        return [own[vocabulary] for vocabulary in vocabularies]

    def columns_of(self, vocabulary: Vocabulary) -> Tensor | None:
        """Returns which columns of the decoder's logits make up each class, see ``class_columns``.

        Raises:
            UserError: the classifier is linear, and was not trained with these classes.
        """
        return self._columns(vocabulary, self.device)

    def _labels(self, batched_inputs: Inputs) -> tuple[list[Tensor], list[LabelSpace]]:
        """The label maps of training inputs on the model's device, and how their ids are read."""
        spaces = []
        for inputs in batched_inputs:
            if "sem_seg" not in inputs:
                raise UserError(
                    f"a training input ({inputs.get('file_name', 'without a file_name')}) has no"
                    " 'sem_seg', the label map (H, W) of its image: train with a mapper that reads"
                    " sem_seg_file_name, on data that has it"
                )
            void = inputs.get("ignore_label", self.ignore_label)
            spaces.append(LabelSpace(len(self._vocabulary_of(inputs)), void))
        return [inputs["sem_seg"].to(self.device) for inputs in batched_inputs], spaces

    def _preprocess(self, batched_inputs: Inputs) -> tuple[Tensor, list[tuple[int, int]]]:
        """Normalises and pads at the bottom and right with zeros, which is the mean colour.

        Returns (B, 3, H, W) and the images' sizes without padding, one entry if all are equal.
        """
        images = [inputs["image"].to(self.device, non_blocking=True) for inputs in batched_inputs]
        for image, inputs in zip(images, batched_inputs, strict=True):
            if len(image) != len(self.pixel_mean):
                raise UserError(
                    f"image {inputs.get('file_name', '')} has {len(image)} channels, but the model"
                    f" takes {len(self.pixel_mean)}, one for each number of MODEL.PIXEL_MEAN"
                )
        if torch.jit.is_tracing():
            # A trace stores sizes as constants, so it must refuse images of other sizes.
            images = [image.expand([int(side) for side in image.shape]) for image in images]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        height, width = (
            ceil_div(max(sides), self.divisor) * self.divisor for sides in zip(*sizes, strict=True)
        )
        padded = []
        for image in images:
            border = (0, width - image.shape[2], 0, height - image.shape[1])
            padded.append(F.pad((image.float() - self.pixel_mean).div_(self.pixel_std), border))
        batch = torch.stack(padded).contiguous(memory_format=torch.channels_last)
        batch = batch.to(self.mask_decoder.query.weight.dtype)  # 16 bits after half()
        return batch, sizes[:1] if len(set(sizes)) == 1 else sizes

    @property
    def divisor(self) -> int:
        """Both sides of a batch are multiples of it: of SIZE_DIVISIBILITY and of the backbone's."""
        return math.lcm(self.size_divisibility, getattr(self.backbone, "size_divisibility", 0) or 1)

    def _images(self, outputs: DecoderOutput, batched_inputs: Inputs) -> list[ImageOutput]:
        """The arguments of ``class_scores`` and ``label_map`` for each image, without padding."""
        masks = outputs.pred_masks
        sizes = outputs.sizes if len(outputs.sizes) > 1 else outputs.sizes * len(batched_inputs)
        arguments = []
        for index, (inputs, size) in enumerate(zip(batched_inputs, sizes, strict=True)):
            cells = masks[index, :, : ceil_div(size[0], STRIDE), : ceil_div(size[1], STRIDE)]
            logits = outputs.pred_logits[-1, index]
            count = len(self._vocabulary_of(inputs))
            if logits.shape[-1] > count + 1:  # another image of the batch has more classes
                logits = torch.cat([logits[:, :count], logits[:, -1:]], dim=-1)
            target = size if self.training else target_size(inputs)
            arguments.append((logits, cells, size, target))
        return arguments

    def prepare(self) -> None:
        """Computes T now, so that its errors occur before training; see ``TextEmbedding``."""
        self.text.prepare()

    def count_targets(self, batched_inputs: Inputs) -> Tensor:
        """Counts the numbers by which losses are divided, on the device, without waiting for it.

        Args:
            batched_inputs: training inputs.

        Returns:
            (2,) float: the matched (image, class) pairs and the images. To get the ``normalizer``
            of an effective batch, sum it over all parts and divide by the number of processes,
            because their gradients are averaged.
        """
        labels, spaces = self._labels(batched_inputs)
        pairs = count_pairs(labels, spaces, self.mask_decoder.query.num_embeddings)
        return torch.stack([pairs, torch.full_like(pairs, len(labels))])

    def set_vocabulary(self, classes: Vocabulary | Sequence[str]) -> None:
        """Replaces the classes into which images are segmented; the weights stay as they are.

        Images that come with a ``vocabulary`` of their own are not affected.

        Args:
            classes: the new vocabulary, or its names.

        Raises:
            UserError: the classes are fixed, because the classifier is linear or a context was
                learned for each class; the text was learned, and the vocabulary comes with
                embeddings; the names can't be embedded, or only at another width than the model's.
        """
        vocabulary = Vocabulary.of(classes)
        self.check_vocabulary(vocabulary)
        self.vocabulary = vocabulary

    @torch.no_grad()
    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Checks that images can be segmented into these classes; raises as ``set_vocabulary``."""
        self.columns_of(vocabulary)
        self._rows([vocabulary])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of ``self.vocabulary``, in the order of class ids."""
        return self.vocabulary.names

    @property
    def ignore_label(self) -> int:
        """The id of void in the training labels."""
        return self.criterion.ignore_label

    @property
    def device(self) -> torch.device:
        """The device of the model and of its results."""
        return self.pixel_mean.device
