"""The start of a run: it finds its checkpoint, draws its seed, builds the model and loads it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from lightning_fabric import Fabric

from clipmask.config import dump_cfg
from clipmask.engine.assembly import (
    assemble,
    check_datasets,
    load_same_model,
    look_up_texts,
    start_from,
)
from clipmask.engine.channels import fit_channels
from clipmask.engine.folder import newest_checkpoint, set_aside
from clipmask.engine.random_state import draw_seed, seed_everything
from clipmask.engine.state import TrainingState, trained_weights
from clipmask.errors import UserError
from clipmask.weights.checkpoint import load_checkpoint, write_atomically
from clipmask.weights.licenses import License
from clipmask.weights.stored import differences

logger = logging.getLogger(__name__)


def prepare(
    cfg: CfgNode, fabric: Fabric, folder: Path, resume: bool
) -> tuple[TrainingState, Path | None]:
    """Seeds the run, builds its model, loads its first weights and writes config.yaml.

    Returns:
        The state, and the checkpoint that it was resumed from.
    """
    source, checkpoint = _resumed(fabric, folder) if resume else (None, None)
    cfg = _with_seed(cfg, fabric, checkpoint)
    seed_everything(cfg.SEED)
    vocabularies = check_datasets(cfg, fabric)
    weights = cfg.MODEL.WEIGHTS
    # no name for the loaded checkpoint, which would keep its memory
    cfg = fit_channels(cfg, checkpoint or (load_checkpoint(weights) if weights else None))
    model = assemble(cfg, fabric, vocabularies, str(source or cfg.MODEL.WEIGHTS), checkpoint)
    if checkpoint is not None:
        load_same_model(model, checkpoint, trained_weights(checkpoint), str(source))
    started: list[License] = []
    if checkpoint is None and cfg.MODEL.WEIGHTS:
        started = start_from(model, cfg.MODEL.WEIGHTS, cfg)
    # one process of a machine asks CLIP, the others find its cache
    with fabric.rank_zero_first(local=True):
        model.prepare()
        look_up_texts(cfg, model)
    state = TrainingState(cfg, model, fabric, cfg.SEED, started)
    if checkpoint is not None:
        state.restore(checkpoint)
        logger.info("resumed from %s, after step %d", source, state.iteration + 1)
        if changed := differences(checkpoint, cfg):
            logger.warning(
                "resumed with another config than the checkpoint's: %s", "; ".join(changed)
            )
        if state.iteration >= cfg.SOLVER.MAX_ITER:
            raise UserError(
                f"SOLVER.MAX_ITER {cfg.SOLVER.MAX_ITER}: {source} has {state.iteration + 1} steps"
                " behind it, and MAX_ITER counts from the beginning of the run: name more, or"
                " score it with --eval-only"
            )
    if fabric.is_global_zero:
        if checkpoint is None:
            set_aside(folder, dump_cfg(cfg))
        write_config(cfg, folder)
    _log_run(cfg, state)
    return state, source


def write_config(cfg: CfgNode, folder: Path) -> None:
    """Writes config.yaml, for people: a run goes on without it."""
    try:
        write_atomically(folder / "config.yaml", lambda file: file.write(dump_cfg(cfg).encode()))
    except UserError as error:
        logger.warning("%s", error)


def _resumed(fabric: Fabric, folder: Path) -> tuple[Path | None, dict[str, Any] | None]:
    """The checkpoint that a run goes on from, in every process; None, with a note, where there is
    none yet.
    """
    found, source = None, None
    if fabric.is_global_zero and (found := newest_checkpoint(folder)):
        source = found.path
    source = fabric.broadcast(source)
    if source is None:
        logger.info("--resume: %s has no checkpoint yet, starting from the beginning", folder)
        return None, None
    return source, found.checkpoint if found else load_checkpoint(source)


def _with_seed(cfg: CfgNode, fabric: Fabric, checkpoint: dict[str, Any] | None) -> CfgNode:
    """Returns a frozen config with the run's seed: the checkpoint's, else the config's, else one
    that is drawn.
    """
    seed = cfg.SEED
    if checkpoint is not None:
        seed = checkpoint.get("seed", seed)
        if 0 <= cfg.SEED != seed:
            logger.warning(
                "SEED %d: the resumed run keeps the seed it began with, %d", cfg.SEED, seed
            )
    if seed < 0:
        seed = draw_seed()
    seed = int(fabric.broadcast(seed))
    own = cfg.clone()
    own.defrost()
    own.SEED = seed
    own.freeze()
    return own


def _log_run(cfg: CfgNode, state: TrainingState) -> None:
    classes = max(len(vocabulary.names) for vocabulary in state.model.vocabularies)
    queries = cfg.MODEL.CLIPMASK.NUM_QUERIES
    if classes > queries:
        logger.warning(
            "MODEL.CLIPMASK.NUM_QUERIES %d: a picture can't show more classes than that, and there"
            " are %d",
            queries,
            classes,
        )
    parameters = [parameter for parameter in state.model.parameters() if parameter.requires_grad]
    logger.info(
        "training %s on %s, %d process(es) on %s: %.1f M trainable parameters, steps %d to %d of %d"
        " images, seed %d",
        cfg.MODEL.META_ARCHITECTURE,
        " + ".join(cfg.DATASETS.TRAIN),
        state.fabric.world_size,
        state.fabric.device.type,
        sum(parameter.numel() for parameter in parameters) / 1e6,
        state.iteration + 2,
        cfg.SOLVER.MAX_ITER,
        cfg.SOLVER.IMS_PER_BATCH,
        cfg.SEED,
    )
