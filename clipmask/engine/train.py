"""Training: the loop and what happens around a step."""

from __future__ import annotations

import logging
import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from lightning_fabric import Fabric

from clipmask.config import dump_cfg
from clipmask.data import build_train_loader
from clipmask.engine.assembly import assemble, check_datasets, load_same_model, look_up_texts, start_from
from clipmask.engine.evaluation import Results, check_expected, evaluate_datasets, flatten, log_tables, score_name
from clipmask.engine.launch import is_main_process, launched
from clipmask.engine.log import run_log
from clipmask.engine.pictures import draw_pictures, draw_sample
from clipmask.engine.random_state import draw_seed, preserved_random_state, seed_everything
from clipmask.engine.state import TrainingState, gather, trained_weights
from clipmask.engine.step import StepResult, training_step
from clipmask.engine.writers import RunWriters
from clipmask.errors import UserError
from clipmask.weights.checkpoint import LAST, last_checkpoint, load_checkpoint, save_checkpoint, write_atomically

logger = logging.getLogger(__name__)

MAX_FAILED_STEPS = 5  # in a row; then the run stops


def train(cfg: CfgNode, *, resume: bool = False, num_gpus: int = 1, num_machines: int = 1) -> Results:
    """Trains, evaluates and saves a model as the config says.

    The folder OUTPUT_DIR then holds config.yaml, log.txt, metrics.json, TensorBoard's events, model_0000999.pth ...,
    model_final.pth, model_best.pth (the best mIoU on the first test dataset), last_checkpoint, pictures/ and
    inference/.

    Args:
        cfg: the config.
        resume: continue from OUTPUT_DIR's last checkpoint, exactly as if the run had not stopped.
        num_gpus: devices (on a CPU: processes) per machine.
        num_machines: machines; each runs this.

    Returns:
        Dataset to ``{"sem_seg": {...}}`` of the last evaluation, in the main process.

    Raises:
        UserError: the config, the data or a checkpoint is not usable, or training met no finite loss any more.
    """
    folder = Path(cfg.OUTPUT_DIR)
    with run_log(folder, is_main_process()), launched(cfg, num_gpus, num_machines) as fabric:
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
        state = _prepare(cfg, fabric, folder, resume)
        run = _Run(state, folder)
        try:
            run.loop()
            return run.finish()
        except KeyboardInterrupt:
            last = last_checkpoint(folder)
            logger.warning(
                "interrupted after step %d of %d; %s", state.iteration + 1, cfg.SOLVER.MAX_ITER,
                f"--resume continues from {last}" if last else "there is no checkpoint to resume from yet",
            )  # fmt: skip
            raise
        finally:
            run.close()


def _prepare(cfg: CfgNode, fabric: Fabric, folder: Path, resume: bool) -> TrainingState:
    """Seeds, builds the model and loads what it starts from; the config that the run goes by is written down."""
    source = fabric.broadcast(last_checkpoint(folder) if resume else None)
    if resume and source is None:
        logger.info("--resume: %s has no checkpoint yet, starting from the beginning", folder)
    checkpoint = load_checkpoint(source) if source else None
    cfg = _with_seed(cfg, fabric, checkpoint)
    seed_everything(cfg.SEED)
    vocabularies = check_datasets(cfg, fabric)
    model = assemble(cfg, fabric, vocabularies, str(source or cfg.MODEL.WEIGHTS), checkpoint)
    if checkpoint is not None:
        load_same_model(model, checkpoint, trained_weights(checkpoint), str(source))
    elif cfg.MODEL.WEIGHTS:
        start_from(model, cfg.MODEL.WEIGHTS, cfg.MODEL.CLIP)
    with fabric.rank_zero_first(local=True):  # one process of a machine asks CLIP, the others find its cache
        model.prepare()
        look_up_texts(cfg, model)
    state = TrainingState(cfg, model, fabric, cfg.SEED)
    if checkpoint is not None:
        state.restore(checkpoint)
        logger.info("resumed from %s, after step %d", source, state.iteration + 1)
    if fabric.is_global_zero:
        if checkpoint is None and (folder / LAST).is_file():
            logger.warning(
                "%s holds an earlier run, which this one replaces from its first step on; --resume would have "
                "continued it",
                folder,
            )
        write_atomically(folder / "config.yaml", lambda file: file.write(dump_cfg(cfg).encode()))
    _log_run(cfg, state)
    return state


def _with_seed(cfg: CfgNode, fabric: Fabric, checkpoint: dict[str, Any] | None) -> CfgNode:
    """Returns a frozen config with the run's seed: the checkpoint's, else the config's, else one that is drawn."""
    seed = cfg.SEED
    if checkpoint is not None:
        seed = checkpoint.get("seed", seed)
        if 0 <= cfg.SEED != seed:
            logger.warning("SEED %d: the resumed run keeps the seed it began with, %d", cfg.SEED, seed)
    seed = int(fabric.broadcast(draw_seed() if seed < 0 else seed))
    own = cfg.clone()
    own.defrost()
    own.SEED = seed
    own.freeze()
    return own


def _log_run(cfg: CfgNode, state: TrainingState) -> None:
    parameters = [parameter for parameter in state.model.parameters() if parameter.requires_grad]
    logger.info(
        "training %s on %s, %d process(es) on %s: %.1f M trainable parameters, steps %d to %d of %d images, seed %d",
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


def _due(iteration: int, period: int) -> bool:
    return period > 0 and (iteration + 1) % period == 0


class _Run:
    """A run from its current step to its end."""

    def __init__(self, state: TrainingState, folder: Path) -> None:
        self.state, self.cfg, self.fabric, self.folder = state, state.cfg, state.fabric, folder
        self.start, self.total = state.iteration + 1, state.cfg.SOLVER.MAX_ITER
        self.failed_steps = 0
        self.writers = RunWriters(folder, self.start, self.total) if self.fabric.is_global_zero else None
        self.best = self.writers.best(score_name(self.cfg.DATASETS.TEST)) if self.writers else -math.inf
        self.began = time.perf_counter()

    def loop(self) -> None:
        """Steps until MAX_ITER; logs, evaluates and saves when due."""
        state, solver = self.state, self.cfg.SOLVER
        loader = build_train_loader(
            self.cfg,
            seed=state.seed,
            start_iteration=self.start,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            pin_memory=self.fabric.device.type == "cuda",
        )
        state.module.train()
        for batch in state.meter.timed(loader):
            rate = float(state.scheduler.get_last_lr()[0])
            result = training_step(state, batch, solver)
            state.iteration += 1
            if state.iteration == 0 and self.writers:
                # From here on --resume means this run. Not earlier: one that fails at its start takes nothing away.
                (self.folder / LAST).unlink(missing_ok=True)
            state.meter.add(result.losses, result.applied)
            self._watch(result, batch)
            if self.writers and _due(state.iteration, self.cfg.VIS_PERIOD):
                with preserved_random_state():
                    picture = draw_sample(self.cfg, state.model, batch[0])
                self.writers.picture("train/sample", picture, state.iteration)
            last = state.iteration == self.total - 1
            if last or _due(state.iteration, solver.LOG_PERIOD):
                self._log(rate)
            if not last and _due(state.iteration, self.cfg.TEST.EVAL_PERIOD):
                self._evaluate(final=False)
            if not last and _due(state.iteration, solver.CHECKPOINT_PERIOD):
                self._save(f"model_{state.iteration:07d}.pth")
            if self.writers:
                self.writers.advance()

    def finish(self) -> Results:
        """Saves model_final.pth, evaluates, and says where everything lies."""
        if self.start < self.total:
            self._save("model_final.pth")  # first: no fault of a test image may cost the training
        results = self._evaluate(final=True)
        log_tables(results)
        logger.info("checkpoint: %s", self.folder / "model_final.pth")
        if results and self.cfg.TEST.NUM_PICTURES:
            logger.info("pictures: %s; predictions: %s", self.folder / "pictures", self.folder / "inference")
        if self.writers:
            check_expected(self.cfg, results)
        logger.info("total time %s", timedelta(seconds=round(time.perf_counter() - self.began)))
        return results

    def close(self) -> None:
        """Closes what the run writes to."""
        if self.writers:
            self.writers.close()

    def _watch(self, result: StepResult, batch: list[dict[str, Any]]) -> None:
        """Names the files of a step that failed; stops the run after a few in a row."""
        if not result.failed:
            self.failed_steps = 0
            return
        self.failed_steps += 1
        files = [
            name for names in gather(self.fabric, [str(sample["file_name"]) for sample in batch]) for name in names
        ]
        step = self.state.iteration + 1
        logger.warning("step %d skipped: its loss or gradient is not finite; its images: %s", step, ", ".join(files))
        if self.failed_steps == MAX_FAILED_STEPS:
            name = f"model_{self.state.iteration:07d}.pth"
            self._save(name, last=False)  # what --resume continues from must be from before the trouble
            raise UserError(
                f"training stopped at step {step}: loss or gradient was not finite in {MAX_FAILED_STEPS} steps in a "
                f"row. The weights before the first of them are in {self.folder / name}. Look at the images named in "
                "log.txt beside it; go on from the last regular checkpoint with --resume and a lower SOLVER.BASE_LR, "
                "with SOLVER.CLIP_GRADIENTS.ENABLED True, or with SOLVER.AMP.ENABLED False"
            )

    def _log(self, rate: float) -> None:
        values = self.state.meter.read(self.fabric)
        if self.writers is None:
            return
        left = self.total - 1 - self.state.iteration
        values = {
            "lr": rate,
            **values,
            "img/s": self.cfg.SOLVER.IMS_PER_BATCH / values["time"],
            "eta_seconds": left * values["time"],
        }
        self.writers.scalars(self.state.iteration, values)
        self.writers.progress(self.state.iteration, values)

    def _save(self, name: str, *, last: bool = True) -> None:
        checkpoint = self.state.checkpoint()
        if self.fabric.is_global_zero:
            save_checkpoint(self.folder / name, checkpoint, last=last)

    def _evaluate(self, final: bool) -> Results:
        """Scores and draws; changes nothing that the next steps depend on."""
        if not self.cfg.DATASETS.TEST:
            return {}
        start, iteration = time.perf_counter(), self.state.iteration
        model = self.state.evaluated_model
        results = evaluate_datasets(self.cfg, model, self.fabric, self.folder if final else None)
        if self.writers and results:
            self.writers.scalars(iteration, flatten(results))
            self._keep_best(results)
            if self.cfg.TEST.NUM_PICTURES:
                with preserved_random_state():
                    pictures = draw_pictures(self.cfg, model, self.folder / "pictures" / f"{iteration:07d}")
                for name, picture in pictures.items():
                    self.writers.picture(f"pictures/{name}", picture, iteration)
        self.fabric.barrier()
        self.state.meter.pause(time.perf_counter() - start)
        return results

    def _keep_best(self, results: Results) -> None:
        score = flatten(results)[score_name(self.cfg.DATASETS.TEST)]
        better = score > self.best
        logger.info("mIoU %.2f after step %d%s", score, self.state.iteration + 1, ", the best so far" if better else "")
        if better:
            self.best = score
            save_checkpoint(self.folder / "model_best.pth", {**self.state.weights(), "score": score}, last=False)
