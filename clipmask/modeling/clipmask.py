"""The meta-architecture: image and class names in, losses or class maps out (Fig. 1 of the paper).

``ClipMask.from_config`` builds the parts from a config. Each part has a ``from_config`` of its own
and a constructor that takes plain values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.config import configurable
from clipmask.d2 import META_ARCH_REGISTRY, MetadataCatalog, register_model
from clipmask.errors import UserError
from clipmask.losses.criterion import Criterion
from clipmask.losses.targets import LabelSpace, count_pairs
from clipmask.modeling.backbone import build_backbone, named_features
from clipmask.modeling.class_maps import class_scores, label_map, target_size
from clipmask.modeling.image_text import ImageText, padded_rows
from clipmask.modeling.label_space import class_columns, class_logits
from clipmask.modeling.layers import ceil_div
from clipmask.modeling.mask_decoder import DecoderOutput, LinearClassifier, MaskDecoder
from clipmask.modeling.pixel_decoder import PixelDecoder
from clipmask.modeling.text_embedding import TextEmbedding
from clipmask.validate import check_config
from clipmask.vocabulary import Vocabulary, different, union


@register_model
class ClipMask(nn.Module):
    """Semantic segmentation by mask classification, guided by CLIP's text embeddings of the class
    names.

    Build it from a config, ``ClipMask(cfg)``, or from its parts.

    Args:
        backbone: normalised images (B, 3, H, W) to ``res2`` .. ``res5``.
        text: holds T.
        pixel_decoder: features and T to injected scales and per-pixel embedding.
        mask_decoder: those and T to (class, mask) pairs.
        criterion: pairs and label maps to losses.
        vocabularies: of the datasets that it is trained on, different ones, at least one. The first
            is what images are segmented into that do not say otherwise.
        pixel_mean: of each channel, 0..255.
        pixel_std: of each channel.
        size_divisibility: images are padded to a multiple of it; at least the backbone's own.
        image_text: gathers the images' own texts for the injections; None: they take T.
        feature_names: our names, ``res2`` .. ``res5``, to those that the backbone has for them;
            None: the same.
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
        vocabularies: Sequence[Vocabulary],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int = 32,
        image_text: ImageText | None = None,
        feature_names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.feature_names = dict(feature_names or {})
        self.backbone, self.text = backbone, text
        self.pixel_decoder, self.mask_decoder, self.image_text = (
            pixel_decoder,
            mask_decoder,
            image_text,
        )
        self.criterion, self.size_divisibility = criterion, size_divisibility
        self.vocabularies, self.vocabulary = tuple(vocabularies), vocabularies[0]
        # of each vocabulary that was met, see ``class_columns``
        self._columns: dict[Vocabulary, Tensor | None] = {}
        self.register_buffer(
            "pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False
        )
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

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
            vocabularies: see the class; None takes them from the metadata of the training datasets,
                or of the first test dataset where none is trained on.
            text_width: D, where T will come with the weights; see ``TextEmbedding``.

        Raises:
            UserError: there are no class names, a key has a value outside its range, or a part
                complains.
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
            "mask_decoder": MaskDecoder.from_config(
                cfg, text.width, sum(len(space) for space in spaces)
            ),
            "criterion": Criterion.from_config(cfg, _ignore_label(cfg)),
            "vocabularies": spaces,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.MODEL.CLIPMASK.SIZE_DIVISIBILITY,
            "image_text": ImageText.from_config(cfg),
        }

    def forward(
        self, batched_inputs: list[dict[str, Any]], normalizer: Tensor | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Detectron2's interface.

        Args:
            batched_inputs: one dict an image. ``image``: (3, H, W), 0..255, uint8 or float,
                channels in the order of ``INPUT.FORMAT``. In training ``sem_seg``: (H, W) integer
                labels. In evaluation ``height`` and ``width``: size of the result, the image's own
                by default. With an ``image_text``, ``text``: a string or a list of strings, or
                missing. ``vocabulary``: a ``Vocabulary``, the classes of this image;
                ``self.vocabulary`` where it is missing. ``ignore_label``: void of its labels,
                likewise.
            normalizer: in training, (2,) float: the (image, class) pairs and the images that the
                loss sums are divided by; None counts this batch. See ``count_targets``.

        Returns:
            In training weighted scalar losses, see ``clipmask.losses.criterion``; else one
            ``{"sem_seg": (K, H, W)}`` an image, float32 scores on the model's device. Beside larger
            ones an image's scores differ a little: its features see zeros where they would see its
            edge, and where MAX_IMAGE_KEYS pools the keys of injections, by the factor that the
            largest image needs.
        """
        outputs = self.decode(batched_inputs)
        if self.training:
            labels = self._labels(batched_inputs)
            spaces = [self._label_space(inputs) for inputs in batched_inputs]
            return self.criterion(
                outputs.pred_logits, outputs.mask_embed, outputs.pixels, labels, normalizer, spaces
            )
        return [
            {"sem_seg": class_scores(*image)} for image in self._images(outputs, batched_inputs)
        ]

    @torch.no_grad()
    def predict_labels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """Predicts class ids alone; no float map of K x H x W is made.

        Args:
            batched_inputs: as for ``forward`` in evaluation, in which mode the model has to be.

        Returns:
            One (H, W) map an image, uint8 (int64 beyond 255 classes), ids into ``class_names``.
        """
        assert not self.training, (
            "call eval() first: predictions in training mode would not be the model's own"
        )
        return [
            label_map(*image) for image in self._images(self.decode(batched_inputs), batched_inputs)
        ]

    def decode(self, batched_inputs: list[dict[str, Any]]) -> DecoderOutput:
        """Predicts (class, mask) pairs, which ``forward`` makes losses or scores of.

        Args:
            batched_inputs: as for ``forward``; labels and the size of the result are not read.

        Returns:
            The predictions of all layers in training, of the last one in evaluation.
        """
        images, sizes = self._preprocess(batched_inputs)  # (B, 3, H, W), padded
        # res2 .. res5: (B, C_i, H / stride, W / stride)
        features = self._by_our_names(self.backbone(images))
        vocabularies = [self._vocabulary_of(inputs) for inputs in batched_inputs]
        rows = self._rows(vocabularies)  # each image's (S, D), centred
        # (S, D), or each image's own (B, S, D) and which of its rows are no padding
        T, valid = padded_rows(rows)
        texts, text_valid = T, valid
        if self.image_text is not None:
            texts, text_valid = self.image_text(batched_inputs, rows, self.text)
        outputs = self.mask_decoder(
            self.pixel_decoder(features, texts, sizes, text_valid), T, valid
        )
        columns = [self.columns_of(vocabulary) for vocabulary in vocabularies]
        counts = [len(vocabulary) for vocabulary in vocabularies]
        return replace(outputs, pred_logits=class_logits(outputs.pred_logits, columns, counts))

    def _vocabulary_of(self, inputs: dict[str, Any]) -> Vocabulary:
        """The classes of an image; the model's own vocabulary for the same classes, whatever else
        is known of them.
        """
        given: Vocabulary = inputs.get("vocabulary", self.vocabulary)
        if given is self.vocabulary or given.embeddings:
            return given
        return self.vocabulary if given.label_space == self.vocabulary.label_space else given

    def _rows(self, vocabularies: Sequence[Vocabulary]) -> list[Tensor]:
        """Each image's rows of T, (S, D); the same tensor for the same vocabulary."""
        T = self.text()  # (R, D)
        own = {
            vocabulary: self.text.select(T, vocabulary)
            for vocabulary in dict.fromkeys(vocabularies)
        }
        return [own[vocabulary] for vocabulary in vocabularies]

    def columns_of(self, vocabulary: Vocabulary) -> Tensor | None:
        """Says which columns of the decoder's logits make up each class, see ``class_columns``.

        Raises:
            UserError: the classifier is linear, and was not trained with these classes.
        """
        if vocabulary not in self._columns:
            columns = class_columns(vocabulary)
            if isinstance(self.mask_decoder.classifier, LinearClassifier):
                columns = self._head(vocabulary)
            self._columns[vocabulary] = columns
        columns = self._columns[vocabulary]
        if columns is not None and columns.device != self.device:
            self._columns[vocabulary] = columns = columns.to(self.device)
        return columns

    def _head(self, vocabulary: Vocabulary) -> Tensor | None:
        """The columns of a dataset's own classes in the linear classifier, which has those of all
        datasets in turn.
        """
        first = 0
        for trained in self.vocabularies:
            if trained.names == vocabulary.names:
                alone = len(self.vocabularies) == 1
                return None if alone else torch.arange(first, first + len(trained)).unsqueeze(1)
            first += len(trained)
        raise UserError(
            "this model was trained with MODEL.CLIPMASK.CLASSIFIER linear: its classes are fixed, "
            f"{', '.join(self.vocabulary.names)}. Train with CLASSIFIER cosine to change them later"
        )

    def _labels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """The label maps of training inputs on the model's device."""
        for inputs in batched_inputs:
            if "sem_seg" not in inputs:
                raise UserError(
                    f"a training input ({inputs.get('file_name', 'without a file_name')}) has no"
                    " 'sem_seg', the label map (H, W) of its image: train with a mapper that reads"
                    " sem_seg_file_name, on data that has it"
                )
        return [inputs["sem_seg"].to(self.device) for inputs in batched_inputs]

    def _label_space(self, inputs: dict[str, Any]) -> LabelSpace:
        return LabelSpace(
            len(self._vocabulary_of(inputs)),
            inputs.get("ignore_label", self.criterion.ignore_label),
        )

    def _by_our_names(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the backbone's maps as res2 .. res5, those that are used alone."""
        return (
            {ours: maps[theirs] for ours, theirs in self.feature_names.items()}
            if self.feature_names
            else dict(maps)
        )

    def _preprocess(
        self, batched_inputs: list[dict[str, Any]]
    ) -> tuple[Tensor, list[tuple[int, int]]]:
        """Normalises and pads at the bottom and right with zeros, which is the mean colour.

        Returns:
            (B, 3, H, W), and the images' sizes without padding, one entry where all are of one
            size.
        """
        images = [inputs["image"].to(self.device, non_blocking=True) for inputs in batched_inputs]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        divisor = self.divisor
        height, width = (
            ceil_div(max(size[axis] for size in sizes), divisor) * divisor for axis in (0, 1)
        )
        padded = [
            F.pad(
                (image.float() - self.pixel_mean).div_(self.pixel_std),
                (0, width - image.shape[2], 0, height - image.shape[1]),
            )
            for image in images
        ]
        batch = torch.stack(padded).contiguous(memory_format=torch.channels_last)
        return batch, sizes[:1] if len(set(sizes)) == 1 else sizes

    @property
    def divisor(self) -> int:
        """Both sides of a padded batch are multiples of it: of the config's SIZE_DIVISIBILITY and
        the backbone's.
        """
        return math.lcm(self.size_divisibility, getattr(self.backbone, "size_divisibility", 0) or 1)

    def _images(
        self, outputs: DecoderOutput, batched_inputs: list[dict[str, Any]]
    ) -> list[tuple[Tensor, Tensor, tuple[int, int], tuple[int, int]]]:
        """Per image the arguments of ``class_scores`` and ``label_map``: its own classes and its
        own cells.
        """
        masks = outputs.pred_masks
        sizes = outputs.sizes if len(outputs.sizes) > 1 else outputs.sizes * len(batched_inputs)
        arguments = []
        for index, (inputs, size) in enumerate(zip(batched_inputs, sizes, strict=True)):
            cells = masks[index, :, : ceil_div(size[0], 4), : ceil_div(size[1], 4)]
            logits = outputs.pred_logits[-1, index]
            count = len(self._vocabulary_of(inputs))
            if logits.shape[-1] > count + 1:  # another image of the batch has more classes
                logits = torch.cat([logits[:, :count], logits[:, -1:]], dim=-1)
            arguments.append((logits, cells, size, target_size(inputs)))
        return arguments

    def prepare(self) -> None:
        """Computes T now instead of at its first use, so that what can go wrong with it does so
        before training.

        Raises:
            UserError: CLIP can't be had, or a file of embeddings lacks a class name.
        """
        self.text.prepare()

    def count_targets(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """Counts what the losses are normalised by, on the device and without asking the host.

        Args:
            batched_inputs: training inputs.

        Returns:
            (2,) float: the matched (image, class) pairs and the images. Summed over the parts of an
            effective batch and divided by the number of processes (their gradients are averaged),
            it is the ``normalizer`` of each part.
        """
        labels = self._labels(batched_inputs)
        queries = self.mask_decoder.query.num_embeddings
        pairs = count_pairs(
            labels, [self._label_space(inputs) for inputs in batched_inputs], queries
        )
        return torch.stack([pairs, torch.full_like(pairs, len(labels))])

    def set_vocabulary(self, classes: Vocabulary | Sequence[str]) -> None:
        """Segments other classes from now on, with the weights as they are, where an image does not
        say otherwise.

        Args:
            classes: the new ones, or their names.

        Raises:
            UserError: the model has a linear classifier or learned a context for each class, and
                its classes are fixed; it learned its text, and the vocabulary has embeddings; the
                names can't be embedded, or at another width than the model's.
        """
        vocabulary = classes if isinstance(classes, Vocabulary) else Vocabulary.from_names(classes)
        self.check_vocabulary(vocabulary)
        self.vocabulary = vocabulary

    @torch.no_grad()
    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Makes sure that images can be segmented into these classes: what can go wrong does so
        here, and not later.

        Raises:
            UserError: see ``set_vocabulary``.
        """
        self.columns_of(vocabulary)
        self._rows([vocabulary])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of ``self.vocabulary``, in the order of class ids."""
        return self.vocabulary.names

    @property
    def ignore_label(self) -> int:
        """The id of void in training labels."""
        return self.criterion.ignore_label

    @property
    def device(self) -> torch.device:
        """Where the model is and its results will be."""
        return self.pixel_mean.device


def build_model(
    cfg: CfgNode,
    classes: Sequence[str] | Sequence[Vocabulary] | None = None,
    text_width: int | None = None,
) -> ClipMask:
    """Builds the meta-architecture that ``MODEL.META_ARCHITECTURE`` names, on the CPU.

    Args:
        cfg: the config.
        classes: class names, or the different vocabularies of several datasets; None takes them
            from the metadata of the config's datasets, see ``ClipMask.from_config``.
        text_width: likewise.

    Raises:
        UserError: the name is not registered, or see ``ClipMask.from_config``.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY or META_ARCH_REGISTRY.get(name).__module__.startswith(
        "detectron2."
    ):
        raise UserError(
            f"MODEL.META_ARCHITECTURE {name!r} is not registered by ClipMask or by you;"
            " configs/base.yaml sets ClipMask: start your config with _BASE_ and the path of that"
            " file"
        )
    # Other meta-architectures need not know of an argument that is not given.
    given: dict[str, Any] = {} if text_width is None else {"text_width": text_width}
    if classes:
        names = [item for item in classes if isinstance(item, str)]
        vocabularies = [item for item in classes if isinstance(item, Vocabulary)]
        given["vocabularies"] = vocabularies or [_named(cfg, names)]
    return META_ARCH_REGISTRY.get(name)(cfg, **given)


def configured_vocabularies(cfg: CfgNode) -> tuple[Vocabulary, ...]:
    """Returns the different vocabularies of DATASETS.TRAIN, of the first of DATASETS.TEST where
    nothing is trained.

    Raises:
        UserError: no dataset is named, or one has no class names.
    """
    found = []
    for name in cfg.DATASETS.TRAIN or cfg.DATASETS.TEST[:1]:
        metadata = MetadataCatalog.get(name).as_dict()
        if metadata.get("stuff_classes"):
            found.append(Vocabulary.from_metadata(metadata))
    if not found:
        raise UserError(
            f"no class names: DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} and DATASETS.TEST"
            f" {tuple(cfg.DATASETS.TEST)} name no dataset whose metadata has stuff_classes; set one"
            " of them"
        )
    return different(found)


def _named(cfg: CfgNode, names: Sequence[str]) -> Vocabulary:
    """The classes of these names, with what the config's dataset knows of them."""
    metadata = _metadata(cfg)
    known: dict[str, Any] = {
        key: metadata[key]
        for key in ("class_aliases", "class_prompts", "class_members")
        if key in metadata
    }
    return Vocabulary.from_metadata({**known, "stuff_classes": names})


def _ignore_label(cfg: CfgNode) -> int:
    label = _metadata(cfg).get("ignore_label")
    return 255 if label is None else label


def _metadata(cfg: CfgNode) -> dict[str, Any]:
    """Metadata of the dataset that defines the classes; empty where no dataset is named."""
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        return dict(MetadataCatalog.get(name).as_dict())
    return {}
