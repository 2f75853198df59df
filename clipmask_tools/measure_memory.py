"""Measures the memory of a long training with evaluations, to find leaks.

    python -m clipmask_tools.measure_memory --steps 10000
    python -m clipmask_tools.measure_memory --steps 2000 --every 500 --workers 2

The model is the very narrow one of ``clipmask_tools.faults``. Every ``--every`` steps it is
evaluated and pictures are drawn. Memory is the resident memory of the main process, and of all its
children together (VmRSS in /proc, in MiB), after each line of metrics.json. It works on Linux only.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from clipmask_tools.faulting.bench import MODULES, Bench


def resident(process: int) -> float:
    """Returns the resident memory of a process in MiB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    values = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(values[0]) / 1024 if values else 0.0


def children(process: int) -> list[int]:
    """Returns the ids of the running child processes of a process."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def measure(steps: int, every: int, workers: int, folder: Path) -> list[tuple[int, float, float]]:
    """Trains, and returns (step, MiB of the main process, MiB of its children) at each log line.

    Args:
        steps: the number of steps.
        every: the number of steps between evaluations, and between log lines.
        workers: the number of worker processes of the loader.
        folder: an empty folder.

    Raises:
        SystemExit: the training failed.
    """
    bench = Bench(folder)
    opts = ["SOLVER.MAX_ITER", str(steps), "SOLVER.CHECKPOINT_PERIOD", str(every)]
    opts += ["TEST.EVAL_PERIOD", str(every), "SOLVER.LOG_PERIOD", str(every)]
    process = bench.start(*opts, "DATALOADER.NUM_WORKERS", str(workers))
    rows: list[tuple[int, float, float]] = []
    seen = 0
    while not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        lines = bench.logged_steps()
        if lines > seen:
            seen = lines
            own = resident(process)
            others = sum(resident(child) for child in children(process))
            rows.append((seen * every, own, others))
            print(f"step {seen * every}: {own:.0f} MiB, children {others:.0f} MiB", flush=True)
        time.sleep(0.05)
    ended = bench.end(process)
    if ended.status:
        raise SystemExit(ended.text[-2000:])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=10000, help="number of steps")
    parser.add_argument("--every", type=int, default=500, help="steps between evaluations")
    parser.add_argument("--workers", type=int, default=0, help="worker processes of the loader")
    args = parser.parse_args(argv)
    for module in MODULES:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        rows = measure(args.steps, args.every, args.workers, Path(folder))
    (first, before, _), (last, after, _) = rows[0], rows[-1]
    print(f"step {first}: {before:.0f} MiB; step {last}: {after:.0f} MiB ({after - before:+.0f})")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
