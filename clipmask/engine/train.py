"""Training: the loop over steps, with logging, evaluation and checkpoints between them."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sized
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from fvcore.common.config import CfgNode

from clipmask.config import leaf_keys
from clipmask.data import build_train_loader
from clipmask.data.descriptor_datasets import refuse_among_pictures
from clipmask.engine.evaluation import (
    Results,
    check_expected,
    evaluate_datasets,
    flatten,
    log_tables,
    score_name,
    write_scores,
)
from clipmask.engine.failures import FailedSteps, stopped
from clipmask.engine.folder import RunFolder, best_score, refuse_earlier_run, run_folder
from clipmask.engine.launch import child_processes, is_main_process, launched, share_buffers
from clipmask.engine.pictures import draw_pictures, draw_sample
from clipmask.engine.prepare import prepare, write_config
from clipmask.engine.random_state import preserved_random_state
from clipmask.engine.state import TrainingState
from clipmask.engine.step import training_step
from clipmask.engine.stop import StopSignals, Wishes
from clipmask.engine.trackers import Trackers
from clipmask.engine.writers import RunWriters
from clipmask.errors import RunStopped, UserError
from clipmask.modeling import ClipMask
from clipmask.paths import user_path
from clipmask.ranges import check_ranges
from clipmask.weights.checkpoint import describe, save_checkpoint

logger = logging.getLogger(__name__)


def train(
    cfg: CfgNode,
    *,
    resume: bool = False,
    start_over: bool = False,
    num_gpus: int = 1,
    num_machines: int = 1,
) -> Results:
    """Trains, evaluates and saves a model as the config says.

    The folder OUTPUT_DIR then holds config.yaml, log.txt, metrics.json, TensorBoard's events,
    model_0000999.pth ..., model_final.pth, model_best.pth (the best mIoU on the first test
    dataset), last_checkpoint, pictures/ and inference/.

    Args:
        cfg: the config.
        resume: continue from the last checkpoint in OUTPUT_DIR, exactly as if the run had not
            stopped.
        start_over: begin again in an OUTPUT_DIR that holds a run, whose files are moved to its
            folder earlier_N.
        num_gpus: devices (on a CPU: processes) per machine.
        num_machines: machines; each runs this.

    Returns:
        Dataset to ``{"sem_seg": {...}}`` of the last evaluation, in the main process.

    Raises:
        UserError: the config, the data or a checkpoint is not usable; OUTPUT_DIR holds a run and
            neither ``resume`` nor ``start_over`` is set, or both are; another job writes to
            OUTPUT_DIR, or it lies among the pictures of a dataset; the loss or the gradient was
            not finite in ``failures.MAX_FAILED_STEPS`` steps in a row.
        RunStopped: Ctrl-C or a signal of a scheduler ended the run, after its checkpoint.
    """
    check_ranges(leaf_keys(cfg))
    folder, main = user_path(cfg.OUTPUT_DIR), is_main_process()
    if resume and start_over:
        raise UserError(
            "--resume goes on with a run, --start-over begins it again: say one of them"
        )
    refuse_among_pictures(folder, [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(run_folder(folder, main))
        if main and not (resume or start_over):
            refuse_earlier_run(folder)
        signals = stack.enter_context(StopSignals())
        fabric = stack.enter_context(launched(cfg, num_gpus, num_machines))
        signals.children = child_processes(fabric)
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
        state, source = prepare(cfg, fabric, folder, resume)
        run = _Run(state, own or folder, source, signals)
        try:
            with signals.waiting():
                run.loop()
                return run.finish()
        except KeyboardInterrupt as stop:
            if not main:
                return {}
            raise RunStopped(getattr(stop, "signal", "SIGINT"), run.where()) from None
        finally:
            run.close()
    raise AssertionError("no context of these takes an error away")


def _passing(path: Path | None, period: int) -> Path | None:
    """The checkpoint that a run was resumed from, if it is none of CHECKPOINT_PERIOD."""
    if path is None:
        return None
    number = path.stem.removeprefix("model_")
    return path if number.isdigit() and not _due(int(number), period) else None


def _due(iteration: int, period: int) -> bool:
    return period > 0 and (iteration + 1) % period == 0


class _Run:
    """A run from its current step to its end.

    Args:
        state: before the first step to come.
        folder: OUTPUT_DIR; in the main process with its lock.
        saved: the checkpoint that ``--resume`` would go on from.
        signals: that ask the run to end.
    """

    def __init__(
        self,
        state: TrainingState,
        folder: RunFolder | Path,
        saved: Path | None,
        signals: StopSignals,
    ) -> None:
        self.own: RunFolder | None = None
        if isinstance(folder, RunFolder):
            self.own, folder = folder, folder.path
        self.saved, self.signals = saved, signals
        self.passing = _passing(saved, state.cfg.SOLVER.CHECKPOINT_PERIOD)
        state.wishes = signals.wishes
        self.state, self.cfg, self.fabric, self.folder = state, state.cfg, state.fabric, folder
        self.start, self.total = state.iteration + 1, state.cfg.SOLVER.MAX_ITER
        self.failures = FailedSteps(state.fabric)
        self.labelled = False
        self.writers = None
        if self.fabric.is_global_zero:
            trackers = Trackers(self.cfg, folder, resumed=saved is not None)
            self.writers = RunWriters(folder, self.start, self.total, trackers)
        self.best = -math.inf
        if self.writers and self.cfg.DATASETS.TEST:
            tested = self.cfg.DATASETS.TEST
            self.best = best_score(folder, tested, self.writers.best(score_name(tested)))
        self.began = time.perf_counter()

    def loop(self) -> None:
        """Steps until MAX_ITER; logs, evaluates and saves when due."""
        state, solver = self.state, self.cfg.SOLVER
        loader = build_train_loader(
            self.cfg,
            seed=state.seed,
            start_iteration=self.start,
            start_sample=state.samples,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            pin_memory=self.fabric.device.type == "cuda",
        )
        self._note_images(len(cast(Sized, loader.dataset)))
        state.module.train()
        self._evaluate_if_missed()
        for batch in state.meter.timed(loader):
            rate = float(state.scheduler.get_last_lr()[0])
            result = training_step(state, batch, solver)
            state.iteration += 1
            state.samples += solver.IMS_PER_BATCH
            state.meter.add(result.losses, result.applied)
            self._watch(result.failed, batch)
            if _due(state.iteration, self.cfg.VIS_PERIOD):
                self._show(batch[0])
            last = state.iteration == self.total - 1
            if last or _due(state.iteration, solver.LOG_PERIOD):
                self._log(rate)
            if not last:
                self._between(result.wishes)
            if self.writers:
                self.writers.advance()

    def _show(self, sample: dict[str, Any]) -> None:
        """Puts a picture of a training sample into TensorBoard."""
        model = self.state.whole_model
        if self.writers is None:
            return
        with preserved_random_state():
            picture = draw_sample(self.cfg, model, sample)
        self.writers.picture("train/sample", picture, self.state.iteration)

    def _note_images(self, count: int) -> None:
        before, self.state.images = self.state.images, count
        if before not in (None, count):
            logger.warning(
                "resumed with %d training images instead of %d: the order within the epoch is"
                " another one",
                count,
                before,
            )

    def _between(self, wishes: Wishes) -> None:
        """What is due between two steps. First the checkpoint: no signal, and no fault of a test
        image, costs steps.
        """
        iteration = self.state.iteration
        regular = _due(iteration, self.cfg.SOLVER.CHECKPOINT_PERIOD)
        evaluation = bool(self.cfg.DATASETS.TEST) and _due(iteration, self.cfg.TEST.EVAL_PERIOD)
        if regular or evaluation or wishes.stop or wishes.save:
            self._save(f"model_{iteration:07d}.pth", passing=not regular, needed=wishes.stop)
        if wishes.stop:
            raise self.signals.exception()
        if evaluation:
            self._evaluate(final=False)

    def _evaluate_if_missed(self) -> None:
        """Makes up for the evaluation after the step that a run is resumed from, if it was cut
        short.
        """
        if not (0 < self.start < self.total and _due(self.start - 1, self.cfg.TEST.EVAL_PERIOD)):
            return
        if self.fabric.broadcast(
            self.writers is not None and not self.writers.scored(self.start - 1)
        ):
            self._evaluate(final=False)

    def finish(self) -> Results:
        """Saves model_final.pth, evaluates, and logs where everything lies.

        Returns:
            The scores of the evaluation.

        Raises:
            UserError: more than half of the steps were skipped because their loss or gradient was
                not finite; or a score is not as TEST.EXPECTED_RESULTS says.
        """
        self._guard_folder()
        if self.start < self.total or self.saved != self.folder / "model_final.pth":
            self._save("model_final.pth")  # first: no fault of a test image may cost the training
        results = self._evaluate(final=True)
        write_scores(self.folder, results, self.folder / "model_final.pth", self.state.iteration)
        log_tables(results)
        logger.info("checkpoint: %s", self.folder / "model_final.pth")
        if results and self.cfg.TEST.NUM_PICTURES:
            logger.info(
                "pictures: %s; predictions: %s", self.folder / "pictures", self.folder / "inference"
            )
        if self.writers:
            check_expected(self.cfg, results)
        logger.info("total time %s", timedelta(seconds=round(time.perf_counter() - self.began)))
        self.failures.judge(self.total - self.start)
        return results

    def where(self) -> str:
        """Says how far the run has come, and what ``--resume`` would do."""
        goes_on = "there is no checkpoint to resume from yet"
        if self.saved:
            goes_on = f"--resume continues from {self.saved}"
        return f"after step {self.state.iteration + 1} of {self.total}; {goes_on}"

    def close(self) -> None:
        """Closes what the run writes to."""
        if self.writers:
            self.writers.close()

    def _watch(self, failed: bool, batch: list[dict[str, Any]]) -> None:
        """Looks whether the pictures have labels; stops the run after a few failed steps."""
        if not self.labelled:  # once a line of the log, so it takes no time
            void = self.state.model.ignore_label  # of a sample that does not say its own
            self.labelled = any(
                bool((one["sem_seg"] != one.get("ignore_label", void)).any()) for one in batch
            )
        step = self.state.iteration + 1
        if self.failures.note(failed, batch, step):
            name = f"stopped_{self.state.iteration:07d}.pth"
            # what --resume continues from must be from before the trouble
            self._save(name, last=False)
            raise stopped(step, self.folder / name)

    def _log(self, rate: float) -> None:
        values = self.state.meter.read(self.fabric)
        labelled, self.labelled = self.labelled, False
        if self.writers is None:
            return
        if not labelled:
            logger.warning(
                "no pixel of the pictures since the last line has a class: their label maps are all"
                " void"
            )
        self._guard_folder()
        left = self.total - 1 - self.state.iteration
        values = {
            "lr": rate,
            **values,
            "img/s": self.cfg.SOLVER.IMS_PER_BATCH / values["time"],
            "eta_seconds": left * values["time"],
        }
        self.writers.scalars(self.state.iteration, values)
        self.writers.progress(self.state.iteration, values)

    def _guard_folder(self) -> None:
        """Makes OUTPUT_DIR again where it was removed, and lets all processes save after the next
        step.
        """
        if self.own is None or not self.own.restore():
            return
        logger.warning(
            "OUTPUT_DIR %s was removed: it is made again, a checkpoint follows", self.folder
        )
        write_config(self.cfg, self.folder)
        self.saved = self.passing = None
        self.state.wishes.save = True

    def _save(
        self, name: str, *, last: bool = True, passing: bool = False, needed: bool = True
    ) -> None:
        """Saves a checkpoint, in the main process.

        Args:
            name: of the file.
            last: whether ``--resume`` is to continue from here.
            passing: it is none of CHECKPOINT_PERIOD and is removed when there is a later one.
            needed: whether the run ends where it can't be written; else it goes on and tries again
                when due.
        """
        checkpoint = self.state.checkpoint()
        self.state.wishes.save = False
        if self.fabric.is_global_zero:
            try:
                save_checkpoint(self.folder / name, checkpoint, last=last)
            except UserError as error:
                if needed:
                    raise
                logger.warning("%s; training goes on without this checkpoint", error)
            else:
                if last:
                    self._saved(self.folder / name, passing)
        self.fabric.barrier()  # no process ends before the file is there

    def _saved(self, path: Path, passing: bool) -> None:
        outdated, self.saved = self.passing, path
        self.passing = path if passing else None
        if outdated is not None and outdated != path:
            outdated.unlink(missing_ok=True)

    def _evaluate(self, final: bool) -> Results:
        """Scores and draws; changes nothing that the next steps depend on."""
        if not self.cfg.DATASETS.TEST:
            return {}
        start, iteration = time.perf_counter(), self.state.iteration
        main = self.fabric.is_global_zero
        with self.signals.at_once(main), self.state.evaluated_on_device() as model:
            share_buffers(self.fabric, model)  # all score the model that is saved
            results = evaluate_datasets(
                self.cfg, model, self.fabric, self.folder if final else None
            )
            if self.writers and results:
                self._keep_best(results)
                self.writers.scalars(iteration, flatten(results))
                if self.cfg.TEST.NUM_PICTURES:
                    self._draw(model)
        self.fabric.barrier()
        self.state.meter.pause(time.perf_counter() - start)
        return results

    def _draw(self, model: ClipMask) -> None:
        """Draws pictures for the eye; a training goes on without them."""
        iteration = self.state.iteration
        assert self.writers is not None
        try:
            with preserved_random_state():
                pictures = draw_pictures(
                    self.cfg, model, self.folder / "pictures" / f"{iteration:07d}"
                )
        except (OSError, UserError) as error:
            logger.warning("no pictures after step %d: %s", iteration + 1, describe(error))
            return
        for name, picture in pictures.items():
            self.writers.picture(f"pictures/{name}", picture, iteration)

    def _keep_best(self, results: Results) -> None:
        score = flatten(results)[score_name(self.cfg.DATASETS.TEST)]
        better = score > self.best
        note = ""
        if better:
            note = ", the best so far"
        logger.info("mIoU %.2f after step %d%s", score, self.state.iteration + 1, note)
        if better:
            self.best = score
            try:
                save_checkpoint(
                    self.folder / "model_best.pth",
                    {**self.state.weights(), "score": score},
                    last=False,
                )
            except UserError as error:
                logger.warning("%s; training goes on without the best model so far", error)
