"""Execution of a run of the grid by ``train_net.py``: the training, then further tests."""

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
LOG = "console.txt"  # in the folder of a run: the output of its processes


@dataclass(frozen=True)
class Slot:
    """A device that takes one run at a time.

    Attributes:
        number: the number of the GPU or of the CPU core.
        gpu: whether it is a GPU.
    """

    number: int
    gpu: bool

    def environment(self) -> dict[str, str]:
        """Returns the environment variables of a process with one thread and only this device."""
        # With CUDA_VISIBLE_DEVICES, ``number`` counts the GPUs in that list.
        visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        device = ""
        if self.gpu:
            device = visible[self.number] if visible else str(self.number)
        variables = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return {**os.environ, **variables, "CUDA_VISIBLE_DEVICES": device}

    def pin(self, process: subprocess.Popen[bytes]) -> None:
        """Restricts a process and its children to this CPU core; no effect for a GPU."""
        if not self.gpu and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {self.number})


def slots(device: str, jobs: int | None) -> list[Slot]:
    """Returns the devices for the runs: the GPUs if ``device`` is cuda, else the CPU cores.

    Without a GPU, the result is the CPU cores for any ``device``.

    Args:
        device: MODEL.DEVICE of the runs.
        jobs: the number of parallel runs; None: all devices.

    Raises:
        UserError: there are fewer devices than jobs, or ``device`` is one of several GPUs.
    """
    import torch

    if device.startswith("cuda:"):
        raise UserError(
            f"MODEL.DEVICE {device}: each run of a grid gets its own GPU; set it to cuda, and"
            f" choose GPUs with CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')}"
        )
    gpus = torch.cuda.device_count() if device.startswith("cuda") else 0
    found = [Slot(number, True) for number in range(gpus)]
    if not found:
        cores = list(range(usable_cores()))
        if hasattr(os, "sched_getaffinity"):
            cores = sorted(os.sched_getaffinity(0))
        found = [Slot(number, False) for number in cores]
    if jobs is not None and not 1 <= jobs <= len(found):
        raise UserError(
            f"--jobs {jobs}: each job needs its own device, but this process may use only"
            f" {len(found)} {'GPU' if gpus else 'CPU core'}(s)"
        )
    return found[:jobs]


@dataclass
class Job:
    """A run of the grid that is executed.

    Attributes:
        variant: the variant of the grid.
        seed: the seed of the run.
        folder: OUTPUT_DIR of the run.
        result: the path of the result file.
        cfg: the config of the run.
        stages: the arguments of the ``train_net.py`` processes that are left, in order.
        slot: the current device.
        process: the current process.
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
        """The name of the run for messages."""
        return f"{self.variant.name} seed {self.seed}"

    def start(self, slot: Slot) -> None:
        """Starts the next process on a device."""
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
        """Returns the exit status of the current process, or None while it runs.

        A status of 0 removes the first of ``stages``.
        """
        assert self.process is not None
        status = self.process.poll()
        if status == 0:
            self.stages.pop(0)
        return status

    def stop(self, patience: float) -> None:
        """Ends the process, if it does not end by itself within ``patience`` seconds."""
        if self.process is None:
            return
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()

    def error_line(self) -> str:
        """Returns the line of the log with the error of the process, or else the last line."""
        lines = (self.folder / LOG).read_text(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines[-30:] if line.startswith("error")]
        return (errors or lines or ["there is no output"])[-1]


def make_jobs(
    grid: Grid,
    chosen: Sequence[tuple[Variant, int]],
    opts: Sequence[str],
    output: Path,
    results: Path,
) -> list[Job]:
    """Returns a job for each (variant, seed), including those that have a result.

    Args:
        grid: the grid.
        chosen: the result of ``Grid.choose``.
        opts: KEY VALUE pairs for every run.
        output: the folder of all runs' folders.
        results: the folder of all grids' results.

    Raises:
        UserError: a config or a pair is wrong, or a pair sets a key that the grid sets.
    """
    forbidden = {"SEED", "OUTPUT_DIR"} & set(opts[::2])
    if forbidden:
        keys = ", ".join(sorted(forbidden))
        raise UserError(f"{keys}: the grid sets it; use --seeds and --output")
    jobs = []
    for variant, seed in chosen:
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
                f"{variant.config}: DATASETS.TEST is empty; a grid needs it to score its runs"
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
    """Returns the KEY VALUE pairs of DATASETS.TRAIN and TEST and of MODEL.WEIGHTS for a fold."""
    pairs = ["MODEL.WEIGHTS", cfg.MODEL.WEIGHTS.replace("{fold}", fold)]
    for key in ("TRAIN", "TEST"):
        names = tuple(name.replace("{fold}", fold) for name in cfg.DATASETS[key])
        pairs += [f"DATASETS.{key}", repr(names)]
    return pairs


def _control_file(cfg: CfgNode, variant: Variant, seed: int, folder: Path) -> Path:
    """Returns the file of embeddings without meaning for a run; it depends on the seed.

    It is written only once, so that a resumed run has the same embeddings.
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
    """Checks the datasets and embeddings of all jobs before hours of training.

    Raises:
        UserError: a dataset is not registered, or its files or a file of embeddings are missing.
    """
    names: set[str] = set()
    for job in jobs:
        names.update(job.cfg.DATASETS.TRAIN, job.cfg.DATASETS.TEST, job.variant.also_test)
    for name in sorted(names):
        load_dataset(name, labelled=True)
    for file in sorted({job.cfg.MODEL.CLIP.EMBEDDINGS for job in jobs} - {"", "random"}):
        FileSource(file)
