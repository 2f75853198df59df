"""Measures the cost of a large dataset for a training: time to the first step, and memory.

    python -m clipmask_tools.measure_records             100, 100,000 and 1,000,000 records
    python -m clipmask_tools.measure_records --records 1000000 --files 2000 --workers 2

The time is that of a training in a separate process, with a narrow version of the toy config's
model. The memory is that of the training loader only, which reads ``--samples`` samples: the
largest memory of the main process, and the private memory of each worker process, after the first
and after the last batch. The records are dicts of file names, as a dataset's function returns them.
They name a few files, which are drawn first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clipmask_tools.faulting.bench import NAMES, NARROW, ROOT, write_dataset

REGISTER = """\
from clipmask.d2 import DatasetCatalog, MetadataCatalog

def records(count):
    return [
        {{"file_name": f"{folder}/images/{{n % {files}}}.png",
         "sem_seg_file_name": f"{folder}/labels/{{n % {files}}}.png"}}
        for n in range(count)
    ]

for name, count in (("many_train", {count}), ("many_val", 4)):
    DatasetCatalog.register(name, lambda count=count: records(count))
    MetadataCatalog.get(name).set(stuff_classes={names}, ignore_label=255)
"""


class Cost(NamedTuple):
    """The cost of a training set.

    Attributes:
        first_line: the seconds from the start of a training to its first line of losses.
        cpu: the processor time of its main process until then, in seconds.
        main: the largest memory of the main process of a loader, in MiB.
        workers: the private memory of each worker process after the first and the last batch, in
            MiB.
    """

    first_line: float
    cpu: float
    main: float
    workers: list[tuple[float, float]]


def measure(folder: Path, count: int, files: int, workers: int, samples: int) -> Cost:
    """Measures a training of three steps on ``count`` records, and then a loader of them.

    Args:
        folder: an empty folder.
        count: the number of records of the training set.
        files: the number of different files that the records name.
        workers: the number of worker processes of the loader.
        samples: the number of samples that the loader reads.
    """
    write_dataset(folder / "data", files)
    module = folder / "many.py"
    module.write_text(
        REGISTER.format(folder=folder / "data", files=files, count=count, names=list(NAMES))
    )
    first, cpu = train(folder, module, workers)
    words = [sys.executable, "-m", "clipmask_tools.measure_records", "--of", str(module)]
    words += ["--workers", str(workers), "--samples", str(samples)]
    output = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    main, private = json.loads(output.splitlines()[-1])
    return Cost(first, cpu, main, private)


def train(folder: Path, module: Path, workers: int) -> tuple[float, float]:
    """Trains; returns the seconds to the first line of losses, and the processor seconds."""
    words = [sys.executable, str(ROOT / "train_net.py"), "--config-file"]
    words += [str(ROOT / "configs" / "toy.yaml"), "--register", str(module), *NARROW]
    words += ["DATASETS.TRAIN", "('many_train',)", "DATASETS.TEST", "()", "TEST.EVAL_PERIOD", "0"]
    words += ["DATALOADER.NUM_WORKERS", str(workers), "SOLVER.MAX_ITER", "3"]
    words += ["SOLVER.CHECKPOINT_PERIOD", "0", "OUTPUT_DIR", str(folder / "run")]
    start = time.monotonic()
    metrics, took = folder / "run" / "metrics.json", (0.0, 0.0)
    with (folder / "output.txt").open("w") as output:
        run = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        while run.poll() is None:
            if not took[0] and metrics.is_file():
                took = (time.monotonic() - start, _processor_seconds(run.pid))
            time.sleep(0.02)
    if run.returncode or not took[0]:
        raise SystemExit((folder / "output.txt").read_text())
    return took


def load(module: Path, workers: int, samples: int, batch: int = 64) -> Memory:
    """Reads all samples of the training loader of a module's dataset in this process.

    Returns:
        The largest memory of this process, and for each worker process its private memory after the
        first and the last batch, in MiB.
    """
    from clipmask.cli.register import register_file
    from clipmask.config import load_cfg
    from clipmask.data.loader import build_train_loader

    register_file(str(module))
    opts = [*NARROW, "DATASETS.TRAIN", "('many_train',)", "SOLVER.IMS_PER_BATCH", str(batch)]
    opts += ["DATALOADER.NUM_WORKERS", str(workers), "SOLVER.MAX_ITER", str(samples // batch)]
    seen: dict[int, list[float]] = {}
    for _ in build_train_loader(load_cfg("toy.yaml", opts), seed=0):
        for child in children(os.getpid()):
            seen.setdefault(child, []).append(private_mib(child))
    own = [(values[0], values[-1]) for values in seen.values() if len(values) > 1]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, own


Memory = tuple[float, list[tuple[float, float]]]


def private_mib(process: int) -> float:
    """Returns the private memory of a process in MiB; 0 if it has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE)
    return sum(map(int, found)) / 1024


def children(process: int) -> list[int]:
    """Returns the ids of the child processes of a process."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return list(map(int, text.split()))


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--records", type=int, nargs="+", default=[100, 100_000, 1_000_000])
    parser.add_argument("--files", type=int, default=1000, help="number of different files")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the loader")
    parser.add_argument("--samples", type=int, default=20_000, help="samples of the loader")
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)  # for the loader's process
    args = parser.parse_args(argv)
    if args.of:
        print(json.dumps(load(args.of, args.workers, args.samples)))
        return 0
    print(
        "| records | first line, s | processor, s | loader's main process, MiB | its workers, MiB |"
    )
    print("|---|---|---|---|---|")
    for count in args.records:
        with tempfile.TemporaryDirectory(prefix="records-") as folder:
            cost = measure(Path(folder), count, args.files, args.workers, args.samples)
        grown = "; ".join(f"{before:.0f} to {after:.0f}" for before, after in cost.workers)
        print(
            f"| {count:,} | {cost.first_line:.1f} | {cost.cpu:.1f} | {cost.main:.0f} | {grown} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
