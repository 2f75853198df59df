"""Where a fault is tried: a folder of its own with a small dataset, and commands that run in forks
of this process.

A fork has everything imported already, can be killed, limited and patched, and leaves no trace in
the others.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("sky", "field", "house")
COLORS = np.array([(90, 140, 220), (60, 150, 60), (180, 80, 60)])
MODULES = (  # imported once, before the forks
    "clipmask.engine.train",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "timm",
    "torch.utils.tensorboard",
)
HANG_S = 600  # a process that says nothing for so long hangs
STEPS = 6
NARROW = [  # the toy config's model, as narrow as it goes, on timm's backbone for tests
    *("MODEL.BACKBONE.TIMM_NAME", "test_resnet", "MODEL.DEVICE", "cpu"),
    *("MODEL.CLIPMASK.HIDDEN_DIM", "16", "MODEL.CLIPMASK.MASK_DIM", "16"),
    *(
        "MODEL.CLIPMASK.NUM_HEADS",
        "2",
        "MODEL.CLIPMASK.FFN_DIM",
        "32",
        "MODEL.CLIPMASK.NUM_QUERIES",
        "6",
    ),
    *("MODEL.CLIPMASK.DEC_LAYERS", "1", "INPUT.MIN_SIZE_TEST", "0", "INPUT.CROP.SIZE", "(32,32)"),
    *(
        "DATALOADER.NUM_WORKERS",
        "0",
        "SOLVER.IMS_PER_BATCH",
        "2",
        "SOLVER.WARMUP_ITERS",
        "2",
        "SEED",
        "3",
    ),
    *("SOLVER.MAX_ITER", str(STEPS), "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.LOG_PERIOD", "1"),
    *("TEST.EVAL_PERIOD", "3", "TEST.NUM_PICTURES", "1", "OUTPUT_DIR", "run"),
]


class Outcome(NamedTuple):
    """What a fault led to.

    Attributes:
        happened: what the user saw.
        lost: what is gone for good.
        good: whether that is as it should be.
    """

    happened: str
    lost: str
    good: bool


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: the signal that killed it) and all that it
    printed.
    """

    status: int
    text: str

    @property
    def line(self) -> str:
        """The last line that says something, without a time stamp."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        told = [
            line
            for line in lines
            if line.startswith("error") or "WARNING" in line or "ERROR" in line
        ]
        return re.sub(r"^\[[^]]*\] ", "", (told or lines or ["(nothing)"])[-1])

    @property
    def traceback(self) -> bool:
        """Whether a traceback was printed: a mistake of the program's own."""
        return "Traceback (most recent call last)" in self.text


class Bench:
    """A folder for one fault, which is the working folder of its commands.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.dataset = write_dataset(folder / "data")

    def start(
        self,
        *opts: str,
        before: Callable[[], None] | None = None,
        command: str = "train",
        processes: int = 1,
    ) -> int:
        """Starts a command in a fork and returns its process id.

        Args:
            opts: arguments after those that every run of the bench has.
            before: called in the fork first; it puts the fault in.
            command: ``train``, or the module of another command below ``clipmask.cli``, with
                ``opts`` alone.
            processes: of a training, with the numbers that torchrun would give them; all are in a
                group of their own, which the main process leads.
        """
        words = [
            "--config-file",
            str(ROOT / "configs" / "toy.yaml"),
            "--dataset",
            str(self.dataset),
            *NARROW,
            *opts,
        ]
        process = os.fork()
        if process:
            return process
        status = 70
        try:
            os.chdir(self.folder)
            output = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            # as from a terminal, also where this program runs in the background or under nohup
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
            if processes > 1:
                _multiply(processes)
            if before is not None:
                before()
            status = _main(command)(words if command == "train" else list(opts))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:  # as Python does for a command
            traceback.print_exc()
            status = 1
        finally:
            os._exit(status)

    def end(self, process: int, limit: float = HANG_S) -> Ended:
        """Waits for a command; one that hangs is killed and has the status -9."""
        deadline = time.monotonic() + limit
        while True:
            done, code = os.waitpid(process, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.02)
        text = (self.folder / "output.txt").read_text(errors="replace")
        return Ended(os.waitstatus_to_exitcode(code), text)

    def train(self, *opts: str, before: Callable[[], None] | None = None) -> Ended:
        """Trains to the end of the command."""
        return self.end(self.start(*opts, before=before))

    def wait_for(self, sign: Callable[[], bool], process: int) -> bool:
        """Waits until ``sign`` is given; False where the process ended before."""
        deadline = time.monotonic() + HANG_S
        while not sign():
            if (
                os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                or time.monotonic() > deadline
            ):
                return False
            time.sleep(0.005)
        return True

    def logged_steps(self) -> int:
        """Returns how many lines about steps are in metrics.json."""
        path = self.run / "metrics.json"
        return path.read_text().count("total_loss") if path.is_file() else 0

    def log(self) -> str:
        """The text of log.txt; empty where there is none."""
        path = self.run / "log.txt"
        return path.read_text(errors="replace") if path.is_file() else ""

    def weights(self, name: str = "model_final.pth") -> bytes:
        """A checkpoint's weights and optimiser as bytes that can be compared; empty where it can't
        be read.
        """
        from clipmask.errors import UserError
        from clipmask.weights.checkpoint import canonical, load_checkpoint

        try:
            content = load_checkpoint(self.run / name)
        except UserError:
            return b""
        return repr(
            [(key, canonical(content.get(key))) for key in ("model", "iteration", "optimizer")]
        ).encode()


def _multiply(processes: int) -> None:
    """Makes of this process the main one of several, by forks that go on from here as it does."""
    os.setsid()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(
        TORCHELASTIC_RUN_ID="bench",
        LOCAL_WORLD_SIZE=str(processes),
        WORLD_SIZE=str(processes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK="0",
        LOCAL_RANK="0",
    )
    for rank in range(1, processes):
        if os.fork() == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            return


def _main(command: str) -> Callable[[Sequence[str]], int]:
    import importlib

    main: Callable[[Sequence[str]], int] = importlib.import_module(f"clipmask.cli.{command}").main
    return main


def write_dataset(folder: Path, count: int = 8, size: tuple[int, int] = (40, 48)) -> Path:
    """Draws pictures of three bands with label maps of ids; returns the descriptor's path."""
    draw = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        ids = (
            np.sort(draw.integers(0, len(NAMES), size[0]))[:, None]
            .repeat(size[1], 1)
            .astype(np.uint8)
        )
        image = COLORS[ids] + draw.normal(0, 8, (*size, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
            folder / "images" / f"{number}.png"
        )
        Image.fromarray(ids).save(folder / "labels" / f"{number}.png")
    content = {
        "images": "images",
        "labels": "labels",
        "classes": list(NAMES),
        "splits": {"train": 0.7, "val": 0.3},
    }
    path = folder / "bands.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
