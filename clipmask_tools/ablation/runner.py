"""Parallel execution of jobs on several devices, which continues interrupted runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from clipmask.errors import UserError
from clipmask_tools.ablation.jobs import LOG, Job, Slot
from clipmask_tools.ablation.results import collect, read_result, stored_settings, write_result
from clipmask_tools.ablation.settings import differences, settings

_LOOK = 0.5  # seconds between two checks of the processes
_PATIENCE = 3.0  # seconds for a process to end by itself after Ctrl-C


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Returns the jobs without a result.

    Raises:
        UserError: a result or an unfinished run has other settings than the job.
    """
    left = []
    for job in jobs:
        now = settings(job.cfg)
        if job.result.is_file():
            before, what = read_result(job.result).settings, str(job.result)
        else:
            before, what = stored_settings(job.folder) or now, f"the unfinished run in {job.folder}"
            left.append(job)
        differ = differences(before, now)
        if differ:
            raise UserError(
                f"{what} was made with other settings than this command's: {'; '.join(differ[:4])}"
                " (there, here). Delete it, or name other folders with --output and --results"
            )
    return left


def run_jobs(jobs: Sequence[Job], slots: Sequence[Slot]) -> list[Job]:
    """Runs jobs, one on each device at a time, and writes their results.

    If it is interrupted, it ends the processes of all jobs.

    Args:
        jobs: the jobs without results, in the order of their start.
        slots: the devices.

    Returns:
        The jobs that failed.
    """
    waiting, free = list(jobs), list(slots)
    running: list[Job] = []
    failed: list[Job] = []
    with tqdm(
        total=len(jobs), unit="run", dynamic_ncols=True, disable=not sys.stderr.isatty()
    ) as bar:
        try:
            while waiting or running:
                while waiting and free:
                    running.append(waiting.pop(0))
                    _begin(running[-1], free.pop(0))
                time.sleep(_LOOK)
                for job in list(running):
                    if _proceed(job, failed):
                        continue
                    assert job.slot is not None
                    running.remove(job)
                    free.append(job.slot)
                    bar.update()
        except BaseException:
            _say(
                f"stopping {len(running)} run(s); repeat the command to continue from their last"
                " checkpoints"
            )
            for job in running:
                job.stop(_PATIENCE)
            raise
    return failed


def _begin(job: Job, slot: Slot) -> None:
    device = "GPU" if slot.gpu else "core"
    _say(f"{job.name}: starts on {device} {slot.number}; its log is {job.folder / LOG}")
    job.start(slot)


def _proceed(job: Job, failed: list[Job]) -> bool:
    """Checks the process of a job, and returns whether the job still runs.

    If the process has ended, it starts the next stage, or writes the result, or adds the job to
    ``failed``.
    """
    status = job.ended()
    if status is None:
        return True
    if status == 0 and job.stages:
        assert job.slot is not None
        job.start(job.slot)
        return True
    try:
        if status:
            raise UserError(
                f"exit status {status}, {job.error_line()} (all of it: {job.folder / LOG})"
            )
        result = collect(job.folder, job.cfg, job.variant, job.seed)
        write_result(job.result, result)
    except UserError as error:
        failed.append(job)
        _say(f"{job.name}: FAILED: {error}")
    else:
        _say(f"{job.name}: mIoU {result.of(result.dataset).mean_iou:.2f}")
    return False


def _say(text: str) -> None:
    tqdm.write(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stdout)
    sys.stdout.flush()
