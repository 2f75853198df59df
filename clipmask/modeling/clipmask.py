"""The meta-architecture: image and class names in, losses or class maps out (Fig. 1 of the paper).

``ClipMask.from_config`` builds the parts from a config. Each part has a ``from_config`` of its own and a constructor
that takes plain values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from clipmask.config import configurable
from clipmask.d2 import META_ARCH_REGISTRY, MetadataCatalog
from clipmask.errors import UserError
from clipmask.losses.criterion import Criterion
from clipmask.losses.targets import count_pairs
from clipmask.modeling.backbone import build_backbone
from clipmask.modeling.class_maps import class_scores, label_map, target_size
from clipmask.modeling.image_text import ImageText
from clipmask.modeling.layers import ceil_div
from clipmask.modeling.mask_decoder import DecoderOutput, LinearClassifier, MaskDecoder
from clipmask.modeling.pixel_decoder import PixelDecoder
from clipmask.modeling.text_embedding import TextEmbedding
from clipmask.text.sources import FileSource, RandomSource, TextSource
from clipmask.validate import check_config


@META_ARCH_REGISTRY.register()
class ClipMask(nn.Module):
    """Semantic segmentation by mask classification, guided by CLIP's text embeddings of the class names.

    Build it from a config, ``ClipMask(cfg)``, or from its parts.

    Args:
        backbone: normalised images (B, 3, H, W) to ``res2`` .. ``res5``.
        text: holds T.
        pixel_decoder: features and T to injected scales and per-pixel embedding.
        mask_decoder: those and T to (class, mask) pairs.
        criterion: pairs and label maps to losses.
        pixel_mean: of each channel, 0..255.
        pixel_std: of each channel.
        size_divisibility: images are padded to a multiple of it; at least the backbone's own.
        image_text: gathers the images' own texts for the injections; None: they take T.
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
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int = 32,
        image_text: ImageText | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.text = backbone, text
        self.pixel_decoder, self.mask_decoder, self.image_text = pixel_decoder, mask_decoder, image_text
        self.criterion, self.size_divisibility = criterion, size_divisibility
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, class_names: Sequence[str] | None = None, text_width: int | None = None
    ) -> dict[str, Any]:
        """Returns the constructor's arguments.

        Args:
            cfg: the config.
            class_names: the vocabulary; None takes it from the metadata of the first training dataset, or of the first
                test dataset where none is trained on.
            text_width: D, where T will come with the weights; see ``TextEmbedding``.

        Raises:
            UserError: there are no class names, a key has a value outside its range, or a part complains.
        """
        check_config(cfg)
        metadata = _metadata(cfg)
        names = tuple(class_names or metadata.get("stuff_classes") or ())
        if not names:
            raise UserError(
                f"no class names: DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} and DATASETS.TEST "
                f"{tuple(cfg.DATASETS.TEST)} name no dataset whose metadata has stuff_classes; set one of them"
            )
        text = TextEmbedding.from_config(
            cfg, names, metadata.get("class_aliases"), text_width, metadata.get("class_prompts")
        )
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "text": text,
            "pixel_decoder": PixelDecoder.from_config(cfg, backbone.output_shape(), text.width),
            "mask_decoder": MaskDecoder.from_config(cfg, text.width, len(names)),
            "criterion": Criterion.from_config(cfg, metadata.get("ignore_label", 255)),
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
            batched_inputs: one dict an image. ``image``: (3, H, W), 0..255, uint8 or float, channels in the order of
                ``INPUT.FORMAT``. In training ``sem_seg``: (H, W) integer labels. In evaluation ``height`` and
                ``width``: size of the result, the image's own by default. With an ``image_text``, ``text``: a string
                or a list of strings, or missing.
            normalizer: in training, (2,) float: the (image, class) pairs and the images that the loss sums are divided
                by; None counts this batch. See ``count_targets``.

        Returns:
            In training weighted scalar losses, see ``clipmask.losses.criterion``; else one
            ``{"sem_seg": (K, H, W)}`` an image, float32 scores on the model's device. Beside larger ones an image's
            scores differ a little: its features see zeros where they would see its edge, and where MAX_IMAGE_KEYS
            pools the keys of injections, by the factor that the largest image needs.
        """
        outputs = self.decode(batched_inputs)
        if self.training:
            labels = [inputs["sem_seg"].to(self.device) for inputs in batched_inputs]
            return self.criterion(outputs.pred_logits, outputs.mask_embed, outputs.pixels, labels, normalizer)
        return [{"sem_seg": class_scores(*image)} for image in self._images(outputs, batched_inputs)]

    @torch.no_grad()
    def predict_labels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """Predicts class ids alone; no float map of K x H x W is made.

        Args:
            batched_inputs: as for ``forward`` in evaluation, in which mode the model has to be.

        Returns:
            One (H, W) map an image, uint8 (int64 beyond 255 classes), ids into ``class_names``.
        """
        assert not self.training, "call eval() first: predictions in training mode would not be the model's own"
        return [label_map(*image) for image in self._images(self.decode(batched_inputs), batched_inputs)]

    def decode(self, batched_inputs: list[dict[str, Any]]) -> DecoderOutput:
        """Predicts (class, mask) pairs, which ``forward`` makes losses or scores of.

        Args:
            batched_inputs: as for ``forward``; labels and the size of the result are not read.

        Returns:
            The predictions of all layers in training, of the last one in evaluation.
        """
        images, sizes = self._preprocess(batched_inputs)  # (B, 3, H, W), padded
        features = self.backbone(images)  # res2 .. res5: (B, C_i, H / stride, W / stride)
        T = self.text()  # (K, D), centred
        # (K, D), or each image's own (B, L, D) and which of its rows are no padding
        texts, text_valid = (T, None) if self.image_text is None else self.image_text(batched_inputs, T, self.text)
        return self.mask_decoder(self.pixel_decoder(features, texts, sizes, text_valid), T)

    def _preprocess(self, batched_inputs: list[dict[str, Any]]) -> tuple[Tensor, list[tuple[int, int]]]:
        """Normalises and pads at the bottom and right with zeros, which is the mean colour.

        Returns:
            (B, 3, H, W), and the images' sizes without padding, one entry where all are of one size.
        """
        images = [inputs["image"].to(self.device, non_blocking=True) for inputs in batched_inputs]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        divisor = self.divisor
        height, width = (ceil_div(max(size[axis] for size in sizes), divisor) * divisor for axis in (0, 1))
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
        """Both sides of a padded batch are multiples of it: of the config's SIZE_DIVISIBILITY and the backbone's."""
        return math.lcm(self.size_divisibility, getattr(self.backbone, "size_divisibility", 0) or 1)

    @staticmethod
    def _images(
        outputs: DecoderOutput, batched_inputs: list[dict[str, Any]]
    ) -> list[tuple[Tensor, Tensor, tuple[int, int], tuple[int, int]]]:
        """Per image the arguments of ``class_scores`` and ``label_map``; masks cut to the image's own cells."""
        masks = outputs.pred_masks
        sizes = outputs.sizes if len(outputs.sizes) > 1 else outputs.sizes * len(batched_inputs)
        arguments = []
        for index, (inputs, size) in enumerate(zip(batched_inputs, sizes, strict=True)):
            cells = masks[index, :, : ceil_div(size[0], 4), : ceil_div(size[1], 4)]
            arguments.append((outputs.pred_logits[-1, index], cells, size, target_size(inputs)))
        return arguments

    def prepare(self) -> None:
        """Computes T now instead of at its first use, so that what can go wrong with it does so before training.

        Raises:
            UserError: CLIP can't be had, or a file of embeddings lacks a class name.
        """
        self.text.prepare()

    def count_targets(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """Counts what the losses are normalised by, on the device and without asking the host.

        Args:
            batched_inputs: training inputs.

        Returns:
            (2,) float: the matched (image, class) pairs and the images. Summed over the parts of an effective batch and
            divided by the number of processes (their gradients are averaged), it is the ``normalizer`` of each part.
        """
        labels = [inputs["sem_seg"].to(self.device) for inputs in batched_inputs]
        queries = self.mask_decoder.query.num_embeddings
        pairs = count_pairs(labels, len(self.class_names), self.criterion.ignore_label, queries)
        return torch.stack([pairs, torch.full_like(pairs, len(labels))])

    def set_vocabulary(
        self,
        names: Sequence[str],
        embeddings: str | None = None,
        aliases: Mapping[str, Sequence[str]] | None = None,
        prompts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Segments other classes from now on, with the weights as they are.

        Args:
            names: the new class names; ``a;b`` averages synonyms.
            embeddings: an .npz to take them from (or ``random``); None uses what the model was built with.
            aliases: other names that a class may have in a file of embeddings, beside those the model knows of.
            prompts: sentences for CLIP that a class has in place of the config's, likewise.

        Raises:
            UserError: no names or one twice; the model has a linear classifier or learned a context for each class,
                and its classes are fixed; it learned its text, and embeddings are given; the names can't be embedded,
                or at another width than the model's.
        """
        if isinstance(names, str):
            raise UserError(f"a vocabulary is a list of names; got the text {names!r}: say {[names]}")
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"a vocabulary is a list of names, each a text; got {list(names)}")
        names = [name.strip() for name in names]
        if not names or "" in names or len(set(names)) < len(names):
            raise UserError(f"a vocabulary needs different, non-empty names; got {names}")
        if isinstance(self.mask_decoder.classifier, LinearClassifier):
            raise UserError(
                "this model was trained with MODEL.CLIPMASK.CLASSIFIER linear: its classes are fixed, "
                f"{', '.join(self.class_names)}. Train with CLASSIFIER cosine to change them later"
            )
        source: TextSource | None = None
        if embeddings is not None:
            source = RandomSource() if embeddings == "random" else FileSource(embeddings)
        anew = any(self.text.own_prompts.get(name) != texts for name, texts in (prompts or {}).items())
        self.text.aliases |= aliases or {}
        self.text.own_prompts |= prompts or {}
        self.text.set_vocabulary(names, source, anew=anew)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The vocabulary, in the order of class ids."""
        return self.text.names

    @property
    def ignore_label(self) -> int:
        """The id of void in training labels."""
        return self.criterion.ignore_label

    @property
    def device(self) -> torch.device:
        """Where the model is and its results will be."""
        return self.pixel_mean.device


def build_model(cfg: CfgNode, class_names: Sequence[str] | None = None, text_width: int | None = None) -> ClipMask:
    """Builds the meta-architecture that ``MODEL.META_ARCHITECTURE`` names, on the CPU.

    Args:
        cfg: the config.
        class_names: see ``ClipMask.from_config``.
        text_width: likewise.

    Raises:
        UserError: the name is not registered, or see ``ClipMask.from_config``.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY or META_ARCH_REGISTRY.get(name).__module__.startswith("detectron2."):
        raise UserError(
            f"MODEL.META_ARCHITECTURE {name!r} is not registered by ClipMask or by you; configs/base.yaml sets "
            "ClipMask: start your config with _BASE_ and the path of that file"
        )
    # Other meta-architectures need not know of an argument that is not given.
    width = {} if text_width is None else {"text_width": text_width}
    return META_ARCH_REGISTRY.get(name)(cfg, class_names=class_names, **width)


def _metadata(cfg: CfgNode) -> Mapping[str, Any]:
    """Metadata of the dataset that defines the classes, as a dict; empty where no dataset is named."""
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        return MetadataCatalog.get(name).as_dict()
    return {}
