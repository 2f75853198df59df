"""A run of the grid as processes of ``train_net.py``: training, then the tests on further
datasets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fvcore.common.config import CfgNode

from clipmask.config import load_cfg
from clipmask.data.catalog import load_dataset
from clipmask.data.cores import usable_cores
from clipmask.errors import UserError
from clipmask.text.sources import FileSource
from clipmask_tools.ablation.grid import Grid, Variant
from clipmask_tools.ablation.results import result_path
from clipmask_tools.ablation.text import write_control

ROOT = Path(__file__).resolve().parents[2]
LOG = "console.txt"  # in a run's folder: what its processes print


@dataclass(frozen=True)
class Slot:
    """A device that takes one run at a time.

    Attributes:
        number: of the GPU, or of the CPU core.
        gpu: which of the two it is.
    """

    number: int
    gpu: bool

    def environment(self) -> dict[str, str]:
        """Returns the variables of a process on this device: one thread, and of the GPUs this one
        alone.
        """
        # Torch counts the GPUs that this process sees; where it sees some, the number stands for
        # the n-th of those.
        seen = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        own = {
            "CUDA_VISIBLE_DEVICES": (
                (seen[self.number] if seen else str(self.number)) if self.gpu else ""
            )
        }
        return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **own}

    def pin(self, process: subprocess.Popen[bytes]) -> None:
        """Keeps a process, and what it will start, to this core; a GPU's may use all."""
        if not self.gpu and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {self.number})


def slots(device: str, jobs: int | None) -> list[Slot]:
    """Returns the devices to run on: GPUs where there are some and ``device`` is cuda, else the
    CPU's cores.

    Args:
        device: MODEL.DEVICE of the runs.
        jobs: how many at once; None: all devices.

    Raises:
        UserError: there are fewer devices than jobs, or ``device`` is one of several GPUs.
    """
    import torch

    if device.startswith("cuda:"):
        raise UserError(
            f"MODEL.DEVICE {device}: a grid gives each run a GPU of its own; leave it at cuda, and"
            f" choose GPUs by CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')}"
        )
    gpus = torch.cuda.device_count() if device.startswith("cuda") else 0
    cores = (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(usable_cores()))
    )
    found = [Slot(number, True) for number in range(gpus)] or [
        Slot(number, False) for number in cores
    ]
    if jobs is not None and not 1 <= jobs <= len(found):
        raise UserError(
            f"--jobs {jobs}: each job has a device of its own, and this process may use"
            f" {len(found)} {'GPU' if gpus else 'CPU core'}(s)"
        )
    return found[:jobs]


@dataclass
class Job:
    """A run that is to be made or finished.

    Attributes:
        variant: of the grid.
        seed: of the run.
        folder: OUTPUT_DIR.
        result: the file that its result goes to.
        cfg: of the run.
        stages: arguments of the ``train_net.py`` processes to come, one after the other.
        slot: the device that it runs on now.
        process: the one that runs now.
    """

    variant: Variant
    seed: int
    folder: Path
    result: Path
    cfg: CfgNode
    stages: list[list[str]]
    slot: Slot | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.variant.name} seed {self.seed}"

    def start(self, slot: Slot) -> None:
        """Starts its next process on ``slot``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "train_net.py"), *self.stages[0]]
        with (self.folder / LOG).open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=slot.environment(),
            )
        self.slot = slot
        slot.pin(self.process)

    def ended(self) -> int | None:
        """Returns the exit status of its current process, None while it runs; after a status of 0
        the next stage is due.
        """
        assert self.process is not None
        status = self.process.poll()
        if status == 0:
            self.stages.pop(0)
        return status

    def stop(self, patience: float) -> None:
        """Ends its process, if it does not end by itself within ``patience`` seconds, as after
        Ctrl-C.
        """
        if self.process is None:
            return
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()

    def error_line(self) -> str:
        """Returns the line in which its process said why it failed."""
        lines = (self.folder / LOG).read_text(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines[-30:] if line.startswith("error")]
        return (errors or lines or ["it said nothing"])[-1]


def make_jobs(
    grid: Grid,
    chosen: Sequence[tuple[Variant, int]],
    opts: Sequence[str],
    output: Path,
    results: Path,
) -> list[Job]:
    """Returns a job for each (variant, seed), whether its result is there or not.

    Args:
        grid: the grid.
        chosen: from ``Grid.choose``.
        opts: KEY VALUE pairs for every run.
        output: folder of all runs' folders.
        results: folder of all grids' results.

    Raises:
        UserError: a config is wrong, or a pair is, or sets what the grid sets.
    """
    jobs = []
    for variant, seed in chosen:
        own = {"SEED", "OUTPUT_DIR"} & set(opts[::2])
        if own:
            raise UserError(f"{', '.join(sorted(own))}: the grid sets it; use --seeds and --output")
        folder = output / grid.name / f"{variant.name}_seed{seed}"
        pairs = [*opts, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
        cfg = load_cfg(variant.config, pairs)
        if variant.fold:
            pairs += _fold_pairs(cfg, variant.fold)
            cfg = load_cfg(variant.config, pairs)
        if variant.text:
            pairs += ["MODEL.CLIP.EMBEDDINGS", str(_control_file(cfg, variant, seed, folder))]
            cfg = load_cfg(variant.config, pairs)
        if not cfg.DATASETS.TEST:
            raise UserError(
                f"{variant.config}: DATASETS.TEST is empty; a run of a grid is judged by it"
            )
        common = ["--config-file", str(variant.config)]
        if grid.register:
            common += ["--register", *map(str, grid.register)]
        stages = [[*common, "--resume", *pairs]]
        if variant.also_test:
            weights = ["MODEL.WEIGHTS", str(folder / "model_final.pth")]
            stages.append(
                [*common, "--eval-only", *pairs, *weights, "DATASETS.TEST", repr(variant.also_test)]
            )
        jobs.append(
            Job(variant, seed, folder, result_path(results, grid, variant.name, seed), cfg, stages)
        )
    return jobs


def _fold_pairs(cfg: CfgNode, fold: str) -> list[str]:
    """DATASETS.TRAIN and TEST of a fold."""
    pairs = []
    for key in ("TRAIN", "TEST"):
        names = tuple(name.replace("{fold}", fold) for name in cfg.DATASETS[key])
        pairs += [f"DATASETS.{key}", repr(names)]
    return pairs


def _control_file(cfg: CfgNode, variant: Variant, seed: int, folder: Path) -> Path:
    """The run's own embeddings without meaning, a draw a seed; written once, so that a resumed run
    has the same.
    """
    path = folder / f"{variant.text}_text.npz"
    if not path.is_file():
        write_control(
            path,
            cfg,
            (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, *variant.also_test),
            variant.text,
            seed,
        )
    return path


def check_jobs(jobs: Sequence[Job]) -> None:
    """Looks at the datasets and embeddings of all jobs once, before hours of training.

    Raises:
        UserError: a dataset is not registered or its files are not there, or a file of embeddings
            is not.
    """
    train = {name for job in jobs for name in job.cfg.DATASETS.TRAIN}
    test = {name for job in jobs for name in (*job.cfg.DATASETS.TEST, *job.variant.also_test)}
    for name in sorted(train | test):
        load_dataset(name, labelled=True)
    for file in sorted({job.cfg.MODEL.CLIP.EMBEDDINGS for job in jobs} - {"", "random"}):
        FileSource(file)
