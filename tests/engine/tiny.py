"""A segmenter and a dataset small enough to train in milliseconds, speaking the protocols of the
real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from PIL import Image
from torch import Tensor, nn

from clipmask.config import get_cfg
from clipmask.d2 import META_ARCH_REGISTRY, DatasetCatalog, MetadataCatalog
from clipmask.vocabulary import Vocabulary

CLASSES = ("sky", "road", "car")
IGNORE = 255


@META_ARCH_REGISTRY.register()
class TinySegmenter(nn.Module):
    """Per-pixel classification; its losses are normalised as ClipMask's are. A white image makes
    its loss nan.
    """

    def __init__(self, cfg: CfgNode, vocabularies: Sequence[Vocabulary] | None = None) -> None:
        super().__init__()
        self.vocabularies = tuple(vocabularies or [Vocabulary.from_names(CLASSES)])
        self.vocabulary = self.vocabularies[0]
        self.class_names = self.vocabulary.names
        self.ignore_label = IGNORE
        norm = nn.BatchNorm2d(8) if cfg.MODEL.BACKBONE.NORM == "BN" else nn.Identity()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU())
        self.norm = nn.LayerNorm(8)
        self.query = nn.Embedding(len(self.class_names), 8)
        self.dropout = nn.Dropout(cfg.MODEL.CLIPMASK.DROPOUT)
        self.head = nn.Linear(8, 8)
        self.register_buffer("index", torch.arange(37, 42))

    def _logits(self, batch: list[dict]) -> Tensor:
        images = (
            torch.stack([sample["image"].to(self.index.device) for sample in batch]).float() / 255
        )
        pixels = self.head(self.dropout(self.norm(self.backbone(images).permute(0, 2, 3, 1))))
        return (pixels @ self.query.weight.t()).permute(0, 3, 1, 2)  # (B, K, H, W)

    def forward(
        self, batch: list[dict], normalizer: Tensor | None = None
    ) -> dict[str, Tensor] | list[dict]:
        logits = self._logits(batch)
        if not self.training:
            sizes = [
                (s.get("height", s["image"].shape[1]), s.get("width", s["image"].shape[2]))
                for s in batch
            ]
            return [
                {"sem_seg": F.interpolate(x[None], z)[0]}
                for x, z in zip(logits, sizes, strict=True)
            ]
        pairs, images = self.count_targets(batch) if normalizer is None else normalizer
        labels = torch.stack([sample["sem_seg"] for sample in batch]).to(logits.device).long()
        cls = (
            F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
            .mean((1, 2))
            .sum()
            / images
        )
        present = F.one_hot(labels.clamp(max=len(self.class_names)), len(self.class_names) + 1)[
            ..., :-1
        ]
        bce = F.binary_cross_entropy_with_logits(
            logits.float(), present.permute(0, 3, 1, 2).float(), reduction="none"
        ).mean((2, 3))
        poison = torch.stack(
            [torch.where(s["image"].float().mean() > 254, torch.nan, 0.0) for s in batch]
        ).sum()
        bce = (bce * present.any(2).any(1)).sum() / pairs + poison.to(bce.device)
        return {"loss_cls": cls, "loss_bce": bce}

    def prepare(self) -> None:
        """Has nothing to compute before training."""

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Takes any: it has no text."""

    def count_targets(self, batch: list[dict]) -> Tensor:
        pairs = sum(len(set(s["sem_seg"].unique().tolist()) - {IGNORE}) for s in batch)
        return torch.tensor([float(pairs), float(len(batch))])

    @torch.no_grad()
    def predict_labels(self, batch: list[dict]) -> list[Tensor]:
        return [output["sem_seg"].argmax(0).byte() for output in self(batch)]


def make_batch(count: int, seed: int = 0, size: tuple[int, int] = (8, 12)) -> list[dict]:
    """Mapped training samples of random pixels."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "file_name": f"image{index}.png",
            "image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8),
            "sem_seg": torch.randint(
                0, 1 + index % 3, size, generator=generator, dtype=torch.uint8
            ),
        }
        for index in range(count)
    ]


def write_dataset(root: Path, count: int = 5, size: tuple[int, int] = (24, 32)) -> None:
    """Writes images whose colour bands are their labels, train/ and val/."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            labels = np.sort(generator.integers(0, len(CLASSES), size), axis=0).astype(np.uint8)
            labels[0, :3] = IGNORE
            colors = np.array([[90, 140, 220], [90, 90, 90], [200, 60, 40]])[labels % len(CLASSES)]
            image = np.clip(colors + generator.normal(0, 12, colors.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / split / f"{index}.png")
            Image.fromarray(labels).save(root / split / f"{index}_labels.png")


def register(root: Path, classes: tuple[str, ...] = CLASSES, prefix: str = "tiny") -> None:
    """Registers what ``write_dataset`` wrote as ``{prefix}_train`` and ``{prefix}_val``."""
    for split in ("train", "val"):
        files = sorted((Path(root) / split).glob("*_labels.png"))
        records = [
            {
                "file_name": str(path).replace("_labels", ""),
                "sem_seg_file_name": str(path),
                "height": 24,
                "width": 32,
            }
            for path in files
        ]
        name = f"{prefix}_{split}"
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
            MetadataCatalog.pop(name, None)
        DatasetCatalog.register(name, lambda records=records: [dict(record) for record in records])
        MetadataCatalog.get(name).set(
            stuff_classes=list(classes),
            stuff_colors=[[90, 140, 220], [90, 90, 90], [200, 60, 40]][: len(classes)],
            ignore_label=IGNORE,
            evaluator_type="sem_seg",
        )


def tiny_cfg(folder: Path | str, *opts: object) -> CfgNode:
    """A config that trains ``TinySegmenter`` on the tiny dataset for six steps."""
    cfg = get_cfg()
    cfg.merge_from_list([*settings(folder), *opts])
    return cfg


def settings(folder: Path | str) -> list[object]:
    """KEY VALUE pairs of ``tiny_cfg``."""
    values = {
        "MODEL.META_ARCHITECTURE": "TinySegmenter",
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NORM": "FrozenBN",
        "DATASETS.TRAIN": ("tiny_train",),
        "DATASETS.TEST": ("tiny_val",),
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.FORMAT": "RGB",
        "INPUT.MIN_SIZE_TRAIN": (0,),
        "INPUT.MIN_SIZE_TEST": 0,
        "INPUT.CROP.ENABLED": True,
        "INPUT.CROP.TYPE": "absolute",
        "INPUT.CROP.SIZE": [12, 12],
        "INPUT.SCALE_RANGE": [1.0, 1.5],
        "SOLVER.MAX_ITER": 6,
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.BASE_LR": 0.01,
        "SOLVER.LR_SCHEDULER_NAME": "WarmupPolyLR",
        "SOLVER.WARMUP_ITERS": 2,
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
        "SOLVER.LOG_PERIOD": 2,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "TEST.NUM_PICTURES": 1,
        "SEED": 7,
        "OUTPUT_DIR": str(folder),
    }
    return [item for pair in values.items() for item in pair]
