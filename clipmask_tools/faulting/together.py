"""Faults in one of several processes: workers of the data loader, and training processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial

from clipmask_tools.faulting.bench import Bench, Ended, Outcome
from clipmask_tools.faulting.stops import Fault, at_step, resumed

TWO = ("SOLVER.IMS_PER_BATCH", "4")  # two pictures per process: BatchNorm needs more than one value


def faults() -> Iterator[Fault]:
    """Yields the name of each fault and the function that tries it."""
    yield "a loader's process is killed", _killed_loader
    for rank in (0, 1):
        yield f"two processes, number {rank} is killed in a step", partial(_killed, rank)
        yield f"two processes, number {rank} gets SIGTERM in a step", partial(_terminated, rank)
        yield f"two processes, number {rank} runs into an error", partial(_failed, rank)
    yield "two tasks of an interactive SLURM job", _slurm


def _killed_loader(bench: Bench) -> Outcome:
    def kill() -> None:
        import multiprocessing

        for process in multiprocessing.active_children():
            process.kill()
            process.join()

    ended = bench.train("DATALOADER.NUM_WORKERS", "1", before=at_step(3, kill))
    return resumed(bench, ended, 2)


def _two(bench: Bench, rank: int, action: Callable[[], None]) -> tuple[Ended, Ended]:
    """Runs a training of two processes with a fault in the third step of one, and resumes it.

    Args:
        bench: the bench of the fault.
        rank: number of the process with the fault.
        action: the fault.

    Returns:
        The end of the training and the end of the resumed training.
    """

    def before() -> None:
        if int(os.environ["RANK"]) == rank:
            at_step(3, action)()

    process = bench.start(*TWO, before=before, processes=2)
    ended = bench.end(process)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # kill the remaining processes, as a scheduler does
    return ended, bench.end(bench.start(*TWO, "--resume", processes=2))


def _outcome(ended: Ended, again: Ended, statuses: tuple[int, ...]) -> Outcome:
    good = ended.status in statuses and again.status == 0 and not again.traceback
    good = good and not ended.traceback
    happened = f"status {ended.status}; {ended.line[:90]}; --resume: status {again.status}"
    return Outcome(happened, "nothing" if again.status == 0 else "the run", good)


def _killed(rank: int, bench: Bench) -> Outcome:
    ended, again = _two(bench, rank, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return _outcome(ended, again, (2,) if rank else (-signal.SIGKILL,))


def _terminated(rank: int, bench: Bench) -> Outcome:
    ended, again = _two(bench, rank, lambda: os.kill(os.getpid(), signal.SIGTERM))
    return _outcome(ended, again, (75,))


def _fail() -> None:
    from clipmask.errors import UserError

    raise UserError("image 3.png: put in by the bench")


def _failed(rank: int, bench: Bench) -> Outcome:
    ended, again = _two(bench, rank, _fail)
    outcome = _outcome(ended, again, (2,))
    return outcome._replace(good=outcome.good and "3.png: put in" in ended.text)


def _slurm(bench: Bench) -> Outcome:
    def before() -> None:
        os.environ.update(SLURM_NTASKS="2", SLURM_PROCID="0", SLURM_JOB_NAME="bash")

    ended = bench.train(before=before)
    good = ended.status == 2 and not ended.traceback and not bench.run.exists()
    return Outcome(f"status {ended.status}; {ended.line[:110]}", "nothing", good)
