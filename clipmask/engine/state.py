"""The state of a run between two steps, and how checkpoints store and restore it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any, cast

import torch
from fvcore.common.config import CfgNode
from lightning_fabric import Fabric

from clipmask.config import dump_cfg
from clipmask.d2 import MetadataCatalog
from clipmask.data.image_format import ImageFormat
from clipmask.engine.ema import WeightAverage
from clipmask.engine.meter import Meter
from clipmask.engine.optimizer import build_optimizer, build_scheduler, restore_optimizer
from clipmask.engine.random_state import get_random_state, seed_everything, set_random_state
from clipmask.engine.sharding import (
    WholeCopy,
    shared_optimizer_state,
    whole_optimizer,
    whole_shapes,
)
from clipmask.engine.stop import Wishes
from clipmask.errors import UserError
from clipmask.evaluation.server_ids import server_ids
from clipmask.modeling import ClipMask
from clipmask.vocabulary import Vocabulary
from clipmask.weights.licenses import (
    License,
    backbone_licenses,
    checkpoint_licenses,
    data_licenses,
    joined,
    plain,
)
from clipmask.weights.stored import stored_values

logger = logging.getLogger(__name__)


class TrainingState:
    """Model, optimiser, schedule, average, meter and position of a run.

    Args:
        cfg: SOLVER is read here; the config's text goes into checkpoints.
        model: with its first weights loaded; ``fabric.setup`` takes it to the device.
        fabric: launched.
        seed: of the run.
        started: licences of the checkpoint that the first weights were loaded from; empty if there
            was no checkpoint.

    Attributes:
        model: the bare model.
        module: the model as the processes share it: what training calls.
        iteration: the last finished step, 0-based; -1 before the first.
        samples: the number of samples trained on so far, in the order of the loader.
        images: of the training set; None before it is known.
        wishes: requests of this process to stop or save; a step collects those of all processes.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: ClipMask,
        fabric: Fabric,
        seed: int,
        started: Sequence[License] = (),
    ) -> None:
        self.cfg, self.model, self.fabric, self.seed = cfg, model, fabric, seed
        self._copy: WholeCopy | None = None
        self.optimizer: Any
        model.to(fabric.device)
        if fabric.world_size > 1 and cfg.SOLVER.STRATEGY == "fsdp":
            self._copy = WholeCopy(model)
            self.module = fabric.setup_module(model)  # first: other weights take their place
            optimizer = build_optimizer(cfg, model)
            self.optimizer = fabric.setup_optimizers(optimizer)
        else:
            optimizer = build_optimizer(cfg, model)
            self.module, self.optimizer = fabric.setup(model, optimizer)
        self._optimizer = optimizer
        self.scheduler = build_scheduler(cfg, optimizer)
        self.average: WeightAverage | None = None
        self.meter = Meter()
        self.iteration = -1
        self.samples = 0
        self.images: int | None = None
        self.wishes = Wishes()
        self.licenses = joined(
            [*data_licenses(cfg.DATASETS.TRAIN), *(started or backbone_licenses(cfg))]
        )
        seed_everything(seed + 1 + fabric.global_rank)  # processes draw their own dropout

    @property
    def whole_model(self) -> ClipMask:
        """The model in training, as one process may call it by itself.

        Where the weights are shared out, this is a whole copy, and all processes must ask for it
        after the same step.
        """
        if self._copy is None:
            return self.model
        self._copy.refresh(self.model, self.iteration)
        return cast(ClipMask, self._copy.model)

    @property
    def evaluated_model(self) -> ClipMask:
        """The model whose scores count: the averaged one, once there is one; see
        ``whole_model``.
        """
        if self.average is None:
            return self.whole_model
        return self.average.model

    @contextlib.contextmanager
    def evaluated_on_device(self) -> Iterator[ClipMask]:
        """Gives ``evaluated_model`` on the run's device; a whole copy leaves it afterwards."""
        model = self.evaluated_model
        if self._copy is None:
            yield model
            return
        yield model.to(self.fabric.device)
        model.cpu()

    def update_average(self) -> None:
        """Takes a finished step into the average. It begins after the first, when all buffers have
        their shapes.
        """
        if self.cfg.SOLVER.EMA_DECAY <= 0:
            return
        if self.average is None:
            self.average = WeightAverage(self.model, self.cfg.SOLVER.EMA_DECAY)
        self.average.update(self.model)

    def weights(self) -> dict[str, Any]:
        """Returns what evaluation needs of a checkpoint: the weights that count and what they
        belong to.
        """
        return {
            "model": self.evaluated_model.state_dict(),
            "iteration": self.iteration,
            "seed": self.seed,
            "config": dump_cfg(self.cfg),
            "class_names": list(self.model.vocabularies[0].names),
            "licenses": plain(self.licenses),
            "metadata": _plain_metadata(self.cfg.DATASETS.TRAIN[0], self.model.vocabularies),
            "versions": _versions(),
        }

    def checkpoint(self) -> dict[str, Any]:
        """Returns the content of a training checkpoint; every process must call it."""
        ema = None
        if self.average is not None:
            ema = {"updates": self.average.updates, "trained": self.model.state_dict()}
        return {
            **self.weights(),
            "ema": ema,
            "optimizer": self._optimizer_state(),
            "scheduler": self.scheduler.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "meter": self.meter.state_dict(),
            "samples": self.samples,
            "images": self.images,
            "rng": gather(self.fabric, get_random_state()),
        }

    def _optimizer_state(self) -> dict[str, Any]:
        if self._copy is None:
            return self._optimizer.state_dict()
        shapes = whole_shapes(self._optimizer, self.model, self._copy.model)
        return whole_optimizer(self._optimizer, shapes, keep=self.fabric.is_global_zero)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Continues from a training checkpoint whose ``trained_weights`` the model already has.

        Raises:
            UserError: it is no training checkpoint, or of another model.
        """
        missing = {"optimizer", "scheduler", "meter", "rng", "iteration"} - checkpoint.keys()
        if missing:
            raise UserError(
                f"--resume: the last checkpoint holds no {', '.join(sorted(missing))}, so training"
                " can't continue from it; start a new run from its weights with MODEL.WEIGHTS"
            )
        moments = checkpoint["optimizer"]
        if self._copy is not None:
            moments = shared_optimizer_state(self._optimizer, moments)
        restore_optimizer(self._optimizer, self.scheduler, moments, checkpoint["scheduler"])
        self.fabric.strategy.precision.load_state_dict(checkpoint.get("precision", {}))
        self.meter.load_state_dict(checkpoint["meter"], self.fabric.device)
        self.iteration = checkpoint["iteration"]
        self.samples, self.images = _position(checkpoint), checkpoint.get("images")
        self.licenses = joined(
            [*checkpoint_licenses(checkpoint), *data_licenses(self.cfg.DATASETS.TRAIN)]
        )
        ema = checkpoint.get("ema")
        if ema is not None and self.cfg.SOLVER.EMA_DECAY > 0:
            self.average = WeightAverage(self.model, self.cfg.SOLVER.EMA_DECAY)
            self.average.restore(checkpoint["model"], ema["updates"])
        states = checkpoint["rng"]
        if len(states) == self.fabric.world_size:
            set_random_state(states[self.fabric.global_rank])
            return
        logger.warning(
            "resumed with %d process(es) instead of %d: the random states start anew from the seed",
            self.fabric.world_size,
            len(states),
        )
        seed_everything(
            self.seed + 1 + self.fabric.global_rank + self.fabric.world_size * (self.iteration + 1)
        )


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns the weights that training continues from: those in training, not their average."""
    ema = checkpoint.get("ema")
    if ema is None:
        return checkpoint["model"]
    return ema["trained"]


def _position(checkpoint: dict[str, Any]) -> int:
    """How many samples a run had trained on; earlier checkpoints tell their steps and batch
    size.
    """
    if "samples" in checkpoint:
        return int(checkpoint["samples"])
    batch = stored_values(checkpoint).get("SOLVER.IMS_PER_BATCH")
    if not isinstance(batch, int):
        raise UserError(
            "--resume: the last checkpoint says neither its samples nor its batch size; start a new"
            " run from its weights with MODEL.WEIGHTS"
        )
    return (int(checkpoint["iteration"]) + 1) * batch


def gather(fabric: Fabric, value: Any) -> list[Any]:
    """Returns the plain Python ``value`` of every process, in the order of their ranks."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def _plain_metadata(dataset: str, vocabularies: Sequence[Vocabulary]) -> dict[str, Any]:
    """What a checkpoint says of its classes: void of the first dataset, and what vocabularies
    consist of.

    Args:
        dataset: the first of DATASETS.TRAIN.
        vocabularies: its own, and those of the other datasets.
    """
    metadata, others = vocabularies[0].metadata(), vocabularies[1:]
    del metadata["stuff_classes"]  # they stand beside the metadata
    ids = server_ids(dataset)
    metadata["ignore_label"] = int(MetadataCatalog.get(dataset).get("ignore_label", 255))
    metadata |= ImageFormat.from_metadata(MetadataCatalog.get(dataset)).as_metadata()
    if ids is not None:
        metadata["server_ids"] = ids
    if others:
        metadata["vocabularies"] = [vocabulary.metadata() for vocabulary in others]
    return metadata


def _versions() -> dict[str, str]:
    versions = {"python": python_version()}
    for package in (
        "clipmask",
        "torch",
        "torchvision",
        "timm",
        "open_clip_torch",
        "lightning-fabric",
    ):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # run from a checkout that was not installed
    return versions
