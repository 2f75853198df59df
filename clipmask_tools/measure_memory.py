"""Trains with evaluations for many steps, and prints how the memory of the process goes.

python -m clipmask_tools.measure_memory --steps 10000
python -m clipmask_tools.measure_memory --steps 2000 --every 500 --workers 2

The model is that of the faults, as narrow as it goes; every ``--every`` steps it is evaluated and
pictures are drawn. Memory is what the main process holds in RAM (VmRSS of /proc, in MiB), read
after each line of metrics.json, and of its children together. So Linux alone has it.
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
    """MiB of a process in RAM; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    values = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(values[0]) / 1024 if values else 0.0


def children(process: int) -> list[int]:
    """The processes that a process has started and that still run."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def measure(steps: int, every: int, workers: int, folder: Path) -> list[tuple[int, float, float]]:
    """Trains, and returns step, MiB of the main process and of its children at each log line.

    Args:
        steps: of the training.
        every: steps between evaluations, and between lines.
        workers: processes of the loader.
        folder: empty.

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
    parser.add_argument("--steps", type=int, default=10000, help="of the training")
    parser.add_argument("--every", type=int, default=500, help="steps between evaluations")
    parser.add_argument("--workers", type=int, default=0, help="processes of the loader")
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
