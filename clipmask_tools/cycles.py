"""Kills trainings at random moments and resumes them, and compares what they end in.

python -m clipmask_tools.cycles --cycles 200                # one process, two loader workers
python -m clipmask_tools.cycles --cycles 50 --processes 2
python -m clipmask_tools.cycles --change                    # 1, 2 and 4 processes, and 1 -> 4 -> 2

A cycle is a kill -9 at a moment drawn evenly from the time that the whole run takes, and a
``--resume``. A run that reached its end is compared with one that nothing disturbed: weights,
optimiser and the lines of metrics.json but for their times; then the next run begins. ``--change``
compares the losses of runs on other numbers of processes. The model is that of the toy config, made
narrow, on a backbone that timm has for tests. The exit status is 1 where something differed.
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

TIMES = ("time", "data_time", "img/s", "eta_seconds")  # of a line of metrics.json
TOLERANCE = 1e-4  # relative, of losses that are added up in another order


class Runs:
    """Trainings of one kind, each in a folder of its own.

    Args:
        folder: empty.
        processes: of each training.
        workers: of each loader.
        steps: of each training.
    """

    def __init__(self, folder: Path, processes: int, workers: int, steps: int) -> None:
        self.folder, self.processes, self.number = folder, processes, 0
        self.opts = ["DATALOADER.NUM_WORKERS", str(workers), "SOLVER.MAX_ITER", str(steps)]
        self.opts += ["SOLVER.CHECKPOINT_PERIOD", "5", "TEST.EVAL_PERIOD", "10"]
        self.opts += ["SOLVER.IMS_PER_BATCH", "4", "MODEL.CLIPMASK.DROPOUT", "0.1"]

    def bench(self) -> Bench:
        """A folder for the next training."""
        self.number += 1
        folder = self.folder / f"{self.number:03d}"
        folder.mkdir()
        return Bench(folder)

    def start(self, bench: Bench, processes: int = 0, more: Sequence[str] = ()) -> int:
        """Starts or goes on with a training; returns the process, which leads a group."""
        processes = processes or self.processes
        before = os.setsid if processes == 1 else None
        return bench.start(*self.opts, *more, "--resume", before=before, processes=processes)

    def result(self, bench: Bench) -> tuple[bytes, list[dict[str, Any]]]:
        """What a training ended in: its last checkpoint, and its lines without their times."""
        lines = (bench.run / "metrics.json").read_text().splitlines()
        kept = [
            {key: value for key, value in json.loads(line).items() if key not in TIMES}
            for line in lines
        ]
        return bench.weights(), kept


def kill_and_resume(runs: Runs, cycles: int, draw: random.Random) -> bool:
    """Makes that many kills; returns whether every training ended as the undisturbed one."""
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
    """Waits; tells whether the process ended, which leaves its status to be asked for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.01)
    return False


def change_processes(runs: Runs, steps: int) -> bool:
    """Trains on 1, 2 and 4 processes, and on 1, 4 and 2 in turn; compares all losses.

    Dropout is off, and statistics of batches are frozen: every process has its own.
    """
    off = ["MODEL.CLIPMASK.DROPOUT", "0.0", "MODEL.BACKBONE.NORM", "FrozenBN"]
    losses = {}
    for plan in ((1,), (2,), (4,), (1, 4, 2)):
        bench = runs.bench()
        for part, processes in enumerate(plan, 1):
            until = ["SOLVER.MAX_ITER", str(steps)]
            if part < len(plan):
                # stopped there, with the schedule of the whole
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
    """Asks a training to end when it has logged that many steps."""
    bench.wait_for(lambda: bench.logged_steps() >= steps, process)
    os.kill(process, signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cycles", type=int, default=20, help="kills, each with a --resume")
    parser.add_argument("--processes", type=int, default=1, help="of each training")
    parser.add_argument("--workers", type=int, default=2, help="of each loader")
    parser.add_argument("--steps", type=int, default=30, help="of each training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--change", action="store_true", help="compare numbers of processes")
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
