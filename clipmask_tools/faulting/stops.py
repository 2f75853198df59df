"""Faults that stop a run: kills, signals, full disks, removed folders."""

from __future__ import annotations

import builtins
import io
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial

from clipmask_tools.faulting.bench import STEPS, Bench, Ended, Outcome

Fault = tuple[str, Callable[[Bench], Outcome]]


def faults() -> Iterator[Fault]:
    """Yields the name of each fault and the function that tries it."""
    for number in range(1, 13):
        yield f"kill -9 at rename {number} of the run", partial(_killed, "replace", number)
    for number in (1, 4, 8):
        yield f"kill -9 at sync {number} of the run", partial(_killed, "fsync", number)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT):
        yield f"{number.name} in a step", partial(_signal, number)
    yield "SIGTERM in an evaluation", _signal_in_evaluation
    yield "SIGTERM before the first step", _signal_early
    yield "SIGHUP under nohup", _nohup
    for limit in (4_000, 60_000):
        yield (
            f"no file may grow beyond {limit} bytes (a disk that is full)",
            partial(_full_disk, limit),
        )
    for name in ("metrics.json", "log.txt"):
        yield f"disk full for {name} alone", partial(_full_file, name)
    yield "disk full for the pictures alone", _full_pictures
    yield "OUTPUT_DIR removed in the middle", _removed


def whole(bench: Bench) -> bytes:
    """Returns the final weights of an undisturbed run, to compare with ``Bench.weights``.

    The run is made once, in a folder beside the benches.
    """
    kept = bench.folder.parent / "whole"
    if not kept.exists():
        kept.mkdir()
        other = Bench(kept)
        other.train()
    other = Bench.__new__(Bench)
    other.folder, other.run = kept, kept / "run"
    return other.weights()


def resumed(bench: Bench, ended: Ended, expected: int | tuple[int, ...]) -> Outcome:
    """Resumes a run that a fault stopped, and compares the result with that of an undisturbed run.

    Args:
        bench: the bench of the fault.
        ended: the end of the run that was stopped.
        expected: the right exit status of this run; a tuple: any of them is right.
    """
    again = bench.train("--resume")
    same = bool(bench.weights()) and bench.weights() == whole(bench)
    good = same and again.status == 0 and not ended.traceback and not again.traceback
    statuses = expected if isinstance(expected, tuple) else (expected,)
    end = "same bytes after --resume" if same else f"--resume: status {again.status}, {again.line}"
    happened = f"status {ended.status}; {end}"
    return Outcome(happened, "nothing" if same else "the run", good and ended.status in statuses)


def _killed(call: str, number: int, bench: Bench) -> Outcome:
    def before() -> None:
        original, left = getattr(os, call), [number]

        def killing(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(os, call, killing)

    return resumed(bench, bench.train(before=before), (-signal.SIGKILL, 0))


def at_step(step: int, action: Callable[[], None]) -> Callable[[], None]:
    """Returns a function for ``Bench.start(before=...)`` that calls ``action`` in a training step.

    Args:
        step: number of the step, counted from 1.
        action: function that is called in the middle of this step.
    """

    def before() -> None:
        from clipmask.engine import train

        original = train.training_step

        def acting(state, batch, solver):  # type: ignore[no-untyped-def]
            if state.iteration + 2 == step:
                action()
            return original(state, batch, solver)

        train.training_step = acting

    return before


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


def _signal(number: signal.Signals, bench: Bench) -> Outcome:
    ended = bench.train(before=at_step(3, partial(_send, number)))
    saved = (bench.run / "model_0000002.pth").is_file()
    outcome = resumed(bench, ended, 130 if number == signal.SIGINT else 75)
    reported = "; --resume continues from" in ended.text
    return outcome._replace(good=outcome.good and saved and reported)


def _signal_in_evaluation(bench: Bench) -> Outcome:
    def before() -> None:
        from clipmask.engine import train

        original = train.evaluate_datasets

        def acting(*args, **kwargs):  # type: ignore[no-untyped-def]
            _send(signal.SIGTERM)
            return original(*args, **kwargs)

        train.evaluate_datasets = acting

    return resumed(bench, bench.train(before=before), 75)


def _signal_early(bench: Bench) -> Outcome:
    def before() -> None:
        from clipmask.engine import prepare

        original = prepare.check_datasets

        def acting(*args, **kwargs):  # type: ignore[no-untyped-def]
            _send(signal.SIGTERM)
            return original(*args, **kwargs)

        prepare.check_datasets = acting

    return resumed(bench, bench.train(before=before), 75)


def _nohup(bench: Bench) -> Outcome:
    def before() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        at_step(3, partial(_send, signal.SIGHUP))()

    ended = bench.train(before=before)
    same = bench.weights() == whole(bench)
    return Outcome(
        f"status {ended.status}, the run goes on", "nothing" if same else "the run", same
    )


def _full_disk(limit: int, bench: Bench) -> Outcome:
    ended = bench.train(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    outcome = resumed(bench, ended, 2)
    return outcome._replace(
        good=outcome.good and "disk full" in ended.text, happened=f"{ended.line[:90]}"
    )


def _full_file(name: str, bench: Bench) -> Outcome:
    """Puts a device that is always full in the place of one file."""
    bench.run.mkdir()
    if name == "log.txt":
        (bench.run / name).symlink_to("/dev/full")
    ended = bench.train(before=None if name == "log.txt" else partial(_open_full, name))
    same = bench.weights() == whole(bench)
    good = same and ended.status == 0 and "disk full" in ended.text and not ended.traceback
    return Outcome(
        f"status {ended.status}; {ended.line[:90]}", f"{name}" if same else "the run", good
    )


def _open_full(name: str) -> None:
    """Opens the full device in place of every file whose path contains ``name``.

    A link to the device is not enough here, because a rename would replace the link by a file.
    """
    original = io.open

    def opening(path, mode="r", *args, **kwargs):  # type: ignore[no-untyped-def]
        if name in str(path):
            return original("/dev/full", mode.replace("x", "w"), *args, **kwargs)
        return original(path, mode, *args, **kwargs)

    for module in (io, builtins):  # pathlib uses the first, Pillow the second
        vars(module)["open"] = opening


def _full_pictures(bench: Bench) -> Outcome:
    ended = bench.train(before=partial(_open_full, f"{os.sep}pictures{os.sep}"))
    same = bench.weights() == whole(bench)
    good = same and ended.status == 0 and "disk full" in ended.text and not ended.traceback
    return Outcome(
        f"status {ended.status}; {ended.line[:90]}", "pictures" if same else "the run", good
    )


def _removed(bench: Bench) -> Outcome:
    ended = bench.train(before=at_step(4, lambda: shutil.rmtree(bench.run)))
    same = bench.weights() == whole(bench)
    metrics = bench.run / "metrics.json"
    lines = metrics.read_text().splitlines() if metrics.is_file() else []
    good = same and ended.status == 0 and len(lines) == STEPS + 2 and "removed" in bench.log()
    return Outcome(
        f"status {ended.status}; {ended.line[:90]}",
        "older checkpoints" if same else "the run",
        good,
    )
