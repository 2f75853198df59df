"""The test bench of a fault: a folder with a small dataset, and commands in forked processes.

A fork has all modules imported already. It can be killed, limited and patched, and this has no
effect on other forks.
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
MODULES = (  # are imported once, before the forks
    "clipmask.engine.train",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "timm",
    "torch.utils.tensorboard",
)
HANG_S = 600  # seconds after which a process counts as hanging
STEPS = 6
NARROW = [  # makes the model of the toy config as small as possible, with timm's test backbone
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
    """The effect of a fault.

    Attributes:
        happened: what the user saw.
        lost: what was lost and can't be restored.
        good: whether this is the right behaviour.
    """

    happened: str
    lost: str
    good: bool


@dataclass(frozen=True)
class Ended:
    """The end of a command.

    Attributes:
        status: exit status; a negative number is that of the signal that killed the command.
        text: everything that the command printed.
    """

    status: int
    text: str

    @property
    def line(self) -> str:
        """The last error or warning, otherwise the last printed line, without its time stamp."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        problems = []
        for line in lines:
            if line.startswith("error") or "WARNING" in line or "ERROR" in line:
                problems.append(line)
        candidates = problems or lines or ["(nothing)"]
        return re.sub(r"^\[[^]]*\] ", "", candidates[-1])

    @property
    def traceback(self) -> bool:
        """Whether a traceback was printed, which is an error of the program itself."""
        return "Traceback (most recent call last)" in self.text


class Bench:
    """The folder in which one fault is tried; the commands run in it.

    Args:
        folder: an empty folder.
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
            opts: further arguments, after those of every training of the bench.
            before: function that puts the fault in; it is called first in the fork.
            command: ``train``, or the module of another command in ``clipmask.cli``. Another
                command gets only ``opts`` as its arguments.
            processes: number of training processes, with the ranks that torchrun would give them.
                They form a process group of their own, which the main process leads.
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
            # handle signals as in a terminal, even if this program runs in the background or under
            # nohup
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
        except BaseException:  # Python itself handles the error of a command in the same way
            traceback.print_exc()
            status = 1
        finally:
            os._exit(status)

    def end(self, process: int, limit: float = HANG_S) -> Ended:
        """Waits for the end of a command; kills one that hangs, whose status is then -9."""
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
        """Runs a training command and waits for its end."""
        return self.end(self.start(*opts, before=before))

    def wait_for(self, sign: Callable[[], bool], process: int) -> bool:
        """Waits until ``sign`` returns True.

        Returns:
            Whether it did; False where the process ended before, or hangs.
        """
        deadline = time.monotonic() + HANG_S
        while not sign():
            ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended or time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def logged_steps(self) -> int:
        """Returns the number of training steps in metrics.json."""
        path = self.run / "metrics.json"
        return path.read_text().count("total_loss") if path.is_file() else 0

    def log(self) -> str:
        """Returns the text of log.txt, empty where there is no such file."""
        path = self.run / "log.txt"
        return path.read_text(errors="replace") if path.is_file() else ""

    def weights(self, name: str = "model_final.pth") -> bytes:
        """Returns the weights, the step and the optimiser of a checkpoint as comparable bytes.

        The bytes are empty where the checkpoint can't be read.
        """
        from clipmask.errors import UserError
        from clipmask.weights.checkpoint import canonical, load_checkpoint

        try:
            content = load_checkpoint(self.run / name)
        except UserError:
            return b""
        keys = ("model", "iteration", "optimizer")
        return repr([(key, canonical(content.get(key))) for key in keys]).encode()


def _multiply(processes: int) -> None:
    """Forks this process into several training processes; all of them continue from here.

    This process becomes the main one.
    """
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
    """Writes a dataset of pictures with three bands and their label maps of ids.

    Args:
        folder: folder to create.
        count: number of pictures.
        size: (height, width) of the pictures.

    Returns:
        The path of the dataset's descriptor.
    """
    draw = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        rows = np.sort(draw.integers(0, len(NAMES), size[0])).astype(np.uint8)
        ids = rows[:, None].repeat(size[1], 1)
        image = COLORS[ids] + draw.normal(0, 8, (*size, 3))
        pixels = image.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
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
