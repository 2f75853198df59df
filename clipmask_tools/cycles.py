"""Kills trainings at random moments, resumes them, and compares the results.

    python -m clipmask_tools.cycles --cycles 200              one process, two loader workers
    python -m clipmask_tools.cycles --cycles 50 --processes 2
    python -m clipmask_tools.cycles --change                  1, 2 and 4 processes, and 1 -> 4 -> 2

A cycle is a kill -9 at a random moment within the duration of the whole run, and a ``--resume``. A
finished run is compared with an undisturbed one: weights, optimiser, and the lines of metrics.json
except their times. Then the next run begins. ``--change`` compares the losses of runs with
different numbers of processes. The model is a narrow version of the toy config's, on a test
backbone of timm. The exit status is 1 if results differ.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipmask_tools.faulting.bench import MODULES, Bench

TIMES = ("time", "data_time", "img/s", "eta_seconds")  # keys of times in metrics.json
TOLERANCE = 1e-4  # relative; losses of several processes are summed in another order


class Runs:
    """Trainings with the same settings, each in its own folder.

    Args:
        folder: an empty folder.
        processes: the number of processes of each training.
        workers: the number of worker processes of each loader.
        steps: the number of steps of each training.
    """

    def __init__(self, folder: Path, processes: int, workers: int, steps: int) -> None:
        self.folder, self.processes, self.number = folder, processes, 0
        self.opts = ["DATALOADER.NUM_WORKERS", str(workers), "SOLVER.MAX_ITER", str(steps)]
        self.opts += ["SOLVER.CHECKPOINT_PERIOD", "5", "TEST.EVAL_PERIOD", "10"]
        self.opts += ["SOLVER.IMS_PER_BATCH", "4", "MODEL.CLIPMASK.DROPOUT", "0.1"]

    def bench(self) -> Bench:
        """Creates the folder of the next training and returns its ``Bench``."""
        self.number += 1
        folder = self.folder / f"{self.number:03d}"
        folder.mkdir()
        return Bench(folder)

    def start(self, bench: Bench, processes: int = 0, more: Sequence[str] = ()) -> int:
        """Starts or resumes a training; returns the id of its process, which leads a group."""
        processes = processes or self.processes
        before = os.setsid if processes == 1 else None
        return bench.start(*self.opts, *more, "--resume", before=before, processes=processes)

    def result(self, bench: Bench) -> tuple[bytes, list[dict[str, Any]]]:
        """Returns the last checkpoint of a training, and its metrics without the times."""
        kept = []
        for line in (bench.run / "metrics.json").read_text().splitlines():
            values = json.loads(line)
            kept.append({key: value for key, value in values.items() if key not in TIMES})
        return bench.weights(), kept


def kill_and_resume(runs: Runs, cycles: int, draw: random.Random) -> bool:
    """Kills and resumes trainings.

    Args:
        runs: the trainings.
        cycles: the number of kills.
        draw: the generator of the moments.

    Returns:
        Whether every training has the same result as an undisturbed one.
    """
    bench = runs.bench()
    began = time.monotonic()
    status = bench.end(runs.start(bench)).status
    took, whole = time.monotonic() - began, runs.result(bench)
    print(f"undisturbed: {took:.0f} s, status {status}", flush=True)
    if status or not whole[0]:
        raise SystemExit((bench.folder / "output.txt").read_text())
    killed = finished = 0
    good = True
    bench = runs.bench()
    while killed < cycles or bench.run.exists():
        process = runs.start(bench)
        if killed < cycles and not _ends_within(process, draw.uniform(0, took)):
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            killed += 1
            continue
        ended = bench.end(process)
        same = ended.status == 0 and runs.result(bench) == whole
        finished, good = finished + 1, good and same
        print(
            f"{killed} kills, training {finished} ended with status {ended.status}:"
            f" {'the same' if same else 'OTHER'}",
            flush=True,
        )
        if not same:
            print(ended.text[-3000:])
        bench = runs.bench()
    return good


def _ends_within(process: int, seconds: float) -> bool:
    """Waits for the end of a process; returns whether it ended in time. Its status stays unread."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.01)
    return False


def change_processes(runs: Runs, steps: int) -> bool:
    """Trains with 1, 2 and 4 processes, and with 1, then 4, then 2; compares all losses.

    Dropout is off and the batch statistics are frozen, because each process has its own.
    """
    off = ["MODEL.CLIPMASK.DROPOUT", "0.0", "MODEL.BACKBONE.NORM", "FrozenBN"]
    losses = {}
    for plan in ((1,), (2,), (4,), (1, 4, 2)):
        bench = runs.bench()
        for part, processes in enumerate(plan, 1):
            until = ["SOLVER.MAX_ITER", str(steps)]
            if part < len(plan):
                # the training is stopped at this step, but its schedule is that of all steps
                until += ["SOLVER.CHECKPOINT_PERIOD", str(steps * part // len(plan))]
            process = runs.start(bench, processes, [*off, *until])
            if part < len(plan):
                _stop_after(bench, process, steps * part // len(plan))
            ended = bench.end(process)
            if ended.status not in (0, 75):
                raise SystemExit(ended.text[-3000:])
        name = " -> ".join(map(str, plan))
        lines = [line for line in runs.result(bench)[1] if "total_loss" in line]
        losses[name] = {line["iteration"]: line["total_loss"] for line in lines}
        print(f"{name} process(es): {len(losses[name])} losses", flush=True)
    first = losses["1"]
    good = True
    for name, own in losses.items():
        differences = [abs(own[step] / first[step] - 1) for step in first if step in own]
        same = own.keys() == first.keys() and max(differences) < TOLERANCE
        good = good and same
        print(f"{name}: the largest relative difference to 1 process is {max(differences):.1e}")
    return good


def _stop_after(bench: Bench, process: int, steps: int) -> None:
    """Sends SIGTERM to a training after it has logged a number of steps."""
    bench.wait_for(lambda: bench.logged_steps() >= steps, process)
    os.kill(process, signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cycles", type=int, default=20, help="number of kills")
    parser.add_argument("--processes", type=int, default=1, help="processes of each training")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each loader")
    parser.add_argument("--steps", type=int, default=30, help="steps of each training")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument(
        "--change", action="store_true", help="compare different numbers of processes instead"
    )
    args = parser.parse_args(argv)
    for module in MODULES:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="cycles-") as folder:
        runs = Runs(Path(folder), args.processes, args.workers, args.steps)
        if args.change:
            good = change_processes(runs, args.steps)
        else:
            good = kill_and_resume(runs, args.cycles, random.Random(args.seed))
    print("all the same" if good else "NOT all the same")
    return int(not good)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
