"""Runs jobs, as many at once as there are devices; goes on where an earlier command stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import timedelta

from tqdm import tqdm

from clipmask.errors import UserError
from clipmask_tools.ablation.jobs import LOG, Job, Slot
from clipmask_tools.ablation.results import collect, read_result, stored_settings, write_result
from clipmask_tools.ablation.settings import differences, settings

_LOOK = 0.5  # seconds between two looks at the processes
_REPORT = 300  # seconds between two lines of progress, where there is no terminal for a bar


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Returns the jobs without a result.

    Raises:
        UserError: a result, or what an earlier command left of a run, was made with other settings.
    """
    left = []
    for job in jobs:
        own = settings(job.cfg)
        if job.result.is_file():
            before, what = read_result(job.result).settings, str(job.result)
        else:
            before, what = stored_settings(job.folder) or own, f"the unfinished run in {job.folder}"
            left.append(job)
        differ = differences(before, own)
        if differ:
            raise UserError(
                f"{what} was made with other settings than this command's: {'; '.join(differ[:4])}"
                " (there, here). Delete it, or name other folders with --output and --results"
            )
    return left


class Runner:
    """Runs jobs to their end.

    Args:
        jobs: without results, in the order in which they start.
        slots: a device each.
    """

    def __init__(self, jobs: Sequence[Job], slots: Sequence[Slot]) -> None:
        self._waiting, self._free = list(jobs), list(slots)
        self._running: list[Job] = []
        self._all = list(jobs)
        self._steps = {id(job): job.kept for job in jobs}
        self._total, self._before = sum(job.steps for job in jobs), sum(self._steps.values())
        self._count = self._finished = 0
        self._failed: list[Job] = []
        self._began = self._told = time.monotonic()
        self._bar = tqdm(
            total=self._total,
            initial=self._before,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def run(self) -> list[Job]:
        """Runs all jobs and writes their results.

        Returns:
            Those that failed.
        """
        try:
            while self._waiting or self._running:
                while self._waiting and self._free:
                    self._start(self._waiting.pop(0), self._free.pop(0))
                time.sleep(_LOOK)
                for job in list(self._running):
                    self._look(job)
                self._show()
            return self._failed
        except BaseException:
            self._say(
                f"stopping {len(self._running)} run(s); the same command goes on from their last"
                " checkpoints"
            )
            for job in self._running:
                job.stop(3)
            raise
        finally:
            self._bar.close()

    def _start(self, job: Job, slot: Slot) -> None:
        how = f"goes on after step {job.kept} of {job.steps}" if job.kept else "starts"
        self._say(f"{job.name}: {how}, on {'GPU' if slot.gpu else 'core'} {slot.number}")
        self._begin(job, slot)

    def _begin(self, job: Job, slot: Slot) -> None:
        try:
            job.start(slot)
        except UserError as error:
            self._free.append(slot)
            self._fail(job, error)
        else:
            self._running.append(job)

    def _look(self, job: Job) -> None:
        """Takes note of a process that has ended."""
        status = job.ended()
        if status is None:
            return
        slot = job.slot
        assert slot is not None
        self._running.remove(job)
        if status == 0 and job.stages:
            self._begin(job, slot)
            return
        self._free.append(slot)
        try:
            if status:
                raise UserError(
                    f"exit status {status}, {job.last_words()} (all of it: {job.folder / LOG})"
                )
            result = collect(job.folder, job.cfg, job.variant, job.seed)
            write_result(job.result, result)
        except UserError as error:
            self._fail(job, error)
            return
        self._finished += 1
        self._say(f"{job.name}: mIoU {result.of(result.dataset).mean_iou:.2f}, {self._where()}")

    def _fail(self, job: Job, error: UserError) -> None:
        self._failed.append(job)
        self._say(f"{job.name}: FAILED: {error}")

    def _where(self) -> str:
        left = self._remaining()
        eta = "unknown" if left is None else str(timedelta(seconds=round(left)))
        failed = f", {len(self._failed)} failed" if self._failed else ""
        return f"{self._finished} of {len(self._all)} runs done{failed}, eta {eta}"

    def _remaining(self) -> float | None:
        """Seconds to go, at the pace so far, tests included; failed runs have nothing left to
        do.
        """
        done = sum(self._steps.values())
        if done <= self._before:
            return None
        lost = sum(job.steps - self._steps[id(job)] for job in self._failed)
        return (
            (self._total - done - lost) * (time.monotonic() - self._began) / (done - self._before)
        )

    def _show(self) -> None:
        for job in self._running:
            self._steps[id(job)] = max(job.done, self._steps[id(job)])
        now = sum(self._steps.values())
        self._bar.update(now - self._bar.n)
        if self._bar.disable and time.monotonic() - self._told > _REPORT:
            going = ", ".join(
                f"{job.name} at step {self._steps[id(job)]} of {job.steps}" for job in self._running
            )
            self._say(f"{going}; {self._where()}")

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        tqdm.write(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stdout)
        sys.stdout.flush()
